/** Options of `shorthaul job` as settings and files of jobs. Pure but for a secret that stands in a file. */
import { readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { parseDuration, parseRate } from '../../config/units.ts'
import { systemCode } from '../../errors.ts'
import type { FileRange, NotifyEvent, NotifySettings } from '../../jobs/job.ts'
import { NOTIFY_EVENTS } from '../../jobs/job.ts'
import type { JobPatch } from '../../jobs/jobs-api.ts'
import { JOB_STATES, type JobState } from '../../jobs/states.ts'
import type { MeteredPolicy } from '../../throttle/cost.ts'
import { PRIORITIES, type Priority } from '../../throttle/priority.ts'
import type { GlobalOptions } from '../context.ts'
import { parseHeader } from '../fetch-orders.ts'
import { usage } from '../output.ts'

export interface FileOptions extends GlobalOptions {
  readonly output?: string
  readonly directory?: string
  readonly inputFile?: string
  readonly sha256?: string
  readonly range?: readonly string[]
}

export interface SettingOptions extends GlobalOptions {
  readonly name?: string
  readonly description?: string
  readonly priority?: string
  readonly header?: readonly string[]
  readonly peers?: boolean
  readonly origin?: boolean
  readonly limitRate?: string
  readonly proxy?: string
  readonly minRetryDelay?: string
  /** Also of `--no-progress-timeout`: commander takes the `no-` for a negation. */
  readonly progressTimeout?: string | boolean
  readonly maxTransferTime?: string
  readonly deadline?: string
  readonly costPolicy?: string
  readonly notifyCommand?: string
  readonly notifyUrl?: string
  readonly notifySecretFile?: string
  readonly notifyOn?: string
  readonly autoComplete?: boolean
}

export interface JobOptions extends FileOptions, SettingOptions {
  readonly suspended?: boolean
  readonly idempotencyKey?: string
}

export interface SetOptions extends SettingOptions {
  readonly file?: string
  readonly url?: string
  readonly target?: string
  readonly replacePrefix?: readonly string[]
}

export interface WatchOptions extends GlobalOptions {
  readonly allUsers?: boolean
}

export interface ListOptions extends WatchOptions {
  readonly all?: boolean
  readonly state?: string
}

/** Around the options. */
export interface OptionContext {
  readonly nowMs: number
  /** Behind `--notify-command`, after `--`. */
  readonly commandArguments: readonly string[]
  /** What options of notifications are a change of. */
  readonly notify: NotifySettings
}

/** Of an order that says nothing of notifications. */
export const DEFAULT_NOTIFY: NotifySettings = { command: null, webhookUrl: null, events: ['transferred', 'error'] }
const POLICIES: readonly MeteredPolicy[] = ['always', 'not-roaming', 'no-surcharge', 'standard', 'unrestricted']
/** More than any secret has. */
const MAX_SECRET_CHARS = 1024

/** Only what was given. What is not about the command line is left to the agent to check. @throws SHORTHAUL_USAGE */
export function settingsOf(options: SettingOptions, context: OptionContext): JobPatch {
  const { priority, progressTimeout, costPolicy, limitRate, deadline } = options
  const notify = notifyOf(options, context)
  const patch: { [K in keyof JobPatch]: JobPatch[K] | undefined } = {
    name: options.name,
    description: options.description,
    priority: priority === undefined ? undefined : oneOf<Priority>('--priority', priority, PRIORITIES),
    proxy: options.proxy,
    usePeers: options.peers,
    useOrigin: options.origin,
    originMaxBytesPerSec: limitRate === undefined ? undefined : limitRate === 'none' ? null : parseRate(limitRate),
    minRetryDelayMs: durationOf(options.minRetryDelay),
    noProgressTimeoutMs: typeof progressTimeout === 'string' ? parseDuration(progressTimeout) : undefined,
    maxTransferTimeMs: durationOf(options.maxTransferTime),
    deadlineAtMs:
      deadline === undefined ? undefined : deadline === 'none' ? null : parseDeadline(deadline, context.nowMs),
    costPolicy:
      costPolicy === undefined
        ? undefined
        : costPolicy === 'default'
          ? null
          : oneOf<MeteredPolicy>('--cost-policy', costPolicy, POLICIES),
    notify,
    autoComplete: options.autoComplete,
    headers: options.header?.map(parseHeader),
  }
  return Object.fromEntries(Object.entries(patch).filter(([, value]) => value !== undefined)) as JobPatch
}

/** Undefined: nothing of it was given. @throws SHORTHAUL_USAGE */
function notifyOf(options: SettingOptions, { notify, commandArguments }: OptionContext): NotifySettings | undefined {
  const { notifyCommand, notifyUrl, notifyOn } = options
  if (notifyCommand === undefined && notifyUrl === undefined && notifyOn === undefined) return undefined
  return {
    command: notifyCommand === undefined ? notify.command : parseCommand(notifyCommand, commandArguments),
    webhookUrl: notifyUrl === undefined ? notify.webhookUrl : notifyUrl === 'none' ? null : notifyUrl,
    events:
      notifyOn === undefined
        ? notify.events
        : notifyOn.split(',').map((event) => oneOf<NotifyEvent>('--notify-on', event.trim(), NOTIFY_EVENTS)),
  }
}

/** A program with arguments of its own, or all of it as a JSON array; null: none. @throws SHORTHAUL_USAGE */
export function parseCommand(text: string, args: readonly string[]): readonly string[] | null {
  if (text === 'none' && args.length === 0) return null
  if (!text.startsWith('[')) return [text, ...args]
  let parsed: unknown
  try {
    parsed = JSON.parse(text)
  } catch {
    parsed = null
  }
  if (!Array.isArray(parsed) || parsed.length === 0 || !parsed.every((part) => typeof part === 'string')) {
    throw usage('--notify-command takes a program, or a JSON array of a program and its arguments, all of them texts')
  }
  return [...(parsed as string[]), ...args]
}

/**
 * What stands after `--`, told apart from other words: commander puts them together.
 * @param argv the whole command line
 */
export function splitAtDashes(
  words: readonly string[],
  argv: readonly string[],
): { readonly before: readonly string[]; readonly after: readonly string[] } {
  const dashes = argv.indexOf('--')
  const afterCount = dashes === -1 ? 0 : Math.min(words.length, argv.length - dashes - 1)
  return { before: words.slice(0, words.length - afterCount), after: words.slice(words.length - afterCount) }
}

/** `500-999`, both included, or `500-`, as curl takes it; half-open afterwards. @throws SHORTHAUL_USAGE */
export function parseRange(text: string): FileRange {
  const match = /^(\d{1,16})-(\d{1,16})?$/.exec(text.trim())
  const startBytes = Number(match?.[1])
  const endBytes = match?.[2] === undefined ? null : Number(match[2]) + 1
  if (!match || !Number.isSafeInteger(startBytes) || (endBytes !== null && !(endBytes > startBytes))) {
    throw usage(`Cannot read the range "${text}": expected START-END, both included, or START- to the end`)
  }
  return { startBytes, endBytes }
}

const DATE_TIME = /^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,3})?)?(Z|[+-]\d\d:?\d\d)?$/

