import fc from 'fast-check'
import t from 'tap'
import { type PacedReader, Pacer } from '../../src/throttle/pacer.ts'
import { settled, VirtualClock } from '../support/virtual-clock.ts'

const MBIT = 125_000
const MIB = 2 ** 20
const LARGEST_PIECE = 64 * 1024
const SMALLEST_PIECE = 2 * 1024

/** As a socket is: what it is granted it reads a moment later, if there is something, and then it asks again. */
class Reader implements PacedReader {
  /** What has arrived and waits to be read. */
  availableBytes = Number.POSITIVE_INFINITY
  readBytes = 0
  readonly pieces: number[] = []
  grantCount = 0
  #heldBytes: number | null = null
  readonly #pacer: Pacer

  constructor(pacer: Pacer) {
    this.#pacer = pacer
  }

  grant(maxBytes: number): void {
    this.grantCount++
    this.#heldBytes = maxBytes
    queueMicrotask(() => this.read())
  }

  start(): this {
    this.#pacer.request(this)
    return this
  }

  /** More has arrived. */
  arrive(bytes: number): void {
    this.availableBytes += bytes
    this.read()
  }

  read(): void {
    const bytes = Math.min(this.#heldBytes ?? 0, this.availableBytes)
    if (bytes === 0) return
    this.#heldBytes = null
    this.availableBytes -= bytes
    this.readBytes += bytes
    this.pieces.push(bytes)
    this.#pacer.charge(bytes)
    this.#pacer.request(this)
  }
}

function setUp(bytesPerSec: number | null, readerCount = 1) {
  const clock = new VirtualClock()
  const pacer = new Pacer(clock, bytesPerSec)
  const readers = Array.from({ length: readerCount }, () => new Reader(pacer))
  return { clock, pacer, readers, first: readers[0] ?? new Reader(pacer) }
}

function sum(readers: readonly Reader[]): number {
  return readers.reduce((total, { readBytes }) => total + readBytes, 0)
}

/** What they read while time passes. */
async function readIn(durationMs: number, of: { clock: VirtualClock; readers: readonly Reader[] }): Promise<number> {
  const before = sum(of.readers)
  await of.clock.pass(durationMs)
  return sum(of.readers) - before
}

await t.test('whatever the number of readers, together they read the rate and no more', async (t) => {
  for (const mbit of [0.1, 1, 10, 100, 1000]) {
    for (const count of [1, 3, 8]) {
      const all = setUp(mbit * MBIT, count)
      for (const reader of all.readers) reader.start()
      await all.clock.pass(500)
      const bytes = await readIn(4000, all)
      const ratio = bytes / (4 * mbit * MBIT)
      const allowed = ((count + 1) * SMALLEST_PIECE) / (4 * mbit * MBIT) + 0.01
      t.ok(Math.abs(ratio - 1) < allowed, `${mbit} Mbit/s, ${count} readers: ${ratio.toFixed(3)} of the rate`)
      t.equal(all.pacer.chargedBytes, sum(all.readers))
    }
  }
})

await t.test('each has an even part of it', async (t) => {
  for (const mbit of [1, 10, 100]) {
    for (const count of [3, 8]) {
      const all = setUp(mbit * MBIT, count)
      for (const reader of all.readers) reader.start()
      await all.clock.pass(5000)
      const read = all.readers.map(({ readBytes }) => readBytes)
      const name = `${mbit} Mbit/s among ${count}: ${Math.min(...read)} to ${Math.max(...read)}`
      t.ok(Math.max(...read) - Math.min(...read) <= 0.03 * Math.max(...read) + 2 * SMALLEST_PIECE, name)
    }
  }
})

await t.test('who comes later gets as much as who was there', async (t) => {
  const all = setUp(10 * MBIT, 2)
  const [first, second] = all.readers
  first?.start()
  await all.clock.pass(1000)
  const before = first?.readBytes ?? 0
  second?.start()
  await all.clock.pass(2000)
  const ratio = (second?.readBytes ?? 0) / ((first?.readBytes ?? 0) - before)
  t.ok(Math.abs(ratio - 1) < 0.02, `${ratio}`)
})

await t.test('pieces are small at a low rate, and never larger than a read', async (t) => {
  for (const [mbit, most] of [
    [1, SMALLEST_PIECE],
    [10, 10_000],
    [100, LARGEST_PIECE],
    [1000, LARGEST_PIECE],
  ] as const) {
    for (const count of [1, 4]) {
      const all = setUp(mbit * MBIT, count)
      for (const reader of all.readers) reader.start()
      await all.clock.pass(2000)
      const largest = Math.max(...all.readers.flatMap(({ pieces }) => pieces))
      t.ok(largest <= Math.max(SMALLEST_PIECE, most), `${mbit} Mbit/s, ${count} readers: ${largest} bytes at most`)
    }
  }
})

await t.test('pieces come evenly, not in heaps', async (t) => {
  const all = setUp(10 * MBIT, 3)
  for (const reader of all.readers) reader.start()
  await all.clock.pass(1000)
  for (let count = 0; count < 50; count++) {
    const bytes = await readIn(20, all)
    t.ok(bytes <= 1.7 * 0.02 * 10 * MBIT, `${bytes} bytes in 20 ms`)
  }
})

await t.test('0 stops everybody until the rate changes, and nothing runs meanwhile', async (t) => {
  const all = setUp(0, 3)
  for (const reader of all.readers) reader.start()
  t.equal(await readIn(60_000, all), 0)
  t.equal(all.clock.sleeperCount, 0, 'no timer')
  all.pacer.setRate(8 * MBIT)
  const bytes = await readIn(1000, all)
  t.ok(bytes > 0.98 * MIB * 0.95 && bytes < 1.05 * MIB, `${bytes}`)
  all.pacer.setRate(0)
  t.equal(await readIn(60_000, all), 0)
})

await t.test('null is as fast as they can, and costs no timer', async (t) => {
  const all = setUp(null, 3)
  for (const reader of all.readers) {
    reader.availableBytes = 10 * MIB
    reader.start()
  }
  await settled()
  t.equal(sum(all.readers), 30 * MIB, 'in no time')
  t.equal(all.clock.sleeperCount, 0)
  t.ok(all.readers.every(({ pieces }) => pieces.every((bytes) => bytes <= LARGEST_PIECE)))
  t.notOk(all.pacer.isLimiting())
})

await t.test('what was read without a rate is no debt at one', async (t) => {
  const all = setUp(null)
  all.first.availableBytes = 100 * MIB
  all.first.start()
  await settled()
  t.equal(sum(all.readers), 100 * MIB)
  all.pacer.setRate(MBIT)
  all.first.arrive(100 * MIB)
  await all.clock.pass(1000)
  // The first piece was granted before.
  const bytes = sum(all.readers) - 100 * MIB
  t.ok(bytes > 0.9 * MBIT && bytes < 1.1 * MBIT, `${bytes}`)
})

await t.test('a timer that comes up to 30 ms late costs nothing, one that comes later gives no burst', async (t) => {
  for (const lateMs of [10, 20, 29]) {
    const all = setUp(10 * MBIT, 2)
    for (const reader of all.readers) reader.start()
    await all.clock.pass(100)
    const before = sum(all.readers)
    for (let count = 0; count < 100; count++) await all.clock.stall(lateMs)
    const ratio = (sum(all.readers) - before) / ((100 * lateMs * 10 * MBIT) / 1000)
    t.ok(ratio > 0.95 && ratio < 1.05, `${lateMs} ms late: ${ratio.toFixed(3)} of the rate`)
  }
  const all = setUp(10 * MBIT, 2)
  for (const reader of all.readers) reader.start()
  await all.clock.pass(100)
  const before = sum(all.readers)
  await all.clock.stall(1000)
  const bytes = sum(all.readers) - before
  t.ok(bytes <= 0.04 * 10 * MBIT + 2 * SMALLEST_PIECE, `after a second: ${bytes} bytes at once`)
})

await t.test('idling saves up no more than 30 ms', async (t) => {
  const all = setUp(10 * MBIT)
  await all.clock.pass(60_000)
  all.first.start()
  await settled()
  t.ok(sum(all.readers) <= 0.04 * 10 * MBIT, `${sum(all.readers)} bytes at once`)
})

await t.test('another rate holds at once, up and down, and wakes who waits', async (t) => {
  const all = setUp(0.1 * MBIT, 3)
  for (const reader of all.readers) reader.start()
  await all.clock.pass(2000)
  all.pacer.setRate(100 * MBIT)
  const up = await readIn(100, all)
  t.ok(up > 0.9 * 10 * MBIT, `up: ${up} bytes in 100 ms`)
  all.pacer.setRate(MBIT)
  const down = await readIn(100, all)
  t.ok(down <= 0.1 * MBIT + 0.03 * MBIT + 3 * SMALLEST_PIECE, `down: ${down} bytes in 100 ms`)
  const after = await readIn(1000, all)
  t.ok(after > 0.9 * MBIT, `and the debt is no more than a moment's: ${after} bytes`)
  all.pacer.setRate(0)
  t.equal(await readIn(1000, all), 0)
  all.pacer.setRate(null)
  for (const reader of all.readers) reader.availableBytes = MIB
  await settled()
  t.ok(
    all.readers.every(({ availableBytes }) => availableBytes === 0),
    'unlimited wakes them too',
  )
})

await t.test('a rate that changes all the time is kept on average', async (t) => {
  for (const count of [1, 8]) {
    const all = setUp(10 * MBIT, count)
    for (const reader of all.readers) reader.start()
    await all.clock.pass(500)
    const before = sum(all.readers)
    let due = 0
    for (let tick = 0; tick < 100; tick++) {
      const rate = (tick % 2 === 0 ? 6 : 14) * MBIT
      all.pacer.setRate(rate)
      due += rate / 20
      await all.clock.pass(50)
    }
    const ratio = (sum(all.readers) - before) / due
    t.ok(ratio > 0.95 && ratio < 1.1, `${count} readers: ${ratio.toFixed(3)}`)
  }
})

await t.test('readers that are granted a turn and find nothing slow nobody', async (t) => {
  const all = setUp(10 * MBIT, 8)
  for (const reader of all.readers.slice(1)) reader.availableBytes = 0
  for (const reader of all.readers) reader.start()
  await all.clock.pass(500)
  const bytes = await readIn(4000, all)
  t.ok(bytes > 0.98 * 4 * 10 * MBIT, `${(bytes / (4 * 10 * MBIT)).toFixed(3)} of the rate`)
  t.equal(all.readers[7]?.grantCount, 1, 'and each of them has its turn')
  // What then comes for all of them at once is paid for.
  for (const reader of all.readers.slice(1)) reader.arrive(MIB)
  const together = await readIn(1000, all)
  t.ok(together < 1.05 * 10 * MBIT + 8 * SMALLEST_PIECE, `${together} bytes`)
})

await t.test('who reads less than its part leaves the rest to others', async (t) => {
  const all = setUp(10 * MBIT, 2)
  const [eager, modest] = all.readers
  if (!eager || !modest) throw new Error('two readers')
  modest.availableBytes = 0
  eager.start()
  modest.start()
  await all.clock.pass(200)
  const before = sum(all.readers)
  for (let count = 0; count < 200; count++) {
    modest.arrive(1000)
    await all.clock.pass(10)
  }
  const ratio = (sum(all.readers) - before) / (2 * 10 * MBIT)
  t.ok(ratio > 0.97 && ratio < 1.03, `${ratio.toFixed(3)} of the rate`)
  t.ok(modest.readBytes > 195_000, `all that came for the modest one is read: ${modest.readBytes}`)
})

await t.test('who no longer wants its turn gets none, and the others go on', async (t) => {
  const all = setUp(MBIT, 3)
  for (const reader of all.readers) reader.start()
  await all.clock.pass(100)
  const [gone, ...left] = all.readers
  if (!gone) throw new Error('three readers')
  all.pacer.cancel(gone)
  const { grantCount } = gone
  await all.clock.pass(1000)
  t.equal(gone.grantCount, grantCount)
  for (const reader of left) t.ok(reader.grantCount > 10)
  for (const reader of left) all.pacer.cancel(reader)
  await all.clock.pass(1000)
  t.equal(all.clock.sleeperCount, 0, 'and the timer ends when nobody is left')
})

await t.test('once closed it grants nothing any more, whatever is asked of it', async (t) => {
  for (const rate of [0, MBIT, null]) {
    const all = setUp(rate, 2)
    const [waiting, later] = all.readers
    if (!waiting || !later) throw new Error('two readers')
    if (rate !== null) waiting.start()
    await all.clock.pass(100)
    all.pacer.close()
    t.equal(all.clock.sleeperCount, 0, 'no timer')
    const { grantCount } = waiting
    later.start()
    all.pacer.setRate(10 * MBIT)
    waiting.start()
    all.pacer.setRate(null)
    await all.clock.pass(1000)
    t.equal(waiting.grantCount, grantCount)
    t.equal(later.grantCount, 0)
    t.equal(all.clock.sleeperCount, 0)
    t.notOk(all.pacer.isLimiting())
    all.pacer.close()
  }
})

await t.test('it limits while somebody waits for the rate, and a moment after', async (t) => {
  const fast = setUp(100 * MBIT)
  fast.first.availableBytes = 0
  await fast.clock.pass(1000)
  fast.first.start()
  await fast.clock.pass(1000)
  t.notOk(fast.pacer.isLimiting(), 'not who finds nothing to read')
  for (let count = 0; count < 50; count++) {
    fast.first.arrive(80_000)
    await fast.clock.pass(10)
    t.notOk(fast.pacer.isLimiting(), 'nor who is slower than the rate')
  }
  fast.first.arrive(10 * MIB)
  await fast.clock.pass(100)
  t.ok(fast.pacer.isLimiting())
  await fast.clock.pass(10_000)
  t.equal(fast.first.availableBytes, 0)
  t.notOk(fast.pacer.isLimiting(), 'nor who has read everything')

  // At such a rate the next piece comes after seconds.
  const slow = setUp(500)
  slow.first.start()
  await slow.clock.pass(60_000)
  for (let count = 0; count < 20; count++) {
    await slow.clock.pass(500)
    t.ok(slow.pacer.isLimiting(), 'however long the wait')
  }
})

await t.test('whatever rates and readers come and go, no more is read than the rates allow', async () => {
  const step = fc.record({
    mbit: fc.option(fc.constantFrom(0, 0.1, 1, 5, 20, 100), { nil: undefined }),
    reader: fc.nat(5),
    verb: fc.constantFrom('start', 'cancel', 'arrive', 'nothing'),
    bytes: fc.integer({ min: 1, max: 200_000 }),
    passMs: fc.integer({ min: 1, max: 80 }),
  })
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 40 }), async (steps) => {
      const all = setUp(5 * MBIT, 6)
      for (const reader of all.readers) reader.availableBytes = 0
      let allowed = 0
      let rate = 5 * MBIT
      // Of each change of rate: what a slice of it may be in debt, and what was saved up.
      const slack = (bytesPerSec: number) => 0.05 * bytesPerSec + 8 * SMALLEST_PIECE + 6 * SMALLEST_PIECE
      allowed += slack(rate)
      for (const { mbit, reader: at, verb, bytes, passMs } of steps) {
        const reader = all.readers[at]
        if (mbit !== undefined && mbit * MBIT !== rate) {
          rate = mbit * MBIT
          all.pacer.setRate(rate)
          allowed += slack(rate)
        }
        if (verb === 'start') reader?.start()
        else if (verb === 'cancel' && reader) all.pacer.cancel(reader)
        else if (verb === 'arrive') reader?.arrive(bytes)
        await all.clock.pass(passMs)
        allowed += (rate * passMs) / 1000
        if (sum(all.readers) > allowed) return false
      }
      return true
    }),
    { numRuns: 100 },
  )
})
