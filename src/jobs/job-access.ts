/** Who may see and change which jobs: a user their own, an administrator everything. And what is said to who may not. */
import { ShorthaulError } from '../errors.ts'
import type { Job, JobId, JobOwner } from './job.ts'
import type { JobBook } from './job-book.ts'
import { isFinal } from './states.ts'

/** Who asks. */
export interface Caller extends JobOwner {
  /** May see and change everybody's jobs. */
  readonly isAdmin: boolean
}

/** @throws SHORTHAUL_JOB_NOT_FOUND; another user's job is not there either */
export function jobOf(book: Pick<JobBook, 'get'>, id: JobId, caller: Caller): Job {
  const job = book.get(id)
  if (job === null || !(caller.isAdmin || isOwnedBy(job, caller))) throw unknownJob(id)
  return job
}

/** One that can still be changed. @throws SHORTHAUL_JOB_NOT_FOUND, SHORTHAUL_JOB_STATE */
export function liveJobOf(book: Pick<JobBook, 'get'>, id: JobId, caller: Caller): Job {
  const job = jobOf(book, id, caller)
  mustLive(job)
  return job
}

/** @throws SHORTHAUL_JOB_STATE */
export function mustLive(job: Job): void {
  if (isFinal(job.state)) throw wrongState(job, 'change')
}

export function isOwnedBy(job: Job, caller: JobOwner): boolean {
  return isSameUser(job.owner, caller)
}

export function isSameUser(one: JobOwner, other: JobOwner): boolean {
  return one.uid === null ? one.name === other.name : one.uid === other.uid
}

/** @throws SHORTHAUL_FORBIDDEN */
export function mustBeAdmin({ name, isAdmin }: Caller): void {
  if (!isAdmin) throw new ShorthaulError('SHORTHAUL_FORBIDDEN', `Cannot do this as ${name}: only an administrator may`)
}

export function unknownJob(id: JobId): ShorthaulError {
  return new ShorthaulError('SHORTHAUL_JOB_NOT_FOUND', `Cannot find job ${id}`, { details: { job: id } })
}

export function unknownFile({ id }: Job, index: number): ShorthaulError {
  return new ShorthaulError('SHORTHAUL_JOB_NOT_FOUND', `Cannot find file ${index} of job ${id}`, {
    details: { job: id, index },
  })
}

export function wrongState({ id, state }: Job, what: string): ShorthaulError {
  return new ShorthaulError('SHORTHAUL_JOB_STATE', `Cannot ${what} job ${id}: it is ${state}`, {
    details: { job: id, state },
  })
}
