import t from 'tap'
import { createLogger } from '../../src/log.ts'
import { type HostConditions, type HostReading, HostState, readHost } from '../../src/throttle/host-state.ts'

/** All that only waits for other promises has happened. */
function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

const MAINS: HostReading = { cost: 'unrestricted', power: 'mains', failures: [] }

/** A host whose readings are answered by the test, or at once with `now`. */
function setUp() {
  const lines: { readonly level: string; readonly msg: string; readonly failures?: readonly string[] }[] = []
  const changes: HostConditions[] = []
  const host = {
    lines,
    changes,
    now: MAINS as HostReading | null,
    waiting: [] as ((reading: HostReading) => void)[],
    readCount: 0,
  }
  const state = new HostState({
    log: createLogger({ level: 'info', destination: { write: (line) => lines.push(JSON.parse(line)) } }),
    read: () => {
      host.readCount++
      return host.now === null ? new Promise((resolve) => host.waiting.push(resolve)) : Promise.resolve(host.now)
    },
    onChange: (conditions) => changes.push(conditions),
  })
  return { host, state }
}

await t.test('nothing is read before somebody asks; changes are told', async (t) => {
  const { host, state } = setUp()
  await settled()
  t.equal(host.readCount, 0)
  t.same(state.conditions, { cost: 'unknown', power: 'unknown' })
  await state.refresh()
  host.now = { cost: 'capped', power: 'mains', failures: [] }
  await state.refresh()
  t.same(host.changes, [
    { cost: 'unrestricted', power: 'mains' },
    { cost: 'capped', power: 'mains' },
  ])
  await state.close()
})

await t.test('refresh() reads at once, and again when a reading was under way', async (t) => {
  const { host, state } = setUp()
  await state.refresh()
  t.equal(host.readCount, 1)
  host.now = null
  let isDone = false
  const first = state.refresh()
  const second = state.refresh().then(() => {
    isDone = true
  })
  t.equal(host.readCount, 2, 'one at a time')
  host.waiting.shift()?.(MAINS)
  await settled()
  t.equal(host.readCount, 3)
  t.notOk(isDone)
  host.waiting.shift()?.({ cost: 'roaming', power: 'battery', failures: [] })
  await Promise.all([first, second])
  t.same(state.conditions, { cost: 'roaming', power: 'battery' })
  host.now = MAINS
  await state.refresh()
  t.same(state.conditions, { cost: 'unrestricted', power: 'mains' })
  await state.close()
})

await t.test('a reading that fails is logged once and changes nothing', async (t) => {
  const { host, state } = setUp()
  host.now = { cost: 'capped', power: 'battery', failures: [] }
  await state.refresh()
  host.now = { cost: null, power: 'mains', failures: ['busctl: no answer in 3000 ms'] }
  await state.refresh()
  await state.refresh()
  t.same(state.conditions, { cost: 'capped', power: 'mains' })
  t.match(host.lines, [{ level: 'warn', failures: ['busctl: no answer in 3000 ms'] }])
  t.equal(host.lines.length, 1)
  await state.close()
})

await t.test('a reader that throws is a failure too', async (t) => {
  const lines: string[] = []
  const state = new HostState({
    log: createLogger({ level: 'info', destination: { write: (line) => lines.push(line) } }),
    read: () => {
      throw new Error('broken')
    },
  })
  await state.refresh()
  t.same(state.conditions, { cost: 'unknown', power: 'unknown' })
  t.match(lines, [/broken/])
  await state.close()
})

await t.test('close() waits for the reading and ends all', async (t) => {
  const { host, state } = setUp()
  host.now = null
  const reading = state.refresh()
  let isClosed = false
  const closing = state.close().then(() => {
    isClosed = true
  })
  await settled()
  t.notOk(isClosed)
  host.waiting.shift()?.({ cost: 'roaming', power: 'battery', failures: [] })
  await Promise.all([closing, reading])
  t.same(state.conditions, { cost: 'unknown', power: 'unknown' }, 'what comes too late is dropped')
  await state.refresh()
  t.equal(host.readCount, 1)
  await state.close()
})

await t.test('this machine is read without failing', async (t) => {
  const { cost, power, failures } = await readHost({ signal: new AbortController().signal })
  t.type(failures.length, 'number')
  t.ok(cost === null || cost.length > 0)
  t.ok(power === null || power.length > 0)
})
