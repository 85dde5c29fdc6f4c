import fc from 'fast-check'
import pino from 'pino'
import t from 'tap'
import { seededRandom } from '../../src/clock.ts'
import type { JobId } from '../../src/jobs/job.ts'
import type { NotifyChannel, OutboxEntry } from '../../src/jobs/job-events.ts'
import { MAX_NOTIFY_ATTEMPTS, MAX_QUEUED_MS, notifyRetryDelayMs } from '../../src/jobs/notify-retry.ts'
import { type NotifyOutcome, Outbox } from '../../src/jobs/outbox.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

const HOUR_MS = 3600_000
const FAILED: NotifyOutcome = { kind: 'failed', message: 'not now', retryAfterMs: null }

function entryOf(id: number, job = 'a', channel: NotifyChannel = 'webhook', uid = 0): OutboxEntry {
  return {
    channel,
    event: {
      id,
      atMs: 0,
      job: job as JobId,
      name: job,
      owner: { uid, name: `user ${uid}` },
      kind: 'state',
      previous: 'transferring',
      state: 'transferred',
    },
    notifyEvent: 'transferred',
    command: null,
    webhookUrl: 'http://receiver/',
    sealed: null,
    attempt: 0,
    retry: null,
  }
}

/** What a database would do. */
class Records {
  readonly kept = new Map<string, OutboxEntry>()
  failures = 0

  add(...entries: OutboxEntry[]): OutboxEntry[] {
    for (const entry of entries) this.kept.set(keyOf(entry), entry)
    return entries
  }

  async outbox(limit: number): Promise<OutboxEntry[]> {
    return [...this.kept.values()].sort((one, other) => one.event.id - other.event.id).slice(0, limit)
  }

  async settle(entries: readonly OutboxEntry[]): Promise<void> {
    if (this.failures-- > 0) throw new Error('the disk is full')
    for (const entry of entries) this.kept.delete(keyOf(entry))
  }

  async postpone(entry: OutboxEntry): Promise<void> {
    this.add(entry)
  }
}

function keyOf({ event, channel }: OutboxEntry): string {
  return `${event.id} ${channel}`
}

function open(
  records: Records,
  about: {
    readonly clock?: VirtualClock
    readonly maxQueued?: number
    readonly answer?: (entry: OutboxEntry) => NotifyOutcome | Promise<NotifyOutcome>
  },
): { readonly outbox: Outbox; readonly told: number[]; readonly clock: VirtualClock } {
  const { clock = new VirtualClock(), answer = () => ({ kind: 'delivered' as const }) } = about
  const told: number[] = []
  const notify = async (entry: OutboxEntry) => {
    told.push(entry.event.id)
    return answer(entry)
  }
  const outbox = new Outbox(
    {
      clock,
      random: seededRandom(1),
      log: pino({ level: 'silent' }),
      records,
      channels: { command: notify, webhook: notify },
    },
    about.maxQueued === undefined ? {} : { maxQueued: about.maxQueued },
  )
  return { outbox, told, clock }
}

t.test('a pause grows, is never shorter than what was asked for, and ends after about a day', async (t) => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 20 }),
      fc.option(fc.integer({ min: 0, max: 40 * HOUR_MS })),
      fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
      (attempt, retryAfterMs, chance) => {
        const delayMs = notifyRetryDelayMs({ attempt, queuedForMs: 0, retryAfterMs, random: () => chance })
        if (attempt >= MAX_NOTIFY_ATTEMPTS) return delayMs === null
        if (delayMs === null) return false
        const askedMs = Math.min(retryAfterMs ?? 0, 24 * HOUR_MS)
        return delayMs >= askedMs && delayMs >= 10_000 && delayMs <= Math.max(askedMs, 6 * HOUR_MS) * 1.2 + 1
      },
    ),
  )
  const at = (attempt: number, random: () => number) =>
    notifyRetryDelayMs({ attempt, queuedForMs: 0, retryAfterMs: null, random }) ?? 0
  let shortestMs = 0
  let longestMs = 0
  for (let attempt = 1; attempt < MAX_NOTIFY_ATTEMPTS; attempt++) {
    shortestMs += at(attempt, () => 0)
    longestMs += at(attempt, () => 1)
  }
  t.ok(shortestMs > 20 * HOUR_MS && longestMs < 26 * HOUR_MS, `${shortestMs / HOUR_MS} to ${longestMs / HOUR_MS} h`)
  const old = { attempt: 1, queuedForMs: MAX_QUEUED_MS, retryAfterMs: null, random: () => 0 }
  t.equal(notifyRetryDelayMs(old), null, 'what waited behind another for a day gets no day of its own')
})

