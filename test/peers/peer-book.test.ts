import fc from 'fast-check'
import t from 'tap'
import type { Clock } from '../../src/clock.ts'
import type { AgentKey } from '../../src/content/ids.ts'
import { FAILURE_KINDS, PeerBook } from '../../src/peers/peer-book.ts'

const MIB = 1024 * 1024
const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS

function handClock(startMs = 5000): Clock & { nowMonotonicMs: number } {
  return {
    nowMonotonicMs: startMs,
    nowMs: () => 0,
    monotonicMs() {
      return this.nowMonotonicMs
    },
    sleep: () => Promise.reject(new Error('the book has no timers')),
  }
}

function peerKey(index: number): AgentKey {
  return index.toString(16).padStart(64, '0') as AgentKey
}

const ada = peerKey(1)

t.test('an unknown peer is available, unmeasured and not remembered for being asked about', async (t) => {
  const book = new PeerBook({ clock: handClock() })
  t.match(book.view(ada), { bytesPerSec: null, score: 1, isBanned: false, bannedForMs: 0, availableInMs: 0 })
  t.equal(book.view(ada).servedBytes, 0)
  t.same(book.all(), [])
})

t.test('throughput follows the last MiBs and weighs samples by size', async (t) => {
  const book = new PeerBook({ clock: handClock() })
  book.served(ada, { bytes: MIB, durationMs: 10 })
  t.equal(book.view(ada).bytesPerSec, MIB * 100, 'the first sample is taken as it is')
  book.served(ada, { bytes: 1024, durationMs: 1000 })
  t.ok((book.view(ada).bytesPerSec ?? 0) > MIB * 99, 'a tiny slow sample hardly counts')
  for (let i = 0; i < 30; i++) book.served(ada, { bytes: MIB, durationMs: 100 })
  const bytesPerSec = book.view(ada).bytesPerSec ?? 0
  t.ok(bytesPerSec > MIB * 9.9 && bytesPerSec < MIB * 10.2, `converges to the new rate, found ${bytesPerSec}`)
  t.equal(book.view(ada).servedBytes, 31 * MIB + 1024)
  book.served(ada, { bytes: MIB, durationMs: 0 })
  t.ok(Number.isFinite(book.view(ada).bytesPerSec), 'a clock that did not move makes no infinity')
})

t.test('who was overtaken is no faster than what it showed, and has not failed', async (t) => {
  const book = new PeerBook({ clock: handClock() })
  book.overtaken(ada, { bytes: MIB, durationMs: 2000 })
  t.match(book.view(ada), { bytesPerSec: MIB / 2, score: 1, availableInMs: 0 })
  book.served(ada, { bytes: 8 * MIB, durationMs: 80 })
  const better = book.view(ada).bytesPerSec ?? 0
  t.ok(better > 10 * MIB, 'what it gives later counts')
  book.overtaken(ada, { bytes: MIB, durationMs: 1000 })
  t.equal(book.view(ada).bytesPerSec, MIB)
})

t.test('a corrupt segment bans at once, twice as long each time, a day at most', async (t) => {
  const clock = handClock()
  const book = new PeerBook({ clock })
  const banMinutes: number[] = []
  for (let i = 0; i < 10; i++) {
    book.failed(ada, 'corrupt')
    banMinutes.push(book.view(ada).bannedForMs / MINUTE_MS)
  }
  t.same(banMinutes, [10, 20, 40, 80, 160, 320, 640, 1280, 1440, 1440])
  t.equal(book.view(ada).isBanned, true)
  t.equal(book.view(ada).availableInMs, 24 * HOUR_MS)
  book.served(ada, { bytes: MIB, durationMs: 1 })
  t.equal(book.view(ada).isBanned, true, 'good bytes that were still under way do not lift a ban')
  clock.nowMonotonicMs += 24 * HOUR_MS
  t.equal(book.view(ada).isBanned, false, 'it ends')
  t.equal(book.view(ada).availableInMs, 0)
})

t.test('strikes are forgotten after a quiet week', async (t) => {
  const clock = handClock()
  const book = new PeerBook({ clock })
  for (let i = 0; i < 4; i++) book.failed(ada, 'corrupt')
  clock.nowMonotonicMs += 7 * 24 * HOUR_MS
  book.failed(ada, 'corrupt')
  t.equal(book.view(ada).bannedForMs, 10 * MINUTE_MS)
})

