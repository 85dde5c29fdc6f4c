import t from 'tap'
import type { ErrorCode } from '../../src/errors.ts'
import type { JobError } from '../../src/jobs/job.ts'
import { type Circumstances, why } from '../../src/jobs/why.ts'
import { jobRecord } from './job-fixtures.ts'

const QUIET: Circumstances = {
  hold: null,
  costText: null,
  moreUrgent: null,
  runningCount: 0,
  isNetworkDown: false,
  isYielding: false,
  run: null,
}
const RUN = { bytesPerSec: 0, stalledMs: 0, trouble: null }

function failure(code: ErrorCode, changes: Partial<JobError> = {}): JobError {
  return {
    code,
    message: 'it broke',
    fileIndex: 3,
    isTransient: true,
    hasRetryAfter: false,
    atMs: 0,
    ...changes,
  }
}

await t.test('a queued job says whom or what it waits for, the strongest reason first', async (t) => {
  const job = jobRecord(1)
  const moreUrgent = { name: 'db', priority: 'high' as const }
  t.match(why(job, QUIET), { code: 'waiting-for-turn', text: 'About to start' })
  t.match(why(job, { ...QUIET, runningCount: 1 }), { text: 'Waiting for its turn: another job has one' })
  t.match(why(job, { ...QUIET, runningCount: 3 }), { text: 'Waiting for its turn: 3 other jobs have one' })
  t.match(why(job, { ...QUIET, moreUrgent }), { code: 'more-urgent-job', text: /"db", whose priority is high/ })
  t.match(why(job, { ...QUIET, moreUrgent, costText: 'roaming' }), { code: 'cost', text: 'Waiting because of roaming' })
})

await t.test('a running job says what keeps it', async (t) => {
  const job = jobRecord(1, { state: 'transferring' })
  const hold = { text: 'the window is closed', untilMs: 5000 } as NonNullable<Circumstances['hold']>
  t.match(why(job, { ...QUIET, run: RUN }), { code: 'transferring' })
  t.match(why(jobRecord(1, { state: 'connecting' }), { ...QUIET, run: RUN }), { code: 'connecting' })
  t.match(why(job, { ...QUIET, run: RUN, hold }), { code: 'held', untilMs: 5000 })
  const fromPeers = { ...RUN, bytesPerSec: 10 }
  t.match(why(job, { ...QUIET, run: fromPeers, hold }), { code: 'transferring' }, 'neighbours are not held')
  const stalled = { ...RUN, stalledMs: 61_000, trouble: '503' }
  t.match(why(job, { ...QUIET, run: stalled }), {
    code: 'stalled',
    text: 'Nothing has come for 61 s, trying again: 503',
  })
  t.match(why(job, { ...QUIET, run: stalled, isNetworkDown: true }), { code: 'network-down' })
  const silent = { ...stalled, trouble: null }
  t.match(why(job, { ...QUIET, run: silent }), { code: 'stalled', text: 'Nothing has come for 61 s' })
  t.match(
    why(job, { ...QUIET, run: silent, isYielding: true }),
    {
      code: 'stalled',
      text: 'Nothing has come for 61 s: others use the line, and this goes slowly until they are done',
    },
    'at the floor of the governor one segment may take minutes',
  )
  t.match(why(job, { ...QUIET, run: stalled, isYielding: true }), { text: /trying again: 503$/ }, 'trouble says more')
})

await t.test('a job that failed for now says why and until when', async (t) => {
  const cases: readonly (readonly [JobError, string])[] = [
    [failure('SHORTHAUL_ORIGIN_ERROR'), 'retry-later'],
    [failure('SHORTHAUL_ORIGIN_ERROR', { hasRetryAfter: true }), 'origin-asked-to-wait'],
    [failure('SHORTHAUL_DISK_FULL'), 'disk-full'],
    [failure('SHORTHAUL_ORIGIN_DISALLOWED'), 'no-source'],
  ]
  for (const [error, code] of cases) {
    const job = jobRecord(1, { state: 'transient-error', error, retryAtMs: 9000 })
    t.match(why(job, QUIET), { code, untilMs: 9000, fileIndex: 3, text: /: it broke$/ })
    t.match(why(job, { ...QUIET, isNetworkDown: true }), { code: 'network-down', untilMs: 9000 })
  }
})

await t.test('the states in which nothing moves say what somebody can do', async (t) => {
  const empty = jobRecord(1).totals
  t.match(why(jobRecord(1, { state: 'suspended' }), QUIET), { code: 'suspended' })
  const noFiles = jobRecord(1, { state: 'suspended', totals: { ...empty, fileCount: 0 } })
  t.match(why(noFiles, QUIET), { code: 'no-files' })
  const failed = jobRecord(1, { state: 'error', error: failure('SHORTHAUL_ORIGIN_NOT_FOUND') })
  t.match(why(failed, QUIET), { code: 'failed', fileIndex: 3, text: 'Failed: it broke; resume tries again' })
  t.match(why(jobRecord(1, { state: 'transferred' }), QUIET), { code: 'waiting-for-complete' })
  const stuck = jobRecord(1, { state: 'transferred', error: failure('SHORTHAUL_TARGET_UNWRITABLE') })
  t.match(why(stuck, QUIET), { code: 'waiting-for-complete', text: /not under their names: it broke/ })
  t.match(why(jobRecord(1, { state: 'transferred', isCompleting: true }), QUIET), { code: 'completing' })
  t.match(why(jobRecord(1, { state: 'acknowledged' }), QUIET), { code: 'acknowledged' })
  t.match(why(jobRecord(1, { state: 'cancelled' }), QUIET), { code: 'cancelled' })
})