t.test('what an earlier agent left is told, in order for each job and channel', async (t) => {
  const records = new Records()
  records.add(entryOf(3), entryOf(1), entryOf(2, 'b'), entryOf(1, 'a', 'command'))
  const { outbox, told, clock } = open(records, {})
  await outbox.start()
  outbox.push(records.add(entryOf(4)))
  await clock.pass(0)
  t.same([...told].sort(), [1, 1, 2, 3, 4])
  t.same(
    told.filter((id) => id !== 2),
    [1, 1, 3, 4],
  )
  t.equal(records.kept.size, 0)
  await outbox.close()
})

t.test('the next of a job waits for the one that failed, and others do not', async (t) => {
  const records = new Records()
  let failures = 2
  const { outbox, told, clock } = open(records, {
    answer: ({ event }) => (event.id === 1 && failures-- > 0 ? FAILED : { kind: 'delivered' }),
  })
  await outbox.start()
  outbox.push(records.add(entryOf(1), entryOf(2), entryOf(3, 'b'), entryOf(4, 'a', 'command')))
  await clock.pass(0)
  t.same([...told].sort(), [1, 3, 4])
  t.match([...records.kept.values()], [{ attempt: 1, retry: { isAsked: false } }, { attempt: 0 }])
  await clock.pass(12_000)
  await clock.pass(36_000)
  t.same(told.slice(3), [1, 1, 2])
  t.equal(records.kept.size, 0)
  await outbox.close()
})

t.test('what is refused is given up at once, what fails after its attempts, and the next has its turn', async (t) => {
  const records = new Records()
  const { outbox, told, clock } = open(records, {
    answer: ({ event }) =>
      event.id === 1 ? { kind: 'refused', message: '404' } : event.id === 2 ? FAILED : { kind: 'delivered' },
  })
  await outbox.start()
  outbox.push(records.add(entryOf(1), entryOf(2), entryOf(3)))
  await clock.pass(30 * HOUR_MS)
  t.equal(told.filter((id) => id === 1).length, 1)
  t.equal(told.filter((id) => id === 2).length, MAX_NOTIFY_ATTEMPTS)
  t.equal(told.at(-1), 3)
  t.equal(records.kept.size, 0)
  await outbox.close()
})

t.test('a restart tries at once and pays no attempt for it, but keeps what the receiver asked for', async (t) => {
  const records = new Records()
  const clock = new VirtualClock()
  const answer = (): NotifyOutcome => FAILED
  const first = open(records, { clock, answer })
  await first.outbox.start()
  first.outbox.push(records.add(entryOf(1)))
  await clock.pass(0)
  await first.outbox.close()
  for (let restart = 0; restart < 20; restart++) {
    const next = open(records, { clock, answer })
    await next.outbox.start()
    await clock.pass(0)
    t.same(next.told, [1])
    await next.outbox.close()
  }
  t.match([...records.kept.values()], [{ attempt: 1 }])

  const asked = open(records, { clock, answer: () => ({ ...FAILED, retryAfterMs: HOUR_MS }) as NotifyOutcome })
  await asked.outbox.start()
  await clock.pass(0)
  await asked.outbox.close()
  const last = open(records, { clock })
  await last.outbox.start()
  await clock.pass(HOUR_MS / 2)
  t.same(last.told, [])
  await clock.pass(HOUR_MS)
  t.same(last.told, [1])
  await last.outbox.close()
})

t.test('more than memory may hold waits on disk, and comes in order', async (t) => {
  const records = new Records()
  records.add(...Array.from({ length: 25 }, (_, at) => entryOf(at + 1)))
  const { outbox, told, clock } = open(records, { maxQueued: 10 })
  await outbox.start()
  outbox.push(records.add(entryOf(26), entryOf(27, 'b')))
  await clock.pass(0)
  t.same(
    told.filter((id) => id !== 27),
    Array.from({ length: 26 }, (_, at) => at + 1),
  )
  t.ok(told.includes(27))
  t.equal(told.length, 27)
  await outbox.close()
})

t.test('one user whose notifications hang leaves room for others', async (t) => {
  const records = new Records()
  const { outbox, told, clock } = open(records, {
    answer: ({ event }) => (event.owner.uid === 1 ? new Promise<never>(() => {}) : { kind: 'delivered' }),
  })
  await outbox.start()
  outbox.push(records.add(...Array.from({ length: 20 }, (_, at) => entryOf(at, `hangs ${at}`, 'webhook', 1))))
  outbox.push(records.add(entryOf(100, 'other', 'webhook', 2)))
  await clock.pass(0)
  t.equal(told.length, 4)
  t.ok(told.includes(100))
})

t.test('what cannot be recorded as told is not told again', async (t) => {
  const records = new Records()
  records.failures = 2
  const { outbox, told, clock } = open(records, {})
  await outbox.start()
  outbox.push(records.add(entryOf(1)))
  await clock.pass(60_000)
  t.same(told, [1])
  t.equal(records.kept.size, 0)
  await outbox.close()
})
