import t from 'tap'
import { type ConnectionsSample, StaleConnections } from '../../src/throttle/stale-connections.ts'

const TICK_MS = 50
const SLOW = {
  phase: 'cruise',
  isLimited: false,
  isQueued: false,
  readBytesPerSec: 1,
  heldBytes: 0,
  shareBytesPerSec: 10,
  lineBytesPerSec: 2_000_000,
} as const

/** One tick after the other. @returns after which times they are stale, each once */
function looked(samples: readonly Partial<ConnectionsSample>[]): number[] {
  const stale = new StaleConnections()
  const seen = new Set<number>()
  samples.forEach((sample, at) => {
    stale.look({ ...SLOW, ...sample, nowMs: at * TICK_MS })
    if (stale.beforeMs >= 0) seen.add(stale.beforeMs)
  })
  return [...seen]
}

function ticks(count: number, sample: Partial<ConnectionsSample> = {}): Partial<ConnectionsSample>[] {
  return Array.from({ length: count }, () => sample)
}

t.test('who is slow after others had the line is left, once', async (t) => {
  t.same(looked([...ticks(2, { phase: 'yield' }), ...ticks(100)]), [(2 + 10) * TICK_MS])
  const again = [...ticks(2, { phase: 'yield' }), ...ticks(20, { phase: 'ramp' })]
  t.equal(looked([...again, ...again]).length, 2)
})

t.test('who is slow for another reason is not', async (t) => {
  t.same(looked(ticks(100)), [], 'nobody else was there')
  const well = ticks(200, { readBytesPerSec: 9 })
  t.same(looked([...ticks(2, { phase: 'yield' }), ...well, ...ticks(100)]), [], 'it came back well, and slows later')
  for (const other of [
    { isLimited: true },
    { isQueued: true },
    { readBytesPerSec: 6 },
    { readBytesPerSec: 0 },
    { phase: 'startup' },
  ] as const) {
    t.same(looked([...ticks(2, { phase: 'yield' }), ...ticks(100, other)]), [], JSON.stringify(other))
  }
})

t.test('a kernel that holds half a second of the line is left when somebody seemed to be there', async (t) => {
  const well = { readBytesPerSec: 9, isLimited: true, heldBytes: 1_100_000 } as const
  t.same(looked([...ticks(2, { phase: 'yield', heldBytes: 1_100_000 }), ...ticks(100, well)]), [2 * TICK_MS])
  t.same(looked([...ticks(2, { phase: 'yield' }), ...ticks(100, { ...well, heldBytes: 900_000 })]), [])
  t.same(looked([...ticks(2, { phase: 'yield' }), ...ticks(100, { ...well, heldBytes: null })]), [])
  t.same(looked(ticks(100, well)), [], 'nobody was')
  t.same(looked([...ticks(2, { phase: 'yield' }), ...ticks(100, { ...well, lineBytesPerSec: 0 })]), [], 'what is much?')
})

t.test('a moment is not enough', async (t) => {
  const moment = [...ticks(5), ...ticks(1, { readBytesPerSec: 9 })]
  t.same(looked([...ticks(2, { phase: 'yield' }), ...moment, ...moment, ...moment]), [])
})
