/** What the options of `job create`, `job add`, `job set` and `fetch --detach` ask for, as orders of jobs. Pure but for the list. */
import { parseDuration, parseRate } from '../../config/units.ts'
import { type FileRange, NOTIFY_EVENTS, type NotifyEvent } from '../../jobs/job.ts'
import type { FileOrder, JobPatch } from '../../jobs/jobs-api.ts'
import type { MeteredPolicy } from '../../throttle/cost.ts'
import { PRIORITIES, type Priority } from '../../throttle/priority.ts'
import type { GlobalOptions } from '../context.ts'
import { ordersOf, parseHeader } from '../fetch-orders.ts'
import { usage } from '../output.ts'

/** Where files come from and go to, as for `fetch`. */
export interface FileOptions {
  readonly output?: string
  readonly directory?: string
  readonly inputFile?: string
  readonly sha256?: string
  readonly range?: readonly string[]
}

export interface SettingOptions {
  readonly name?: string
  readonly description?: string
  readonly priority?: string
  readonly proxy?: string
  /** Left out where neither the option nor its opposite was given. */
  readonly peers?: boolean
  readonly origin?: boolean
  readonly limitRate?: string
  readonly minRetryDelay?: string
  readonly progressTimeout?: string
  readonly maxTransferTime?: string
  readonly deadline?: string
  readonly costPolicy?: string
  readonly notifyCommand?: string
  readonly notifyUrl?: string
  readonly notifySecret?: string
  readonly notifyOn?: string
  readonly autoComplete?: boolean
  readonly header?: readonly string[]
}

export interface JobOptions extends GlobalOptions, FileOptions, SettingOptions {}

const COST_POLICIES: readonly MeteredPolicy[] = ['always', 'not-roaming', 'no-surcharge', 'standard', 'unrestricted']
const NONE = 'none'

/** @throws SHORTHAUL_USAGE, SHORTHAUL_URL_INVALID */
export async function fileOrdersOf(urls: readonly string[], options: JobOptions): Promise<readonly FileOrder[]> {
  if (urls.length === 0 && options.inputFile === undefined) return []
  const ranges = options.range?.map(parseRange) ?? []
  const orders = await ordersOf(urls, {
    ...options,
    parallel: '1',
    peers: true,
    origin: true,
    header: [],
    priority: 'normal',
    daemon: true,
  })
  if (ranges.length > 0 && orders.length > 1) throw usage('--range is of one URL: add the others by themselves')
  return orders.map(({ request, target }) => {
    if (target === null) throw usage('A job goes on when nobody looks: it needs a file and not stdout')
    return { url: request.url, target, sha256: request.sha256, ranges: ranges.length > 0 ? ranges : null }
  })
}

/** Only what was given. @param nowMs wall clock, for a deadline that is a duration. @throws SHORTHAUL_USAGE */
export function settingsOf(options: SettingOptions, nowMs: number): JobPatch {
  const { name, description, priority, proxy, peers, origin, header, notifySecret, autoComplete } = options
  if (priority !== undefined && !PRIORITIES.includes(priority as Priority)) {
    throw usage(`--priority takes ${PRIORITIES.join(', ')}`)
  }
  const settings: Record<keyof JobPatch, unknown> = {
    name,
    description,
    priority,
    proxy,
    usePeers: peers,
    useOrigin: origin,
    originMaxBytesPerSec: orNone(options.limitRate, (text) => parseRate(text)),
    minRetryDelayMs: given(options.minRetryDelay, parseDuration),
    noProgressTimeoutMs: given(options.progressTimeout, parseDuration),
    maxTransferTimeMs: given(options.maxTransferTime, parseDuration),
    deadlineAtMs: orNone(options.deadline, (text) => parseDeadline(text, nowMs)),
    costPolicy: orNone(options.costPolicy, parseCostPolicy),
    notify: notifyOf(options),
    autoComplete,
    headers: header && header.length > 0 ? header.map(parseHeader) : undefined,
    webhookSecret: orNone(notifySecret, (text) => text),
  }
  return Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== undefined)) as JobPatch
}

/**
 * Bytes from to, both included, as curl and HTTP write them: `0-1023`; `1024-` is all the rest.
 * @throws SHORTHAUL_USAGE
 */
export function parseRange(text: string): FileRange {
  const match = /^(\d{1,15})-(\d{0,15})$/.exec(text.trim())
  const startBytes = Number(match?.[1])
  const endBytes = match?.[2] === '' ? null : Number(match?.[2]) + 1
  if (!match || (endBytes !== null && endBytes <= startBytes)) {
    throw usage(`--range takes FIRST-LAST such as 0-1023, or FIRST- for all the rest, found "${text}"`)
  }
  return { startBytes, endBytes }
}

/** @throws SHORTHAUL_USAGE */
export function parseDeadline(text: string, nowMs: number): number {
  if (/^\d{4}-\d\d-\d\dT/.test(text)) {
    const atMs = Date.parse(text)
    if (Number.isFinite(atMs)) return atMs
  }
  try {
    return nowMs + parseDuration(text)
  } catch {
    throw usage(`--deadline takes a moment such as 2026-12-31T18:00:00Z, or a duration such as 2h, found "${text}"`)
  }
}

/** Words as a shell would have them, for a program that is run without one. @throws SHORTHAUL_USAGE */
export function parseCommand(text: string): readonly string[] {
  if (text.trimStart().startsWith('[')) {
    try {
      const words: unknown = JSON.parse(text)
      if (Array.isArray(words) && words.every((word) => typeof word === 'string')) return words
    } catch {}
    throw usage('--notify-command takes words, or a JSON array of strings')
  }
  const words: string[] = []
  let word: string | null = null
  let quote = ''
  for (const char of text) {
    if (quote !== '') {
      if (char === quote) quote = ''
      else word = (word ?? '') + char
    } else if (char === '"' || char === "'") {
      quote = char
      word ??= ''
    } else if (/\s/.test(char)) {
      if (word !== null) words.push(word)
      word = null
    } else word = (word ?? '') + char
  }
  if (quote !== '') throw usage(`--notify-command has a ${quote} without its other one`)
  if (word !== null) words.push(word)
  return words
}

/** Whole, or not at all: parts that were left out are what a new job has. */
function notifyOf({ notifyCommand, notifyUrl, notifyOn }: SettingOptions): JobPatch['notify'] {
  if (notifyCommand === undefined && notifyUrl === undefined && notifyOn === undefined) return undefined
  const events = notifyOn?.split(',').map((event) => event.trim()) ?? ['transferred', 'error']
  for (const event of events) {
    if (!NOTIFY_EVENTS.includes(event as NotifyEvent)) throw usage(`--notify-on takes ${NOTIFY_EVENTS.join(', ')}`)
  }
  return {
    command: orNone(notifyCommand, parseCommand) ?? null,
    webhookUrl: orNone(notifyUrl, (text) => text) ?? null,
    events: events as NotifyEvent[],
  }
}

function parseCostPolicy(text: string): MeteredPolicy {
  const policy = COST_POLICIES.find((known) => known === text)
  if (policy === undefined) throw usage(`--cost-policy takes ${COST_POLICIES.join(', ')}, or none`)
  return policy
}

function given<T>(text: string | undefined, parse: (text: string) => T): T | undefined {
  return text === undefined ? undefined : parse(text)
}

/** `none` takes a limit away. */
function orNone<T>(text: string | undefined, parse: (text: string) => T): T | null | undefined {
  return text === NONE ? null : given(text, parse)
}
