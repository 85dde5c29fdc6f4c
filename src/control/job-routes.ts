/** The routes of jobs: each is one method of JobsApi, as the caller. */
import { ShorthaulError } from '../errors.ts'
import { type JobId, parseJobId } from '../jobs/job.ts'
import type { Caller } from '../jobs/job-access.ts'
import type { JobOrder, JobPatch, JobsApi, JobView } from '../jobs/jobs-api.ts'
import { sendEvents } from './event-answer.ts'
import {
  COMPLETE_RESULT,
  JOB_FILE,
  JOB_FILE_PAGE,
  JOB_PAGE,
  JOB_REASON,
  JOB_VIEW,
  REPLACED,
  STREAM_EVENT,
} from './job-answers.ts'
import {
  ADD_FILES,
  CREATE_JOB,
  IDEMPOTENCY_KEY,
  LIST_FILES,
  LIST_JOBS,
  MAX_KEY_CHARS,
  PATCH_FILE,
  PATCH_JOB,
  READ_EVENTS,
  REPLACE_PREFIX,
} from './job-requests.ts'
import { Refusal } from './problem.ts'
import { type Exchange, type Route, route } from './route.ts'

/** Files of a job, some hundred bytes each; more of them are added by a second request. */
const MAX_ORDER_BYTES = 16 * 1024 * 1024
const MAX_BODY_BYTES = 256 * 1024

const ONE_JOB = { status: 200, description: 'The job.', schema: JOB_VIEW } as const