t.test('stalls and lost connections back off shortly, doubling, and a served segment ends it', async (t) => {
  const clock = handClock()
  const book = new PeerBook({ clock })
  const waitsMs: number[] = []
  for (let i = 0; i < 8; i++) {
    book.failed(ada, i % 2 === 0 ? 'stalled' : 'unreachable')
    waitsMs.push(book.view(ada).availableInMs)
  }
  t.same(waitsMs, [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000])
  t.equal(book.view(ada).isBanned, false)
  book.served(ada, { bytes: MIB, durationMs: 10 })
  t.equal(book.view(ada).availableInMs, 0)
  book.failed(ada, 'stalled')
  t.equal(book.view(ada).availableInMs, 500, 'and the row starts anew')
  clock.nowMonotonicMs += 10 * MINUTE_MS
  book.failed(ada, 'stalled')
  t.equal(book.view(ada).availableInMs, 500, 'as it does after a quiet time')
})

t.test('protocol failures back off longer, missing segments not at all', async (t) => {
  const book = new PeerBook({ clock: handClock() })
  book.failed(ada, 'missing')
  t.equal(book.view(ada).availableInMs, 0)
  book.failed(ada, 'protocol')
  t.equal(book.view(ada).availableInMs, 10_000)
  for (let i = 0; i < 20; i++) book.failed(ada, 'protocol')
  t.equal(book.view(ada).availableInMs, 10 * MINUTE_MS)
})

t.test('a busy peer is asked again when it said, within bounds', async (t) => {
  const clock = handClock()
  const book = new PeerBook({ clock })
  const waitAfter = (retryAfterMs?: number) => {
    book.failed(ada, 'busy', retryAfterMs === undefined ? {} : { retryAfterMs })
    const { availableInMs } = book.view(ada)
    clock.nowMonotonicMs += availableInMs
    return availableInMs
  }
  t.equal(waitAfter(40), 40)
  t.equal(waitAfter(), 250)
  t.equal(waitAfter(0), 10)
  t.equal(waitAfter(1e9), MINUTE_MS)
  t.ok(book.view(ada).score > 0.8, 'and is hardly thought less of')
})

t.test('failures lower the score by kind and are forgotten with time', async (t) => {
  const clock = handClock()
  const book = new PeerBook({ clock })
  const scores = (['corrupt', 'protocol', 'stalled', 'unreachable', 'missing', 'busy'] as const).map((kind, index) => {
    book.failed(peerKey(index + 10), kind)
    return book.view(peerKey(index + 10)).score
  })
  t.same(
    scores,
    [...scores].sort((a, b) => a - b),
    'worst first',
  )
  book.failed(ada, 'stalled')
  book.failed(ada, 'stalled')
  t.equal(book.view(ada).failures.stalled, 2)
  clock.nowMonotonicMs += 10 * MINUTE_MS
  t.equal(book.view(ada).failures.stalled, 1, 'halved after a half-life')
  clock.nowMonotonicMs += 10 * HOUR_MS
  t.ok(book.view(ada).score > 0.999)
})

t.test('the number of entries is bounded and bans are forgotten last', async (t) => {
  const book = new PeerBook({ clock: handClock() }, { maxEntries: 3 })
  book.failed(ada, 'corrupt')
  book.served(peerKey(2), { bytes: MIB, durationMs: 1 })
  book.served(peerKey(3), { bytes: MIB, durationMs: 1 })
  book.served(peerKey(2), { bytes: MIB, durationMs: 1 })
  book.served(peerKey(4), { bytes: MIB, durationMs: 1 })
  t.same(
    book.all().map(({ peer }) => peer),
    [ada, peerKey(2), peerKey(4)],
    'the one longest without an event went, not the banned one',
  )
  for (const index of [5, 6, 7]) book.failed(peerKey(index), 'corrupt')
  t.equal(book.all().length, 3, 'even when everybody is banned')
})

t.test('whatever happens, every view is sane', async () => {
  const event = fc.record({
    peer: fc.integer({ min: 0, max: 7 }),
    kind: fc.constantFrom('served' as const, ...FAILURE_KINDS),
    amount: fc.integer({ min: 0, max: 1e9 }),
    passMs: fc.integer({ min: 0, max: HOUR_MS }),
  })
  fc.assert(
    fc.property(fc.array(event, { maxLength: 100 }), (events) => {
      const clock = handClock()
      const book = new PeerBook({ clock }, { maxEntries: 5 })
      for (const { peer, kind, amount, passMs } of events) {
        if (kind === 'served') book.served(peerKey(peer), { bytes: amount, durationMs: passMs })
        else book.failed(peerKey(peer), kind, { retryAfterMs: amount })
        clock.nowMonotonicMs += passMs
        const all = book.all()
        if (all.length > 5) return false
        for (const view of all) {
          if (!(view.score > 0 && view.score <= 1)) return false
          if (!(view.availableInMs >= view.bannedForMs && view.bannedForMs >= 0)) return false
          if (view.availableInMs > 24 * HOUR_MS || view.isBanned !== view.bannedForMs > 0) return false
          if (view.bytesPerSec !== null && !Number.isFinite(view.bytesPerSec)) return false
        }
      }
      return true
    }),
  )
})
