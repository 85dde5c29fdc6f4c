/** Looks at every batch that the jobs write: what must hold for their records whatever happens, across crashes too. */
import type { Job, JobFile, JobId } from '../../src/jobs/job.ts'
import type { JobEventRecord } from '../../src/jobs/job-events.ts'
import { isFinal, JOB_EVENTS, type JobState, transition } from '../../src/jobs/states.ts'
import type { Change } from '../../src/store/index-db.ts'

const FILE_STEPS: Readonly<Record<JobFile['state'], readonly JobFile['state'][]>> = {
  waiting: ['waiting', 'transferred'],
  // Back when its part was removed by somebody.
  transferred: ['transferred', 'delivered', 'waiting'],
  delivered: ['delivered'],
}

export class JobRecords {
  readonly jobs = new Map<string, Job>()
  /** By job and index. */
  readonly files = new Map<string, JobFile>()
  readonly #fail: (text: string) => void
  readonly #note: (text: string) => void
  #lastEventId = 0

  constructor(about: { readonly fail: (text: string) => void; readonly note: (text: string) => void }) {
    this.#fail = about.fail
    this.#note = about.note
  }

  written(changes: readonly Change[]): void {
    for (const change of changes) {
      const table = change.key.subarray(0, 1).toString('latin1')
      const key = change.key.subarray(1).toString('hex')
      if (change.type === 'del') {
        if (table === 'j') this.jobs.delete(key)
        if (table === 'f') this.files.delete(key)
        continue
      }
      if (table === 'j') this.#job(key, JSON.parse(change.value.toString()) as Job)
      if (table === 'f') this.#file(key, JSON.parse(change.value.toString()) as JobFile)
      if (table === 'e') this.#event(JSON.parse(change.value.toString()) as JobEventRecord)
    }
  }

  /** Read anew: what was not durable may be gone. */
  afterCrash(rows: Iterable<readonly [key: string, value: Buffer]>): void {
    const left = [...rows].map(([key, value]) => [Buffer.from(key, 'hex'), value] as const)
    const jobs = new Map<string, Job>()
    for (const [key, value] of left) {
      const id = key.subarray(1).toString('hex')
      if (key[0] === 0x6a) jobs.set(id, JSON.parse(value.toString()) as Job)
      if (key[0] === 0x66) this.files.set(id, JSON.parse(value.toString()) as JobFile)
    }
    for (const [id, before] of this.jobs) {
      const after = jobs.get(id)
      if (!after) this.#fail(`the crash lost ${before.name}`)
      // Progress may be lost, a state never.
      else if (after.state !== before.state)
        this.#fail(`the crash made ${before.name} ${after.state}, was ${before.state}`)
      else this.jobs.set(id, after)
    }
  }

  filesOf(id: JobId): JobFile[] {
    const prefix = id.replaceAll('-', '')
    return [...this.files].flatMap(([key, file]) => (key.startsWith(prefix) ? [file] : []))
  }

  #job(key: string, job: Job): void {
    const before = this.jobs.get(key)
    this.jobs.set(key, job)
    if (!before || before.state === job.state) return
    this.#note(`${job.name}: ${before.state} -> ${job.state}${job.error ? ` (${job.error.code})` : ''}`)
    if (!isReachable(before.state, job.state)) this.#fail(`${job.name} went from ${before.state} to ${job.state}`)
    if (isFinal(job.state) && job.endedAtMs === null) this.#fail(`${job.name} ended at no time`)
    if (job.state === 'transient-error' && (job.error === null || job.retryAtMs === null)) {
      this.#fail(`${job.name} waits for nothing`)
    }
  }

  #file(key: string, file: JobFile): void {
    const before = this.files.get(key)
    this.files.set(key, file)
    if (before && !FILE_STEPS[before.state].includes(file.state)) {
      this.#fail(`file ${file.target} went from ${before.state} to ${file.state}`)
    }
  }

  #event({ id }: JobEventRecord): void {
    // A number that was given to a batch that failed is not given again.
    if (id <= this.#lastEventId) this.#fail(`event ${id} comes after event ${this.#lastEventId}`)
    this.#lastEventId = id
  }
}

function isReachable(from: JobState, to: JobState): boolean {
  return JOB_EVENTS.some((event) => transition(from, event) === to)
}
