/**
 * Bodies and queries of the routes of jobs. Checks shapes and bounds what is kept of them; what a job can be is checked
 * where jobs are (jobs/orders.ts), for whoever asks in whatever way.
 */
import { z } from 'zod'
import { NOTIFY_EVENTS } from '../jobs/job.ts'
import { JOB_STATES } from '../jobs/states.ts'
import { PRIORITIES } from '../throttle/priority.ts'

/** The hard end of jobs.maxFilesPerJob. */
const MAX_FILES = 100_000
export const MAX_PAGE = 1000
export const METERED_POLICIES = ['always', 'not-roaming', 'no-surcharge', 'standard', 'unrestricted'] as const

const url = z
  .string()
  .min(1)
  .max(16 * 1024)
const path = z.string().min(1).max(4096)
const wholeBytes = z.number().int().min(0)
const durationMs = z.number().int().min(0)

export const JOB_ID = z.uuid()

export const RANGE = z.strictObject({ startBytes: wholeBytes, endBytes: wholeBytes.nullable() })

export const FILE_ORDER = z.strictObject({
  url: url.describe('Absolute http, https or file URL.'),
  target: path.describe('Absolute path; its directory must be there.'),
  ranges: z.array(RANGE).max(500).nullable().optional().describe('Half-open. null: all of the URL.'),
  sha256: z.string().nullable().optional().describe('Lower-case hex of what must be in the target.'),
})

export const NOTIFY = z.strictObject({
  command: z
    .array(z.string().max(8192))
    .max(64)
    .nullable()
    .describe('Program and arguments, run without a shell as the owner.'),
  webhookUrl: url.nullable(),
  events: z.array(z.enum(NOTIFY_EVENTS)).max(NOTIFY_EVENTS.length),
})

/** Every one may be left out. */
const SETTINGS = {
  name: z.string().max(1024).optional(),
  description: z.string().max(4096).optional(),
  priority: z.enum(PRIORITIES).optional(),
  proxy: z
    .string()
    .max(16 * 1024)
    .optional()
    .describe('`auto`, `none`, or the URL of a proxy.'),
  usePeers: z.boolean().optional(),
  useOrigin: z.boolean().optional(),
  originMaxBytesPerSec: z.number().nullable().optional(),
  minRetryDelayMs: durationMs.optional(),
  noProgressTimeoutMs: durationMs.optional(),
  maxTransferTimeMs: durationMs.optional(),
  deadlineAtMs: z.number().int().nullable().optional().describe('Milliseconds since 1970.'),
  costPolicy: z.enum(METERED_POLICIES).nullable().optional(),
  notify: NOTIFY.optional(),
  autoComplete: z.boolean().optional().describe('Targets appear as soon as all files are here.'),
  headers: z
    .array(z.tuple([z.string().max(256), z.string().max(16 * 1024)]))
    .max(64)
    .optional()
    .describe('Header fields for the origin, in order. Never shown again.'),
  webhookSecret: z.string().max(1024).nullable().optional().describe('Signs what the webhook is sent.'),
}

export const CREATE_JOB = z.strictObject({
  ...SETTINGS,
  files: z.array(FILE_ORDER).max(MAX_FILES).optional(),
  isStarted: z.boolean().optional().describe('false: it waits for resume. Default: true when there are files.'),
})
export const PATCH_JOB = z.strictObject(SETTINGS)
export const ADD_FILES = z.strictObject({ files: z.array(FILE_ORDER).min(1).max(MAX_FILES) })
export const PATCH_FILE = z.strictObject({ url: url.optional(), target: path.optional() })
export const REPLACE_PREFIX = z.strictObject({ from: url, to: url })

/** Queries are text: `true` and `false`, digits, and lists with commas. */
const flag = z.enum(['true', 'false']).transform((value) => value === 'true')
const limit = z.coerce.number().int().min(1).max(MAX_PAGE)

export const LIST_JOBS = z.strictObject({
  states: z.array(z.enum(JOB_STATES)).max(64).optional().describe('Default: all but those that ended.'),
  allUsers: flag.optional().describe('Also those of others; administrators only.'),
  after: JOB_ID.optional().describe('The job after which the page begins.'),
  limit: limit.optional(),
})
export const LIST_FILES = z.strictObject({ after: z.coerce.number().int().min(0).optional(), limit: limit.optional() })
export const READ_EVENTS = z.strictObject({
  after: z.coerce.number().int().min(0).optional().describe('Begin after this event. Default: with what happens now.'),
  job: JOB_ID.optional(),
  progress: flag.optional().describe('Also the progress of what runs, twice a second, which has no id.'),
  allUsers: flag.optional(),
})

export const MAX_KEY_CHARS = 255
/** What may stand in a header field without being quoted or cut. */
export const IDEMPOTENCY_KEY = /^[\x21-\x7e]{1,255}$/