/** Without a zone it is local time. @throws SHORTHAUL_USAGE also for what is over */
export function parseDeadline(text: string, nowMs: number): number {
  if (!/^\d{4}-/.test(text)) return nowMs + parseDuration(text)
  const atMs = DATE_TIME.test(text) ? Date.parse(text.replace(' ', 'T')) : Number.NaN
  if (!Number.isFinite(atMs)) {
    throw usage(`Cannot read the deadline "${text}": expected such as 2026-12-01T06:00, 2026-12-01T06:00Z, or 2h`)
  }
  if (atMs <= nowMs) throw usage(`Cannot meet the deadline "${text}": it is over`)
  return atMs
}

/** Undefined: not given; null: none from now on. @throws SHORTHAUL_USAGE */
export async function readNotifySecret({ notifySecretFile }: SettingOptions): Promise<string | null | undefined> {
  if (notifySecretFile === undefined) return undefined
  if (notifySecretFile === 'none') return null
  const text = await readFile(resolve(notifySecretFile), 'utf8').catch((cause: unknown) => {
    throw usage(`Cannot read --notify-secret-file "${notifySecretFile}": ${systemCode(cause) ?? String(cause)}`)
  })
  const secret = text.trim()
  if (secret === '' || secret.length > MAX_SECRET_CHARS || /[\r\n]/.test(secret)) {
    throw usage(`Cannot use --notify-secret-file: expected one line of at most ${MAX_SECRET_CHARS} characters`)
  }
  return secret
}

/** Undefined: all that have not ended. @throws SHORTHAUL_USAGE */
export function statesOf({ all, state }: ListOptions): readonly JobState[] | undefined {
  if (state !== undefined) return state.split(',').map((one) => oneOf<JobState>('--state', one.trim(), JOB_STATES))
  return all === true ? JOB_STATES : undefined
}

function durationOf(text: string | undefined): number | undefined {
  return text === undefined ? undefined : parseDuration(text)
}

function oneOf<T extends string>(option: string, text: string, allowed: readonly T[]): T {
  const found = allowed.find((one) => one === text)
  if (found === undefined) throw usage(`${option} takes ${allowed.join(', ')}, found "${text}"`)
  return found
}
