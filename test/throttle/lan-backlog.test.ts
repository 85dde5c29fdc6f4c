import t from 'tap'
import { AckRoom, type QueueSituation, ShortBacklog } from '../../src/throttle/lan-backlog.ts'

const MBIT = 125_000
const FREE = { rateBytesPerSec: null }

function situation(options: Partial<QueueSituation>): QueueSituation {
  return {
    nowMs: 10_000,
    steps: 1,
    capacityBytesPerSec: 100 * MBIT,
    ownBytesPerSec: 95 * MBIT,
    backlogMs: 0,
    unsentBytes: 4e6,
    ...options,
  }
}

await t.test('uploads that have just begun are no backlog of a slow link', async (t) => {
  const backlog = new ShortBacklog()
  // A fifth of a second after the first byte of a GiB at 1 Gbit/s: little has gone, much is in the kernel.
  for (let step = 0; step < 5; step++) {
    const begun = situation({ capacityBytesPerSec: 5 * MBIT, ownBytesPerSec: 5 * MBIT, backlogMs: 1000 })
    t.equal(backlog.step(begun, FREE), null)
  }
  t.not(backlog.step(situation({ backlogMs: 1000 }), FREE), null, 'after a second they are')
})

await t.test('a long backlog is worked off, a short one is left to grow, faster and faster', async (t) => {
  const backlog = new ShortBacklog()
  for (let step = 0; step < 6; step++) backlog.step(situation({ backlogMs: 300 }), FREE)
  t.ok((backlog.step(situation({ backlogMs: 100 }), FREE) ?? 0) < 60 * MBIT)
  const even = backlog.step(situation({ backlogMs: 10 }), FREE) ?? 0
  t.ok(Math.abs(even - 95 * MBIT) < 3 * MBIT)
  const paces = [1, 2, 3, 4, 5, 6].map(() => (backlog.step(situation({ backlogMs: 0 }), FREE) ?? 0) / MBIT)
  t.ok(paces.every((pace, index) => pace >= (paces[index - 1] ?? 0)))
  t.ok((paces[0] ?? 0) < 105 && (paces[5] ?? 0) > 180, `${paces}`)
})

await t.test('where no backlog could become long there is no pace', async (t) => {
  const backlog = new ShortBacklog()
  const fast = situation({ ownBytesPerSec: 900 * MBIT, capacityBytesPerSec: 900 * MBIT, backlogMs: 30 })
  for (let step = 0; step < 20; step++) t.equal(backlog.step(fast, FREE), null)
  backlog.resume(900 * MBIT)
  t.equal(backlog.step(fast, FREE), null)
  t.notOk(backlog.isNeeded)
  t.not(backlog.step(situation({ backlogMs: 300 }), FREE), null)
  t.ok(backlog.isNeeded)
  t.equal(backlog.step(fast, { rateBytesPerSec: 5 }), 5)
  backlog.resume(100 * MBIT)
  for (let step = 0; step < 10; step++) t.not(backlog.step(fast, FREE), null)
  t.equal(backlog.step(fast, FREE), null, 'nor does one stay that was needed')
})

await t.test('a rate that is kept anyway is enough; what cannot be seen is not kept short', async (t) => {
  const backlog = new ShortBacklog()
  for (let step = 0; step < 10; step++) backlog.step(situation({ backlogMs: 300 }), FREE)
  t.equal(backlog.step(situation({ backlogMs: 300 }), { rateBytesPerSec: 5 }), 5)
  t.equal(backlog.step(situation({ backlogMs: null }), FREE), null)
})

await t.test(
  'room for acknowledgements is made where a queue stands before them, and only while it is needed',
  async (t) => {
    const room = new AckRoom()
    const queued = { backlogMs: 200 }
    t.equal(room.step(situation(queued), { isNeeded: false }), null)
    t.equal(room.step(situation({ backlogMs: 10 }), { isNeeded: true }), null)
    t.equal(
      room.step(situation({ ...queued, ownBytesPerSec: 20 * MBIT }), { isNeeded: true }),
      null,
      'the peer is slow',
    )
    const first = room.step(situation(queued), { isNeeded: true }) ?? 0
    t.ok(first > 75 * MBIT && first < 90 * MBIT)
    const later = room.step(situation({ backlogMs: 0, ownBytesPerSec: first }), { isNeeded: true }) ?? 0
    t.ok(later > first && later < 1.05 * first, 'it feels its way up')
    for (let step = 0; step < 50; step++) room.step(situation(queued), { isNeeded: true })
    t.ok((room.step(situation(queued), { isNeeded: true }) ?? 0) >= 30 * MBIT, 'and does not go for good')
    t.equal(room.step(situation({ ...queued, nowMs: 11_500 }), { isNeeded: false }), null)
  },
)
