/**
 * What the routes of jobs answer, as schemas: for the OpenAPI document, and for tests that hold real answers against it.
 * The types are those of jobs/jobs-api.ts.
 */
import { z } from 'zod'
import { ERROR_TABLE, type ErrorCode } from '../errors.ts'
import { JOB_EVENT_KINDS } from '../jobs/job-events.ts'
import { JOB_REASON_CODES } from '../jobs/jobs-api.ts'
import { JOB_STATES } from '../jobs/states.ts'
import { PRIORITIES } from '../throttle/priority.ts'
import { SHOWN_TRUST } from '../transfer/shown-trust.ts'
import { JOB_ID, METERED_POLICIES, NOTIFY, RANGE } from './job-requests.ts'

const bytes = z.number().int().min(0)
const count = z.number().int().min(0)
const atMs = z.number().describe('Milliseconds since 1970.')
const durationMs = z.number().min(0)
const sha256 = z.string().regex(/^[0-9a-f]{64}$/)
const code = z.enum(Object.keys(ERROR_TABLE) as [ErrorCode, ...ErrorCode[]])

const SOURCES = z.object({ cache: bytes, peer: bytes, origin: bytes }).describe('Bytes by where they came from.')
const OWNER = z.object({ uid: z.number().int().nullable(), name: z.string() })
const STATE = z.enum(JOB_STATES)

const JOB_ERROR = z.object({
  code,
  message: z.string(),
  fileIndex: count.nullable(),
  isTransient: z.boolean(),
  hasRetryAfter: z.boolean(),
  atMs,
})

export const JOB_REASON = z
  .object({
    code: z.enum(JOB_REASON_CODES),
    text: z.string(),
    untilMs: z.number().nullable(),
    fileIndex: count.nullable(),
  })
  .meta({ id: 'JobReason', description: 'Why a job is where it is.' })

export const JOB_VIEW = z
  .object({
    id: JOB_ID,
    type: z.literal('download'),
    owner: OWNER,
    state: STATE,
    name: z.string(),
    description: z.string(),
    priority: z.enum(PRIORITIES),
    proxy: z.string(),
    usePeers: z.boolean(),
    useOrigin: z.boolean(),
    originMaxBytesPerSec: z.number().nullable(),
    minRetryDelayMs: durationMs,
    noProgressTimeoutMs: durationMs,
    maxTransferTimeMs: durationMs,
    deadlineAtMs: atMs.nullable(),
    costPolicy: z.enum(METERED_POLICIES).nullable(),
    notify: NOTIFY,
    autoComplete: z.boolean(),
    headerNames: z.array(z.string()).describe('Values are never shown.'),
    createdAtMs: atMs,
    modifiedAtMs: atMs,
    transferredAtMs: atMs.nullable(),
    endedAtMs: atMs.nullable(),
    totals: z.object({
      fileCount: count,
      doneCount: count,
      bytesTotal: bytes.describe('Of the files whose length is known.'),
      unknownLengthCount: count,
      bytesDone: bytes,
      sources: SOURCES,
    }),
    error: JOB_ERROR.nullable(),
    errorCount: count,
    retryAtMs: atMs.nullable(),
    transferTimeMs: durationMs,
    bytesPerSec: z.number().min(0),
    reason: JOB_REASON,
  })
  .meta({ id: 'Job', description: 'A job as it is at this moment.' })

export const JOB_FILE = z
  .object({
    index: count,
    url: z.string(),
    target: z.string(),
    ranges: z.array(RANGE).nullable(),
    sha256: sha256.nullable(),
    state: z.enum(['waiting', 'transferred', 'delivered']),
    bytesTotal: bytes.nullable(),
    bytesDone: bytes,
    sources: SOURCES,
    resource: z.string().nullable(),
    foundSha256: sha256.nullable(),
    trust: z.enum(SHOWN_TRUST).nullable().describe('How what was transferred is known.'),
    restartCount: count,
  })
  .meta({ id: 'JobFile' })

export const JOB_PAGE = z.object({ jobs: z.array(JOB_VIEW), next: JOB_ID.nullable() }).meta({ id: 'JobPage' })
export const JOB_FILE_PAGE = z
  .object({ files: z.array(JOB_FILE), next: count.nullable() })
  .meta({ id: 'JobFilePage', description: '`next` goes into `after`; null: that was the last page.' })
export const COMPLETE_RESULT = z
  .object({ job: JOB_VIEW, deliveredCount: count, abandonedCount: count })
  .meta({ id: 'CompleteResult' })
export const REPLACED = z.object({ changedCount: count }).meta({ id: 'ReplacedPrefix' })

export const JOB_EVENT = z
  .object({
    id: z.number().int().min(1),
    atMs,
    job: JOB_ID,
    name: z.string(),
    owner: OWNER,
    kind: z.enum(JOB_EVENT_KINDS),
    previous: STATE.nullable(),
    state: STATE,
    fileIndex: count.optional(),
    error: JOB_ERROR.optional(),
  })
  .meta({ id: 'JobEvent', description: 'Recorded: it can be read again by its id.' })

export const JOB_PROGRESS = z
  .object({
    kind: z.literal('progress'),
    job: JOB_ID,
    bytesDone: bytes,
    bytesTotal: bytes,
    unknownLengthCount: count,
    doneCount: count,
    fileCount: count,
    bytesPerSec: z.number().min(0),
  })
  .meta({ id: 'JobProgress', description: 'Not recorded: the state of what runs.' })

export const STREAM_EVENT = z.union([JOB_EVENT, JOB_PROGRESS])

export const PROBLEM = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.number().int(),
    detail: z.string(),
    code,
    retryable: z.boolean().describe('The same request may succeed later.'),
    details: z.record(z.string(), z.unknown()),
  })
  .meta({ id: 'Problem', description: 'RFC 9457.' })
