import t from 'tap'
import type { FetchDone, FetchFailed } from '../lab/agent-host.ts'
import { FairTime } from './fair-time.ts'
import { type FetchEnd, judgeFailure, judgeFetch, Pulse, STUCK_MS } from './judgement.ts'
import { OriginTruth } from './origin-truth.ts'

const DONE: FetchDone = {
  event: 'done',
  url: 'http://origin/file',
  path: '/file',
  bytes: 1,
  sha256: 'new',
  durationMs: 1,
  sources: { cache: 0, peer: 0, origin: 1 },
  wastedBytes: 0,
  checkedBytes: 0,
}
const FAILED: FetchFailed = {
  event: 'error',
  code: 'SHORTHAUL_ORIGIN_ERROR',
  message: 'no',
  retryable: true,
  exit: 4,
}
const END: FetchEnd = {
  exit: { code: 0, signal: null },
  last: DONE,
  wasKilled: false,
  foundSha256: 'new',
  stderrTail: '',
}
const ALLOWED = { sha256s: ['old', 'new'], pinned: null }

t.test('a target is right when it is whole of a generation that was current meanwhile', (t) => {
  t.match(judgeFetch(END, ALLOWED), { is: 'right' })
  t.match(judgeFetch(END, { sha256s: ['old'], pinned: null }), { is: 'wrong' })
  t.match(judgeFetch({ ...END, foundSha256: 'mixed' }, ALLOWED), { is: 'wrong' }, 'what it said does not count')
  t.match(judgeFetch({ ...END, foundSha256: null }, ALLOWED), { is: 'wrong' }, 'done without a target')
  t.match(judgeFetch(END, { ...ALLOWED, pinned: 'old' }), { is: 'wrong' }, 'current, and not what was pinned')
  t.match(judgeFetch(END, { sha256s: [], pinned: 'new' }), { is: 'right' }, 'pinned, from a cache')
  t.end()
})

t.test('a failure that says why is no broken promise, unless it left a target or refused right content', (t) => {
  const failed = { ...END, exit: { code: 4, signal: null }, last: FAILED, foundSha256: null }
  t.match(judgeFetch(failed, ALLOWED), { is: 'failed', code: 'SHORTHAUL_ORIGIN_ERROR' })
  t.match(judgeFetch({ ...failed, foundSha256: 'new' }, ALLOWED), { is: 'wrong' })
  const mismatch = { code: 'SHORTHAUL_DIGEST_MISMATCH', message: 'it differs' }
  t.match(judgeFailure(mismatch, { sha256s: ['old', 'new'], pinned: 'old' }), { is: 'failed' }, 'the origin changed')
  t.match(judgeFailure(mismatch, { sha256s: ['old'], pinned: 'old' }), { is: 'wrong' }, 'it did not')
  t.match(judgeFailure(mismatch, { sha256s: ['old'], pinned: null }), { is: 'wrong' }, 'nothing was pinned')
  t.end()
})

t.test('a command that ends without a word, or with a stack, crashed; one that we killed did not', (t) => {
  const silent = { ...END, exit: { code: 1, signal: null }, last: undefined, foundSha256: null }
  t.match(judgeFetch(silent, ALLOWED), { is: 'crashed' })
  t.match(judgeFetch({ ...silent, wasKilled: true }, ALLOWED), { is: 'killed' })
  t.match(judgeFetch({ ...silent, wasKilled: true, foundSha256: 'new' }, ALLOWED), { is: 'killed' }, 'after the rename')
  t.match(judgeFetch({ ...silent, wasKilled: true, foundSha256: 'half' }, ALLOWED), { is: 'wrong' })
  t.match(judgeFetch({ ...silent, wasKilled: true, stderrTail: 'TypeError: x' }, ALLOWED), { is: 'crashed' })
  t.match(judgeFailure({ code: 'SHORTHAUL_BUG', message: 'x' }, ALLOWED), { is: 'crashed' })
  t.end()
})

t.test('what neither grows nor says why for a minute is stuck', (t) => {
  const pulse = new Pulse(0)
  pulse.seen({ nowMs: 1000, bytesDone: 5, reason: null })
  pulse.seen({ nowMs: STUCK_MS, bytesDone: 5, reason: null })
  t.equal(pulse.stuck(1000 + STUCK_MS), null, 'not yet')
  t.match(pulse.stuck(1001 + STUCK_MS), / at 5 bytes/)
  pulse.seen({ nowMs: 1001 + STUCK_MS, bytesDone: 5, reason: 'the origin asked to wait' })
  t.equal(pulse.stuck(1002 + STUCK_MS), null, 'it said why')
  pulse.seen({ nowMs: 2000 + STUCK_MS, bytesDone: 6, reason: null })
  t.equal(pulse.stuck(2000 + 2 * STUCK_MS), null, 'it moved')
  t.end()
})

t.test('time counts less while more wants to run than there are processors', (t) => {
  const time = new FairTime(0)
  t.equal(time.at(100), 100)
  time.machineIs({ nowMs: 100, runnable: 4, processors: 2 })
  t.equal(time.at(300), 200)
  time.machineIs({ nowMs: 300, runnable: 1, processors: 2 })
  t.equal(time.at(400), 300, 'and never more')
  time.machineIs({ nowMs: 400, runnable: 1000, processors: 1 })
  t.equal(time.at(800), 400, 'and is not an excuse for everything')
  t.end()
})

t.test('while a change is ordered and not confirmed both generations are current', (t) => {
  const truth = new OriginTruth()
  truth.changed('/a', { generation: 2, orderedMs: 100, confirmedMs: 120 })
  truth.changed('/a', { generation: 3, orderedMs: 200, confirmedMs: 210 })
  t.strictSame(truth.currentDuring('/a', { fromMs: 0, untilMs: 99 }), [1])
  t.strictSame(truth.currentDuring('/a', { fromMs: 110, untilMs: 115 }), [1, 2])
  t.strictSame(truth.currentDuring('/a', { fromMs: 121, untilMs: 205 }), [2, 3])
  t.strictSame(truth.currentDuring('/a', { fromMs: 211, untilMs: 500 }), [3])
  t.strictSame(truth.currentDuring('/b', { fromMs: 0, untilMs: 500 }), [1])
  t.strictSame(truth.byPath(), { '/a': 3 })
  t.end()
})
