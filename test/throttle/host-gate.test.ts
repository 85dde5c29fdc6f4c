import t from 'tap'
import { createLogger } from '../../src/log.ts'
import type { GateSettings } from '../../src/throttle/cost.ts'
import { HostGate } from '../../src/throttle/host-gate.ts'
import { type HostReading, HostState } from '../../src/throttle/host-state.ts'
import { settled, VirtualClock } from '../support/virtual-clock.ts'

const DEFAULTS: GateSettings = { cost: null, meteredPolicy: 'unrestricted', onBattery: 'pause-low' }
const MAINS: HostReading = { cost: 'unrestricted', power: 'mains', failures: [] }

/** A gate over a system that says `now`, or that is slow and answers when told. */
function setUp(now: HostReading | null, settings: Partial<GateSettings> = {}) {
  const clock = new VirtualClock()
  const system = { now, readCount: 0, answer: (_reading: HostReading) => {} }
  const host = new HostState({
    log: createLogger({ level: 'silent', destination: { write: () => {} } }),
    read: async () => {
      system.readCount++
      return (
        system.now ??
        (await new Promise<HostReading>((resolve) => {
          system.answer = resolve
        }))
      )
    },
  })
  return { clock, system, host, gate: new HostGate({ clock, host }, { ...DEFAULTS, ...settings }) }
}

await t.test('until the system has said what the line costs, only foreground work may', async (t) => {
  const { system, gate } = setUp(null)
  t.equal(gate.hold('foreground'), null)
  await settled()
  t.equal(system.readCount, 0, 'for which nothing is asked')
  for (const priority of ['high', 'normal', 'low'] as const) t.match(gate.hold(priority), { code: 'host-unknown' })
  await settled()
  t.equal(system.readCount, 1, 'it is asked once')
  system.answer(MAINS)
  await settled()
  for (const priority of ['high', 'normal', 'low'] as const) t.equal(gate.hold(priority), null)
})

await t.test('a system that cannot say holds nothing back', async (t) => {
  const { gate } = setUp({ cost: null, power: null, failures: ['no NetworkManager'] })
  gate.hold('low')
  await settled()
  t.equal(gate.hold('low'), null)
})

await t.test('what it says is passed on, with a reason for people', async (t) => {
  const { gate } = setUp({ cost: 'capped', power: 'battery', failures: [] })
  gate.hold('low')
  await settled()
  t.match(gate.hold('normal'), { code: 'metered', text: 'a metered line', untilMs: null })
  t.equal(gate.hold('high'), null)
  t.equal(gate.hold('foreground'), null)
  const battery = setUp({ cost: 'capped', power: 'battery', failures: [] }, { cost: 'unrestricted' })
  battery.gate.hold('low')
  await settled()
  t.match(battery.gate.hold('low'), { code: 'battery' }, 'what the user says of the line counts')
  t.equal(battery.gate.hold('normal'), null)
})

await t.test('the system is asked once a minute while somebody wants to know, and holds as it said last', async (t) => {
  const { clock, system, gate } = setUp(MAINS)
  gate.hold('low')
  await settled()
  for (let second = 1; second < 60; second++) {
    await clock.pass(1000)
    t.equal(gate.hold('low'), null)
  }
  t.equal(system.readCount, 1)
  system.now = { ...MAINS, cost: 'roaming' }
  await clock.pass(1000)
  t.equal(gate.hold('low'), null, 'the answer takes moments')
  await settled()
  t.match(gate.hold('low'), { code: 'roaming' })
  t.equal(system.readCount, 2)
  await clock.pass(3_600_000)
  t.equal(system.readCount, 2, 'not while nobody does')
  t.equal(clock.sleeperCount, 0)
})

await t.test('on another network it is asked at once', async (t) => {
  const { system, gate } = setUp(MAINS)
  gate.hold('low')
  await settled()
  system.now = { ...MAINS, cost: 'overCap' }
  gate.refresh()
  await settled()
  t.equal(system.readCount, 1, 'or rather when somebody wants to know')
  gate.hold('low')
  await settled()
  t.match(gate.hold('low'), { code: 'over-cap' })
  t.equal(system.readCount, 2)
})

await t.test('when the host is closed it goes on with what it knows', async (t) => {
  const { clock, system, host, gate } = setUp(MAINS)
  gate.hold('low')
  await settled()
  await host.close()
  await clock.pass(120_000)
  t.equal(gate.hold('low'), null)
  await settled()
  t.equal(system.readCount, 1)
})

await t.test('a policy of its own holds a job on a line that is dearer than it allows', async (t) => {
  const { system, gate } = setUp({ cost: 'overCap', power: 'mains', failures: [] })
  t.match(gate.holdBy('always'), { code: 'host-unknown' }, 'nor is it used on the chance that it is cheap')
  await settled()
  t.equal(system.readCount, 1)
  t.equal(gate.holdBy('always'), null)
  t.equal(gate.holdBy('not-roaming'), null)
  t.match(gate.holdBy('no-surcharge'), { code: 'over-cap', text: 'a line whose quota is used up' })
  t.match(gate.holdBy('unrestricted'), { code: 'over-cap' })
})
