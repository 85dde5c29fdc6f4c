/** What callers ask for, checked against what a job can be, whoever they are and however they came. Pure. */
import { isAbsolute, resolve } from 'node:path'
import { redactUrl, ShorthaulError } from '../errors.ts'
import { PRIORITIES } from '../throttle/priority.ts'
import { faultOf } from '../transfer/wanted.ts'
import { type FileRange, type JobFile, type JobSettings, NO_BYTES, NOTIFY_EVENTS } from './job.ts'
import type { FileOrder, FilePatch, JobPatch } from './jobs-api.ts'

const MAX_NAME_CHARS = 256
/** As in BITS. */
const MAX_DESCRIPTION_CHARS = 1024
const MAX_URL_CHARS = 16 * 1024
const MAX_PATH_BYTES = 4096
/** BITS allows 16,384 for all header fields together. */
const MAX_HEADER_CHARS = 16 * 1024
const MAX_HEADERS = 64
const MAX_COMMAND_PARTS = 64
const MAX_COMMAND_CHARS = 8 * 1024
const YEAR_MS = 366 * 24 * 3600 * 1000
/** BITS: 5 s. */
export const MIN_RETRY_DELAY_MS = 5000
const METERED = ['always', 'not-roaming', 'no-surcharge', 'standard', 'unrestricted'] as const
const FIELD_NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}$/
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what must not get in
const CONTROL = /[\u0000-\u001f\u007f]/

export interface OrderRules {
  /** May `file:` URLs be read for this caller? */
  readonly mayReadFiles: boolean
  /** Directories from which commands may be run; null: any. */
  readonly commandDirs: readonly string[]
}

/** @throws SHORTHAUL_USAGE */
export function checkSettings(settings: Partial<JobSettings>, rules: OrderRules): void {
  const { name, description, priority, proxy, originMaxBytesPerSec, costPolicy, notify, deadlineAtMs } = settings
  if (name !== undefined)
    check(isLine(name, MAX_NAME_CHARS) && name !== '', 'name', `1 to ${MAX_NAME_CHARS} characters`)
  if (description !== undefined) {
    check(description.length <= MAX_DESCRIPTION_CHARS, 'description', `at most ${MAX_DESCRIPTION_CHARS} characters`)
  }
  if (priority !== undefined) check(PRIORITIES.includes(priority), 'priority', PRIORITIES.join(', '))
  if (proxy !== undefined) check(isProxy(proxy), 'proxy', 'auto, none, or the http URL of a proxy')
  if (typeof originMaxBytesPerSec === 'number') {
    check(originMaxBytesPerSec > 0, 'originMaxBytesPerSec', 'a rate above zero, or null')
  }
  if (costPolicy) check(METERED.includes(costPolicy), 'costPolicy', `${METERED.join(', ')}, or null`)
  checkTime('minRetryDelayMs', settings.minRetryDelayMs, MIN_RETRY_DELAY_MS)
  checkTime('noProgressTimeoutMs', settings.noProgressTimeoutMs, 0)
  checkTime('maxTransferTimeMs', settings.maxTransferTimeMs, 1000)
  if (deadlineAtMs !== undefined && deadlineAtMs !== null) {
    check(Number.isSafeInteger(deadlineAtMs) && deadlineAtMs > 0, 'deadlineAtMs', 'milliseconds since 1970, or null')
  }
  if (notify !== undefined) checkNotify(notify, rules)
}

/** @throws SHORTHAUL_USAGE */
export function checkSecrets({ headers = [], webhookSecret }: Pick<JobPatch, 'headers' | 'webhookSecret'>): void {
  check(headers.length <= MAX_HEADERS, 'headers', `at most ${MAX_HEADERS}`)
  let chars = 0
  for (const [name, value] of headers) {
    check(FIELD_NAME.test(name), 'headers', 'names that are tokens of HTTP')
    check(!/[\r\n\0]/.test(value), 'headers', 'values of one line')
    chars += name.length + value.length
  }
  check(chars <= MAX_HEADER_CHARS, 'headers', `at most ${MAX_HEADER_CHARS} characters in all`)
  if (typeof webhookSecret === 'string') check(isLine(webhookSecret, 1024), 'webhookSecret', 'at most 1024 characters')
}

/**
 * Files as records that begin at `firstIndex`.
 * @param others whose targets are taken
 * @throws SHORTHAUL_USAGE, SHORTHAUL_URL_INVALID
 */
export function filesOf(
  orders: readonly FileOrder[],
  about: { readonly firstIndex: number; readonly others: Iterable<JobFile>; readonly rules: OrderRules },
): JobFile[] {
  const taken = new Set<string>()
  for (const { target } of about.others) taken.add(target)
  return orders.map((order, at) => {
    const target = checkTarget(order.target)
    check(!taken.has(target), 'target', `a target of its own for each file, found "${target}" twice`)
    taken.add(target)
    const sha256 = order.sha256 ?? null
    check(sha256 === null || /^[0-9a-f]{64}$/.test(sha256), 'sha256', '64 lower-case hex digits, or null')
    return {
      index: about.firstIndex + at,
      url: checkUrl(order.url, about.rules),
      target,
      ranges: order.ranges && order.ranges.length > 0 ? checkRanges(order.ranges) : null,
      sha256,
      state: 'waiting',
      bytesTotal: null,
      bytesDone: 0,
      sources: NO_BYTES,
      resource: null,
      foundSha256: null,
      trust: null,
      restartCount: 0,
    }
  })
}