export const JOB_ROUTES: readonly Route[] = [
  route({
    method: 'GET',
    path: '/v1/jobs',
    who: 'user',
    summary: 'List jobs, oldest first',
    query: LIST_JOBS,
    answer: { status: 200, description: 'A page of jobs; `next` goes into `after`.', schema: JOB_PAGE },
    errors: [403, 404],
    handle: async (exchange, { query: { states, allUsers, after, limit } }) => {
      const last = after === undefined ? null : idOf(after)
      return {
        body: await jobsOf(exchange).list({
          ...(states ? { states } : {}),
          ...(allUsers === undefined ? {} : { allUsers }),
          ...(last === null ? {} : { after: last }),
          ...(limit === undefined ? {} : { limit }),
        }),
      }
    },
  }),
  route({
    method: 'POST',
    path: '/v1/jobs',
    who: 'user',
    summary: 'Create a job',
    headers: {
      'Idempotency-Key': `1 to ${MAX_KEY_CHARS} visible characters. The same key again makes nothing new and answers with the same job.`,
    },
    body: { schema: CREATE_JOB, maxBytes: MAX_ORDER_BYTES },
    answer: {
      status: 201,
      description: 'The new job, or the one that this idempotency key made.',
      schema: JOB_VIEW,
      headers: { Location: 'The path of the job.' },
    },
    errors: [403, 409, 413, 415, 429, 507],
    handle: async (exchange, { body }) => {
      mustBeWritable(exchange)
      const idempotencyKey = keyOf(exchange)
      const order = { ...body, ...(idempotencyKey === null ? {} : { idempotencyKey }) }
      const job = await jobsOf(exchange).create(order as JobOrder) // undefined stands for left out, in both
      return { status: 201, headers: { location: `/v1/jobs/${job.id}` }, body: job }
    },
  }),
  route({
    method: 'GET',
    path: '/v1/jobs/{id}',
    who: 'user',
    summary: 'One job',
    answer: ONE_JOB,
    errors: [404],
    handle: async (exchange, { params }) => ({ body: await jobsOf(exchange).get(idOf(params.id)) }),
  }),
  route({
    method: 'PATCH',
    path: '/v1/jobs/{id}',
    who: 'user',
    summary: 'Change settings of a job',
    body: { schema: PATCH_JOB, maxBytes: MAX_BODY_BYTES },
    answer: ONE_JOB,
    errors: [403, 404, 409, 413, 415],
    handle: async (exchange, { params, body }) => ({
      body: await jobsOf(exchange).set(idOf(params.id), body as JobPatch),
    }),
  }),
  route({
    method: 'GET',
    path: '/v1/jobs/{id}/files',
    who: 'user',
    summary: 'The files of a job, in the order in which they were added',
    query: LIST_FILES,
    answer: { status: 200, description: 'A page of files.', schema: JOB_FILE_PAGE },
    errors: [404],
    handle: async (exchange, { params, query: { after, limit } }) => ({
      body: await jobsOf(exchange).files(idOf(params.id), {
        ...(after === undefined ? {} : { after }),
        ...(limit === undefined ? {} : { limit }),
      }),
    }),
  }),
  route({
    method: 'POST',
    path: '/v1/jobs/{id}/files',
    who: 'user',
    summary: 'Add files to a job',
    body: { schema: ADD_FILES, maxBytes: MAX_ORDER_BYTES },
    answer: ONE_JOB,
    errors: [403, 404, 409, 413, 415, 429],
    handle: async (exchange, { params, body }) => {
      const files = body.files.map(({ url, target, ranges, sha256 }) => ({
        url,
        target,
        ranges: ranges ?? null,
        sha256: sha256 ?? null,
      }))
      return { body: await jobsOf(exchange).addFiles(idOf(params.id), files) }
    },
  }),
  route({
    method: 'PATCH',
    path: '/v1/jobs/{id}/files/{index}',
    who: 'user',
    summary: 'Change where a file comes from or goes to',
    body: { schema: PATCH_FILE, maxBytes: MAX_BODY_BYTES },
    answer: { status: 200, description: 'The file.', schema: JOB_FILE },
    errors: [403, 404, 409, 413, 415],
    handle: async (exchange, { params, body: { url, target } }) => ({
      body: await jobsOf(exchange).setFile(idOf(params.id), indexOf(params), {
        ...(url === undefined ? {} : { url }),
        ...(target === undefined ? {} : { target }),
      }),
    }),
  }),
  onJob('suspend', 'Stop a job until it is resumed', (jobs, id) => jobs.suspend(id)),
  onJob('resume', 'Start a job, or try it again', (jobs, id) => jobs.resume(id)),
  onJob('cancel', 'End a job and remove what it fetched', (jobs, id) => jobs.cancel(id)),
  onJob('take-ownership', 'Make a job the caller’s own; administrators only', (jobs, id, exchange) => {
    mustBeWritable(exchange)
    return jobs.takeOwnership(id)
  }),
  route({
    method: 'POST',
    path: '/v1/jobs/{id}/complete',
    who: 'user',
    summary: 'Give the files that are here their names, and end the job',
    answer: {
      status: 200,
      description: 'The job, and how many of its files have their names.',
      schema: COMPLETE_RESULT,
    },
    errors: [404, 409, 422, 507],
    handle: async (exchange, { params }) => ({ body: await jobsOf(exchange).complete(idOf(params.id)) }),
  }),
  route({
    method: 'POST',
    path: '/v1/jobs/{id}/replace-prefix',
    who: 'user',
    summary: 'Fetch every file whose URL begins with `from` from `to` instead',
    body: { schema: REPLACE_PREFIX, maxBytes: MAX_BODY_BYTES },
    answer: { status: 200, description: 'How many files it was.', schema: REPLACED },
    errors: [403, 404, 409, 413, 415],
    handle: async (exchange, { params, body }) => ({
      body: { changedCount: await jobsOf(exchange).replacePrefix(idOf(params.id), body) },
    }),
  }),
  route({
    method: 'GET',
    path: '/v1/jobs/{id}/why',
    who: 'user',
    summary: 'Why a job is where it is',
    answer: { status: 200, description: 'The reason.', schema: JOB_REASON },
    errors: [404],
    handle: async (exchange, { params }) => ({ body: (await jobsOf(exchange).get(idOf(params.id))).reason }),
  }),
  route({
    method: 'GET',
    path: '/v1/events',
    who: 'user',
    summary: 'What happens to jobs, as server-sent events, until the client goes',
    query: READ_EVENTS,
    headers: { 'Last-Event-ID': 'Begin after this event; overrides `after`.' },
    answer: {
      status: 200,
      description:
        'Server-sent events, named after their kind. Recorded ones have an `id:`, with which the stream goes on after a ' +
        'break; progress has none. The first event has only the id after which the stream begins. A comment comes every ' +
        '15 s. `data:` is one line of JSON, as the schema says.',
      contentType: 'text/event-stream',
      schema: STREAM_EVENT,
    },
    errors: [403],
    handle: async (exchange, { query: { after, job, progress, allUsers } }) => {
      const wanted = job === undefined ? null : idOf(job)
      const from = lastEventIdOf(exchange) ?? after ?? exchange.agent.lastJobEventId()
      await sendEvents(exchange, jobsOf(exchange), {
        after: from,
        ...(wanted === null ? {} : { job: wanted }),
        hasProgress: progress ?? false,
        allUsers: allUsers ?? false,
      })
      return null
    },
  }),
]

