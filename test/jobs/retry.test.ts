import t from 'tap'
import { ShorthaulError } from '../../src/errors.ts'
import { isNetworkDown, isTransient, retryDelayMs } from '../../src/jobs/retry.ts'

const refused = new ShorthaulError('SHORTHAUL_ORIGIN_ERROR', 'Cannot fetch: 503')
const base = { error: refused, minDelayMs: 5000, maxDelayMs: 60_000, random: () => 0 }

function asked(retryAfterMs: number): ShorthaulError {
  return new ShorthaulError('SHORTHAUL_ORIGIN_ERROR', 'Cannot fetch: 503', { details: { retryAfterMs } })
}

await t.test('each failure in a row doubles the pause, up to the longest', async (t) => {
  const delays = [1, 2, 3, 4, 5, 6, 1000].map((attempt) => retryDelayMs({ ...base, attempt }))
  t.same(delays, [5000, 10_000, 20_000, 40_000, 60_000, 60_000, 60_000])
})

await t.test('a shortest pause that is longer than the longest wins', async (t) => {
  t.equal(retryDelayMs({ ...base, minDelayMs: 90_000, attempt: 3 }), 90_000)
})

await t.test('the pause is never shorter than what the origin asked for, and at most a fifth longer', async (t) => {
  const longest = () => 0.999_999
  t.equal(retryDelayMs({ ...base, error: asked(120_000), attempt: 1 }), 120_000)
  t.equal(retryDelayMs({ ...base, error: asked(1000), attempt: 1 }), 5000, 'shorter than our own is not heard')
  t.equal(retryDelayMs({ ...base, error: asked(120_000), attempt: 1, random: longest }), 144_000)
  t.equal(retryDelayMs({ ...base, error: asked(-5), attempt: 1 }), 5000)
})

await t.test('who says "next year" is asked again tomorrow', async (t) => {
  t.equal(retryDelayMs({ ...base, error: asked(365 * 86_400_000), attempt: 1 }), 86_400_000)
})

await t.test('a full disk is looked at again soon, however often it was full', async (t) => {
  const error = new ShorthaulError('SHORTHAUL_DISK_FULL', 'Cannot write')
  t.equal(retryDelayMs({ ...base, error, attempt: 20, minDelayMs: 600_000 }), 15_000)
  t.equal(retryDelayMs({ ...base, error, attempt: 1, minDelayMs: 5000 }), 5000)
})

await t.test('what passes by itself is tried again, what does not is not', async (t) => {
  t.ok(isTransient(refused))
  t.ok(isTransient(new ShorthaulError('SHORTHAUL_ORIGIN_DISALLOWED', 'no neighbour has it yet')))
  t.notOk(isTransient(new ShorthaulError('SHORTHAUL_ORIGIN_NOT_FOUND', '404')))
  t.notOk(isTransient(new ShorthaulError('SHORTHAUL_DIGEST_MISMATCH', 'other bytes')))
})

await t.test('a network that is down is told from an origin that is', async (t) => {
  const cause = Object.assign(new Error('connect'), { code: 'ENETUNREACH' })
  t.ok(isNetworkDown(new ShorthaulError('SHORTHAUL_ORIGIN_UNREACHABLE', 'x', { cause })))
  t.notOk(isNetworkDown(Object.assign(new Error('connect'), { code: 'ECONNREFUSED' })))
  t.notOk(isNetworkDown('text'))
})
