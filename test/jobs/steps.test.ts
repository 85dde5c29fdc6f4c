import t from 'tap'
import { ShorthaulError } from '../../src/errors.ts'
import { jobErrorOf, limitError, step } from '../../src/jobs/steps.ts'
import { jobRecord } from './job-fixtures.ts'

const NOW = { nowMs: 5000 }

await t.test('what the state does not know changes nothing', async (t) => {
  t.equal(step(jobRecord(1, { state: 'acknowledged' }), 'resume', NOW), null)
  t.equal(step(jobRecord(1, { state: 'queued' }), 'done', NOW), null)
})

await t.test('a change of state is told once, one that is none is not', async (t) => {
  const edit = step(jobRecord(1), 'suspend', NOW)
  t.match(edit, { job: { state: 'suspended', modifiedAtMs: 5000 } })
  t.same(edit?.events, [{ kind: 'state', previous: 'queued', state: 'suspended' }])
  t.same(step(jobRecord(1, { state: 'suspended' }), 'suspend', NOW)?.events, [])
})

await t.test('the end of a transfer and of a job are stamped, and a promise to complete is kept then', async (t) => {
  t.match(step(jobRecord(1, { state: 'transferring' }), 'done', NOW)?.job, { transferredAtMs: 5000, endedAtMs: null })
  const done = step(jobRecord(1, { state: 'transferred', isCompleting: true }), 'complete', NOW)?.job
  t.match(done, { state: 'acknowledged', endedAtMs: 5000, isCompleting: false })
  t.match(step(jobRecord(1), 'cancel', NOW)?.job, { state: 'cancelled', endedAtMs: 5000 })
})

await t.test('a job to which something was added is not all here any more', async (t) => {
  const whole = jobRecord(1, { state: 'transferred', transferredAtMs: 4000 })
  t.match(step(whole, 'more-work', NOW)?.job, { state: 'suspended', transferredAtMs: null })
  t.match(step(whole, 'complete', NOW)?.job, { transferredAtMs: 4000 })
  t.match(step(whole, 'cancel', NOW)?.job, { transferredAtMs: 4000 })
})

await t.test('only a job that waits to be tried again says when', async (t) => {
  const error = jobErrorOf(new ShorthaulError('SHORTHAUL_ORIGIN_ERROR', '503', { details: { retryAfterMs: 1 } }), {
    fileIndex: 2,
    isTransient: true,
    nowMs: 4000,
  })
  t.match(error, { fileIndex: 2, hasRetryAfter: true, isTransient: true, atMs: 4000 })
  const failed = step(jobRecord(1, { state: 'transferring' }), 'fail', { ...NOW, changes: { error, retryAtMs: 9000 } })
  t.match(failed?.job, { state: 'transient-error', retryAtMs: 9000 })
  t.match(failed?.events, [{ kind: 'state', error: { code: 'SHORTHAUL_ORIGIN_ERROR' } }])
  const waiting = failed?.job ?? jobRecord(1)
  t.equal(step(waiting, 'retry', NOW)?.job.retryAtMs, null)
  t.equal(step(waiting, 'suspend', NOW)?.job.retryAtMs, null)
  t.equal(step(waiting, 'more-work', NOW)?.job.retryAtMs, 9000, 'what was added waits with the others')
  const limit = limitError('SHORTHAUL_JOB_TIMEOUT', 'its deadline is over', 5000)
  const over = step(waiting, 'give-up', { ...NOW, changes: { error: limit } })
  t.match(over, { job: { state: 'error', retryAtMs: null }, events: [{ error: limit }] })
})