function onJob(
  verb: string,
  summary: string,
  act: (jobs: JobsApi, id: JobId, exchange: Exchange) => Promise<JobView>,
): Route {
  return route({
    method: 'POST',
    path: `/v1/jobs/{id}/${verb}`,
    who: 'user',
    summary,
    answer: ONE_JOB,
    errors: verb === 'take-ownership' ? [403, 404, 409] : [404, 409],
    handle: async (exchange, { params }) => ({ body: await act(jobsOf(exchange), idOf(params.id), exchange) }),
  })
}

function jobsOf(exchange: Exchange): JobsApi {
  return exchange.agent.jobsAs(callerOf(exchange))
}

function callerOf({ asker: { caller } }: Exchange): Caller {
  if (caller === null) throw new Error('a route of jobs was reached by nobody') // the server checks `who` before
  return caller
}

/**
 * Targets have to be written with the rights of whose job it is: an agent that cannot take them has no jobs of others.
 * @throws SHORTHAUL_FORBIDDEN
 */
function mustBeWritable(exchange: Exchange): void {
  const caller = callerOf(exchange)
  if (exchange.agent.canWriteAs(caller)) return
  throw new ShorthaulError(
    'SHORTHAUL_FORBIDDEN',
    `Cannot have jobs of ${caller.name}: this agent writes files as ${exchange.agent.user.name} only; ` +
      'start an agent of your own with `shorthaul daemon`',
  )
}

/** @throws SHORTHAUL_JOB_NOT_FOUND: what is no id is the id of no job */
function idOf(text = ''): JobId {
  const id = parseJobId(safelyDecoded(text))
  if (id !== null) return id
  throw new ShorthaulError('SHORTHAUL_JOB_NOT_FOUND', 'Cannot find the job: expected a UUID')
}

function indexOf({ index = '' }: Readonly<Record<string, string>>): number {
  if (/^\d{1,9}$/.test(index)) return Number(index)
  throw new ShorthaulError('SHORTHAUL_JOB_NOT_FOUND', 'Cannot find the file: expected a number that counts from 0')
}

function safelyDecoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return ''
  }
}

function keyOf({ request }: Exchange): string | null {
  const key = request.headers['idempotency-key']
  if (key === undefined) return null
  if (typeof key === 'string' && IDEMPOTENCY_KEY.test(key)) return key
  throw new Refusal(400, `Cannot use the Idempotency-Key: expected 1 to ${MAX_KEY_CHARS} visible characters`)
}

function lastEventIdOf({ request }: Exchange): number | null {
  const id = request.headers['last-event-id']
  if (id === undefined || id === '') return null
  if (typeof id === 'string' && /^\d{1,15}$/.test(id)) return Number(id)
  throw new Refusal(400, 'Cannot use the Last-Event-ID: expected a whole number')
}
