import t from 'tap'
import { pick } from '../../src/cli/job/find.ts'
import { formatMoment, formatReason, jobTable, oneLine } from '../../src/cli/job/job-view.ts'
import { isOver, resultOf } from '../../src/cli/job/watch.ts'
import type { JobError, JobId } from '../../src/jobs/job.ts'
import type { JobView } from '../../src/jobs/jobs-api.ts'

const NOW_MS = Date.UTC(2026, 10, 26)
const FAILURE: JobError = {
  code: 'SHORTHAUL_ORIGIN_NOT_FOUND',
  message: 'Cannot fetch http://a.example/x: 404',
  fileIndex: 0,
  isTransient: false,
  hasRetryAfter: false,
  atMs: NOW_MS,
}

function view(rest: Partial<JobView> = {}): JobView {
  return {
    id: '0f3c9a52-0000-4000-8000-000000000001' as JobId,
    type: 'download',
    owner: { uid: 1000, name: 'anna' },
    name: 'update-2026-11.msu',
    description: '',
    priority: 'normal',
    proxy: 'auto',
    usePeers: true,
    useOrigin: true,
    originMaxBytesPerSec: null,
    minRetryDelayMs: 600_000,
    noProgressTimeoutMs: 1_209_600_000,
    maxTransferTimeMs: 7_776_000_000,
    deadlineAtMs: null,
    costPolicy: null,
    notify: { command: null, webhookUrl: null, events: ['transferred', 'error'] },
    autoComplete: false,
    state: 'transferring',
    headerNames: [],
    createdAtMs: NOW_MS,
    modifiedAtMs: NOW_MS,
    transferredAtMs: null,
    endedAtMs: null,
    totals: {
      fileCount: 3,
      doneCount: 1,
      bytesTotal: 4 * 2 ** 20,
      unknownLengthCount: 0,
      bytesDone: 3 * 2 ** 20,
      sources: { cache: 0, peer: 0, origin: 3 * 2 ** 20 },
    },
    error: null,
    errorCount: 0,
    retryAtMs: null,
    transferTimeMs: 0,
    bytesPerSec: 2 ** 20,
    reason: { code: 'transferring', text: 'Transferring', untilMs: null, fileIndex: null },
    ...rest,
  }
}

void t.test('the table shows what fits, and never wraps', async (t) => {
  const jobs = [
    view(),
    view({
      name: 'a name that is longer than any column has room for, whatever its width',
      state: 'transient-error',
      bytesPerSec: 0,
      reason: { code: 'retry-later', text: 'Waiting to try again', untilMs: NOW_MS + 300_000, fileIndex: null },
    }),
  ]
  t.same(jobTable([view()], { columns: 120, nowMs: NOW_MS }), [
    'ID        NAME                STATE         PRIORITY  FILES              BYTES        RATE  WHY',
    '0f3c9a52  update-2026-11.msu  transferring  normal      1/3  3.0 MiB / 4.0 MiB   1.0 MiB/s',
  ])
  t.same(jobTable([view()], { columns: 80, nowMs: NOW_MS }), [
    'ID        NAME                STATE         FILES   DONE        RATE  WHY',
    '0f3c9a52  update-2026-11.msu  transferring    1/3   75 %   1.0 MiB/s',
  ])
  for (const columns of [20, 40, 80, 100, 120, 200]) {
    for (const line of jobTable(jobs, { columns, nowMs: NOW_MS })) t.ok(line.length < columns, line)
  }
  t.match(jobTable(jobs, { columns: 200, nowMs: NOW_MS })[2], /tries again in 5 min$/)
})

void t.test('characters that are two cells wide are counted so', async (t) => {
  const [, one, other] = jobTable([view({ name: '日本語' }), view({ name: 'abcdef' })], { columns: 80, nowMs: NOW_MS })
  t.match(one, /^0f3c9a52 {2}日本語 {2}transferring/)
  t.match(other, /^0f3c9a52 {2}abcdef {2}transferring/)
  const long = jobTable([view({ name: '日本'.repeat(30) })], { columns: 80, nowMs: NOW_MS })
  t.match(long[1], /^0f3c9a52 {2}(日本)+日?… {1,3}transferring/)
})

void t.test('a name cannot command the terminal', async (t) => {
  t.equal(oneLine('a\u001b[2Jb\nc\u202ed'), 'a?[2Jb?c?d')
  t.notMatch(jobTable([view({ name: '\u001b[2J' })], { columns: 80, nowMs: NOW_MS }).join(''), '\u001b')
})

void t.test('why says until when', async (t) => {
  const reason = { code: 'retry-later', text: 'Waiting to try again', untilMs: null, fileIndex: null } as const
  t.equal(formatReason(reason, NOW_MS), 'Waiting to try again')
  const untilMs = NOW_MS + 60_000
  t.equal(
    formatReason({ ...reason, untilMs }, NOW_MS),
    `Waiting to try again (until ${formatMoment(untilMs)}, in 1 min)`,
  )
  t.equal(Date.parse(formatMoment(untilMs)), untilMs)
})

void t.test('a job is named by its id, the beginning of it, or a name', async (t) => {
  const one = view({ name: 'nightly', state: 'acknowledged' })
  const two = view({ id: '0f3c9a52-0000-4000-8000-000000000002' as JobId, name: 'nightly' })
  const three = view({ id: 'beef0000-0000-4000-8000-000000000003' as JobId, name: 'other' })
  const all = [one, two, three]
  t.equal(pick(all, 'nightly'), two.id, 'the one that has not ended')
  t.equal(pick(all, 'BEEF'), three.id)
  t.equal(pick(all, 'bee'), null, 'too short')
  t.equal(pick(all, 'ghost'), null)
  t.equal(pick([one], 'nightly'), one.id)
  t.throws(() => pick([two, view({ name: 'nightly' })], 'nightly'), { code: 'SHORTHAUL_USAGE', message: /by its id/ })
})

void t.test('watching ends when nothing more happens by itself, and the exit code says how', async (t) => {
  t.notOk(isOver(view()))
  t.notOk(isOver(view({ state: 'suspended' })))
  t.notOk(isOver(view({ state: 'transient-error', error: FAILURE })))
  t.notOk(isOver(view({ state: 'transferred', autoComplete: true })), 'about to complete itself')
  t.ok(isOver(view({ state: 'transferred' })))
  t.match(resultOf(view({ state: 'transferred' })), { exit: 0, remark: /job complete 0f3c9a52/ })
  t.match(resultOf(view({ state: 'acknowledged' })), { exit: 0 })
  t.match(resultOf(view({ state: 'cancelled' })), { exit: 130 })
  t.ok(isOver(view({ state: 'error', error: FAILURE })))
  t.match(resultOf(view({ state: 'error', error: FAILURE })), { exit: 3, remark: /job resume/ })
  const unnamed = view({ state: 'transferred', autoComplete: true, error: { ...FAILURE, code: 'SHORTHAUL_DISK_FULL' } })
  t.ok(isOver(unnamed))
  t.match(resultOf(unnamed), { exit: 6, remark: /job complete/ })
})