/** The file with another source or target; begins anew when it comes from elsewhere. @throws SHORTHAUL_USAGE */
export function patchedFile(file: JobFile, patch: FilePatch, rules: OrderRules): JobFile {
  const target = patch.target === undefined ? file.target : checkTarget(patch.target)
  const url = patch.url === undefined ? file.url : checkUrl(patch.url, rules)
  if (url === file.url) return { ...file, target }
  // The part stays: what of it is right is found by hashing.
  return { ...file, url, target, state: 'waiting', resource: null, foundSha256: null, trust: null }
}

/** @returns normalised enough to be compared. @throws SHORTHAUL_URL_INVALID, SHORTHAUL_USAGE */
function checkUrl(url: string, { mayReadFiles }: OrderRules): string {
  const parsed = url.length <= MAX_URL_CHARS && URL.canParse(url) ? new URL(url) : null
  if (parsed === null || !['http:', 'https:', 'file:'].includes(parsed.protocol)) {
    throw new ShorthaulError(
      'SHORTHAUL_URL_INVALID',
      `Cannot fetch "${redactUrl(url)}": expected an absolute http, https or file URL`,
    )
  }
  if (parsed.protocol === 'file:' && !mayReadFiles) {
    throw new ShorthaulError('SHORTHAUL_FORBIDDEN', 'Cannot read files for others than the owner of the agent')
  }
  return url
}

function checkTarget(target: string): string {
  check(isAbsolute(target) && Buffer.byteLength(target) <= MAX_PATH_BYTES, 'target', 'an absolute path')
  check(!target.includes('\0') && resolve(target) === target, 'target', 'a path without "." and ".." and of a file')
  return target
}

function checkRanges(ranges: readonly FileRange[]): readonly FileRange[] {
  const fault = faultOf(ranges)
  check(fault === null, 'ranges', fault ?? '')
  return ranges
}

function checkNotify(notify: JobSettings['notify'], { commandDirs }: OrderRules): void {
  const { command, webhookUrl, events } = notify
  check(
    events.every((event) => NOTIFY_EVENTS.includes(event)),
    'notify.events',
    NOTIFY_EVENTS.join(', '),
  )
  if (webhookUrl !== null) {
    const isHttp =
      webhookUrl.length <= MAX_URL_CHARS && URL.canParse(webhookUrl) && /^https?:$/.test(new URL(webhookUrl).protocol)
    check(isHttp, 'notify.webhookUrl', 'an absolute http or https URL, or null')
  }
  if (command === null) return
  const chars = command.reduce((sum, part) => sum + part.length, 0)
  const [program = ''] = command
  check(
    command.length >= 1 && command.length <= MAX_COMMAND_PARTS && chars <= MAX_COMMAND_CHARS,
    'notify.command',
    `a program and at most ${MAX_COMMAND_PARTS - 1} arguments`,
  )
  check(
    command.every((part) => !part.includes('\0')),
    'notify.command',
    'parts without zero bytes',
  )
  check(isAbsolute(program) && resolve(program) === program, 'notify.command', 'a program named by its absolute path')
  if (commandDirs.some((directory) => program.startsWith(`${directory}/`) || program.startsWith(`${directory}\\`)))
    return
  const where = commandDirs.length === 0 ? 'none is allowed' : `one below ${commandDirs.join(', ')}`
  throw new ShorthaulError(
    'SHORTHAUL_FORBIDDEN',
    `Cannot run "${program}" when the job ends: ${where} (jobs.commandDirs)`,
  )
}

function checkTime(what: string, valueMs: number | undefined, minMs: number): void {
  if (valueMs === undefined) return
  const isTime = Number.isSafeInteger(valueMs) && valueMs >= minMs && valueMs <= 100 * YEAR_MS
  check(isTime, what, `milliseconds, at least ${minMs}`)
}

function isProxy(proxy: string): boolean {
  if (proxy === 'auto' || proxy === 'none') return true
  return proxy.length <= MAX_URL_CHARS && URL.canParse(proxy) && /^https?:$/.test(new URL(proxy).protocol)
}

/** What of a proxy setting anybody may see. */
export function shownProxy(proxy: string): string {
  return proxy === 'auto' || proxy === 'none' ? proxy : new URL(proxy).origin
}

/** The setting, when it has a login, which is a secret; null: it has none. */
export function proxyWithLogin(proxy = 'auto'): string | null {
  if (proxy === 'auto' || proxy === 'none') return null
  const { username, password } = new URL(proxy)
  return username === '' && password === '' ? null : proxy
}

function isLine(text: string, maxChars: number): boolean {
  return text.length <= maxChars && !CONTROL.test(text)
}

function check(isRight: boolean, what: string, expected: string): asserts isRight {
  if (!isRight) throw new ShorthaulError('SHORTHAUL_USAGE', `Cannot use "${what}" of the job: expected ${expected}`)
}
