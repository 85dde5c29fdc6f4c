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
    isStanding: true,
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

await t.test('what is gone by the next look was none, however little went before', async (t) => {
  const backlog = new ShortBacklog()
  // A segment for seven neighbours, ten times a minute, over a link that takes them in a moment.
  const burst = situation({ ownBytesPerSec: 13 * MBIT, backlogMs: 3000, isStanding: false })
  for (let step = 0; step < 20; step++) t.equal(backlog.step(burst, FREE), null)
  t.notOk(backlog.isNeeded)
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

/** An upload without end over a link with a way of some length, on paper: 200 ms a step. */
function upload(
  backlog: ShortBacklog,
  link: { mbit: number; wayMs: number; ackMbit?: number; queuedMs?: number },
  seconds: number,
): { sentMbit: number; queueMs: number } {
  const capacity = link.mbit * MBIT
  const acks = (link.ackMbit ?? 0) * MBIT
  let queued = ((link.queuedMs ?? 0) / 1000) * capacity
  let pace: number | null = null
  let rate = capacity
  let sent = 0
  for (let ms = 0; ms < seconds * 1000; ms += 200) {
    queued = Math.max(0, queued + 0.2 * ((pace ?? 2 * capacity) + acks - capacity))
    rate = queued > 0 ? capacity : (pace ?? capacity) + acks
    sent += 0.2 * (rate - acks)
    const backlogMs = ((queued + ((rate - acks) * link.wayMs) / 1000) / rate) * 1000
    pace = backlog.step(situation({ capacityBytesPerSec: capacity, ownBytesPerSec: rate, backlogMs }), FREE)
  }
  return { sentMbit: sent / seconds / MBIT, queueMs: (queued / rate) * 1000 }
}

await t.test('a way that is long, or stands behind others, is no backlog of ours', async (t) => {
  for (const mbit of [2, 5, 20, 100]) {
    for (const wayMs of [120, 250, 600]) {
      for (const ackMbit of [0, 0.05 * mbit]) {
        const about = `${mbit} Mbit/s, ${wayMs} ms, ${ackMbit} Mbit/s of acknowledgements`
        const backlog = new ShortBacklog()
        upload(backlog, { mbit, wayMs, ackMbit, queuedMs: 1000 }, 6) // the queue of the beginning goes, and the way is learnt
        const { sentMbit, queueMs } = upload(backlog, { mbit, wayMs, ackMbit }, 10)
        t.ok(sentMbit > 0.7 * mbit, `${about}: ${sentMbit}`)
        t.ok(queueMs < 100, `${about}: a queue of ${queueMs} ms`)
      }
    }
  }
})

await t.test(
  'what comes on top of the way is worked off, and a moment without uploads makes no other way',
  async (t) => {
    const backlog = new ShortBacklog()
    upload(backlog, { mbit: 5, wayMs: 250 }, 10)
    backlog.step(situation({ capacityBytesPerSec: 5 * MBIT, ownBytesPerSec: MBIT, backlogMs: 0 }), FREE)
    const { sentMbit } = upload(backlog, { mbit: 5, wayMs: 250 }, 3)
    t.ok(sentMbit > 3.5, `${sentMbit} Mbit/s`)
    const { queueMs } = upload(backlog, { mbit: 5, wayMs: 250, queuedMs: 800 }, 3)
    t.ok(queueMs < 100, `${queueMs} ms`)
  },
)

await t.test('without a way, it is no slower for that', async (t) => {
  for (const mbit of [5, 100]) {
    const backlog = new ShortBacklog()
    upload(backlog, { mbit, wayMs: 1, queuedMs: 500 }, 4)
    const { sentMbit, queueMs } = upload(backlog, { mbit, wayMs: 1 }, 10)
    t.ok(sentMbit > 0.9 * mbit, `${sentMbit} of ${mbit} Mbit/s`)
    t.ok(queueMs < 50, `${queueMs} ms`)
  }
})

await t.test('where no backlog could become long there is no pace', async (t) => {
  const backlog = new ShortBacklog()
  const fast = situation({ ownBytesPerSec: 900 * MBIT, capacityBytesPerSec: 900 * MBIT, backlogMs: 30 })
  for (let step = 0; step < 20; step++) t.equal(backlog.step(fast, FREE), null)
  t.equal(backlog.step(fast, FREE), null)
  t.notOk(backlog.isNeeded)
  t.not(backlog.step(situation({ backlogMs: 300 }), FREE), null)
  t.ok(backlog.isNeeded)
  t.equal(backlog.step(fast, { rateBytesPerSec: 5 }), 5)
  for (let step = 0; step < 10; step++) t.not(backlog.step(fast, FREE), null)
  t.equal(backlog.step(fast, FREE), null, 'nor does one stay that was needed')
})

await t.test('a rate that was kept goes over into a pace, and not into all that waits at once', async (t) => {
  const backlog = new ShortBacklog()
  for (let step = 0; step < 10; step++) backlog.step(situation({ backlogMs: 300 }), FREE)
  backlog.step(situation({ backlogMs: 300 }), { rateBytesPerSec: 5 * MBIT })
  t.not(backlog.step(situation({ backlogMs: 50 }), FREE), null)
  t.end()
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
