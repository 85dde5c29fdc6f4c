import t from 'tap'
import { EventStream } from '../../src/jobs/event-stream.ts'
import type { JobEventRecord } from '../../src/jobs/job-events.ts'
import type { JobProgress, JobStreamEvent } from '../../src/jobs/jobs-api.ts'
import { settled, VirtualClock } from '../support/virtual-clock.ts'
import { jobId } from './job-fixtures.ts'

/** A disk of events, two to a page, that a reader reads as it is at that moment. */
class Past {
  readonly events: JobEventRecord[] = []
  readCount = 0

  add(): JobEventRecord {
    const event: JobEventRecord = {
      id: this.events.length + 1,
      atMs: 0,
      job: jobId(1),
      name: 'job',
      owner: { uid: 1, name: 'ada' },
      kind: 'changed',
      previous: 'queued',
      state: 'queued',
    }
    this.events.push(event)
    return event
  }

  async *after(id: number): AsyncGenerator<readonly JobEventRecord[]> {
    this.readCount++
    const found = this.events.filter((event) => event.id > id)
    for (let at = 0; at < found.length; at += 2) yield found.slice(at, at + 2)
  }
}

function opened() {
  const clock = new VirtualClock()
  const stream = new EventStream({ clock })
  const past = new Past()
  const stop = new AbortController()
  const read = (from: number, progress?: () => readonly JobProgress[]) =>
    stream.read({ signal: stop.signal, from, past: (id) => past.after(id), ...(progress ? { progress } : {}) })
  return { clock, stream, past, stop, read }
}

async function take(events: AsyncGenerator<JobStreamEvent>, count: number): Promise<(number | string)[]> {
  const found: (number | string)[] = []
  while (found.length < count) {
    const { value, done } = await events.next()
    if (done) break
    found.push(value.kind === 'progress' ? value.kind : value.id)
  }
  return found
}

await t.test('a reader gets what is past, then what happens, each once and in order', async (t) => {
  const { stream, past, read, clock } = opened()
  for (let count = 0; count < 5; count++) past.add()
  const events = read(2)
  t.same(await take(events, 3), [3, 4, 5])
  const next = take(events, 2)
  await settled()
  t.equal(clock.sleeperCount, 1, 'it sleeps when there is nothing')
  past.add()
  stream.push()
  past.add()
  stream.push()
  t.same(await next, [6, 7])
  await events.return(undefined)
})

await t.test('a slow reader gets everything later, and nothing is kept for it', async (t) => {
  const { stream, past, read } = opened()
  const events = read(0)
  past.add()
  t.same(await take(events, 1), [1])
  for (let count = 0; count < 1000; count++) {
    past.add()
    stream.push()
  }
  t.equal(past.readCount, 1, 'nobody reads for who does not ask')
  t.same((await take(events, 1000)).at(-1), 1001)
  await events.return(undefined)
})

await t.test('an event that comes while the past is read is not missed', async (t) => {
  const { stream, past, read } = opened()
  past.add()
  past.add()
  const events = read(0)
  t.same(await take(events, 2), [1, 2])
  past.add()
  stream.push()
  t.same(await take(events, 1), [3])
  await events.return(undefined)
})

await t.test('a stream ends without an error when its signal aborts, asleep or not', async (t) => {
  const { past, stop, read } = opened()
  past.add()
  past.add()
  const asleep = take(read(2), 1)
  const midway = read(0)
  t.same(await take(midway, 1), [1])
  await settled()
  stop.abort()
  t.same(await asleep, [])
  t.same(await take(midway, 1), [])
  t.same(await take(read(0), 1), [], 'and one that begins later ends at once')
})

await t.test('closing ends all streams, and may be done twice', async (t) => {
  const { stream, read, clock } = opened()
  const all = [take(read(0), 1), take(read(0), 1)]
  await settled()
  stream.close()
  stream.close()
  t.same(await Promise.all(all), [[], []])
  t.equal(clock.sleeperCount, 0, 'nothing sleeps on')
})

await t.test('progress comes twice a second at most, and events do not wait for it', async (t) => {
  const { stream, past, read, clock } = opened()
  const progress: JobProgress = {
    kind: 'progress',
    job: jobId(1),
    bytesDone: 1,
    bytesTotal: 2,
    unknownLengthCount: 0,
    doneCount: 0,
    fileCount: 1,
    bytesPerSec: 1,
  }
  const events = read(0, () => [progress])
  t.same(await take(events, 1), ['progress'])
  let told = 0
  const next = take(events, 1).then((found) => {
    told++
    return found
  })
  await clock.pass(499)
  t.equal(told, 0)
  await clock.pass(1)
  t.same(await next, ['progress'])
  const soon = take(events, 1)
  await settled()
  past.add()
  stream.push()
  t.same(await soon, [1])
  await events.return(undefined)
})

await t.test('a database that is closed under a reader ends it, one that fails is told', async (t) => {
  const broken = async function* (): AsyncGenerator<readonly JobEventRecord[]> {
    yield []
    await settled()
    throw new Error('the database is closed')
  }
  const { stream } = opened()
  const options = { signal: new AbortController().signal, from: 0, past: broken }
  await t.rejects(take(stream.read(options), 1), /closed/)
  const reading = take(stream.read(options), 1)
  stream.close()
  t.same(await reading, [])
})
