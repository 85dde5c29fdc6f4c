import t from 'tap'
import { fuzz } from './kit/fuzz.ts'
import { mutate } from './kit/mutate.ts'
import { Seeded } from './kit/seeded.ts'
import { shrink } from './kit/shrink.ts'
import { type FuzzTarget, latin1 } from './kit/target.ts'

const SEED = 7

/** Takes `LEN`, a length, and as many bytes. */
function target(run: FuzzTarget['run']): FuzzTarget {
  return {
    name: 'of-the-kit',
    covers: ['content/ids'],
    seeds: [latin1('LEN\x02ab')],
    tokens: ['LEN'],
    generate: (random) => Buffer.concat([latin1('LEN'), Buffer.from([2]), random.bytes(2)]),
    run,
  }
}

await t.test('a length that is believed is found by what it reserves', async (t) => {
  const believing = target((input) => {
    if (!latin1('LEN').equals(input.subarray(0, 3))) return 'refused'
    Buffer.alloc((input[3] ?? 0) * 1024)
    return 'accepted'
  })
  const { failure, runs } = await fuzz(believing, { runs: 20_000, seed: SEED })
  t.match(failure?.error.message, /made it reserve/)
  t.comment(`after ${runs} inputs`)
  if (failure === null) return
  const shortest = await shrink(believing, failure.input, failure.error)
  t.ok(shortest.byteLength <= failure.input.byteLength && shortest.toString('latin1', 0, 3) === 'LEN')
})

await t.test('an input that takes too long is found, and one that is slow only once is not', async (t) => {
  let slowCount = 0
  const busy = (isSlow: (input: Uint8Array) => boolean) =>
    target((input) => {
      if (!isSlow(input)) return 'refused'
      slowCount++
      const { user } = process.cpuUsage()
      while (process.cpuUsage().user - user < 300_000);
      return 'accepted'
    })
  const always = await fuzz(
    busy((input) => input[3] === 0),
    { runs: 20_000, seed: SEED },
  )
  t.match(always.failure?.error.message, /took/)
  slowCount = 0
  const once = await fuzz(
    busy(() => slowCount === 0),
    { runs: 300, seed: SEED },
  )
  t.equal(once.failure, null)
})

await t.test('what is thrown is a failure, with its input; the same seed finds the same', async (t) => {
  const run = () =>
    fuzz(
      target((input) => {
        if (input[3] === 255) throw new TypeError('a bug')
        return 'refused'
      }),
      { runs: 20_000, seed: SEED },
    )
  const [one, other] = [await run(), await run()]
  t.match(one.failure?.error, { name: 'TypeError', message: 'a bug' })
  t.equal(one.failure?.input[3], 255)
  t.same(other.failure?.input, one.failure?.input)
})

await t.test('mutations keep within the longest input and leave the old one as it is', async (t) => {
  const random = new Seeded(SEED)
  const old = latin1('LEN\x02ab 12 34')
  const before = Buffer.from(old)
  let longest = 0
  for (let count = 0; count < 5000; count++) {
    const mutated = mutate(old, random, { others: [old], tokens: [latin1('LEN')], maxBytes: 64 })
    longest = Math.max(longest, mutated.byteLength)
  }
  t.same(old, before)
  t.equal(longest, 64)
})
