/** Jobs and files as records, for tests of what works on records. */
import pino from 'pino'
import { type Job, type JobFile, type JobId, NO_BYTES, totalsOf } from '../../src/jobs/job.ts'

export const silent = pino({ level: 'silent' })

export function jobId(number: number): JobId {
  return `00000000-0000-4000-8000-${number.toString(16).padStart(12, '0')}` as JobId
}

export function fileRecord(index: number, changes: Partial<JobFile> = {}): JobFile {
  return {
    index,
    url: `https://origin.example/${index}`,
    target: `/srv/files/${index}`,
    ranges: null,
    sha256: null,
    state: 'waiting',
    bytesTotal: null,
    bytesDone: 0,
    sources: NO_BYTES,
    resource: null,
    foundSha256: null,
    trust: null,
    restartCount: 0,
    ...changes,
  }
}

export function jobRecord(number: number, changes: Partial<Job> = {}): Job {
  return {
    id: jobId(number),
    type: 'download',
    owner: { uid: 1000, name: 'ada' },
    state: 'queued',
    name: `job ${number}`,
    description: '',
    priority: 'normal',
    proxy: 'auto',
    usePeers: true,
    useOrigin: true,
    originMaxBytesPerSec: null,
    minRetryDelayMs: 5000,
    noProgressTimeoutMs: 60_000,
    maxTransferTimeMs: 3_600_000,
    deadlineAtMs: null,
    costPolicy: null,
    notify: { command: null, webhookUrl: null, events: [] },
    autoComplete: false,
    sealed: null,
    headerNames: [],
    createdAtMs: number,
    modifiedAtMs: number,
    transferredAtMs: null,
    endedAtMs: null,
    totals: totalsOf([fileRecord(0)]),
    error: null,
    errorCount: 0,
    attempt: 0,
    retryAtMs: null,
    transferTimeMs: 0,
    stalledMs: 0,
    idleMs: 0,
    isCompleting: false,
    isCleaned: false,
    queuedSeq: number,
    ...changes,
  }
}
