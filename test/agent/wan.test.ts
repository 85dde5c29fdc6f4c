/** Which interface the governors watch, and what origins have of the governor. */
import type { networkInterfaces } from 'node:os'
import pino from 'pino'
import t from 'tap'
import { interfaceNamer, openWan } from '../../src/agent/wan.ts'
import { systemClock } from '../../src/clock.ts'
import { loadConfig } from '../../src/config/load.ts'
import { OwnTraffic } from '../../src/throttle/own-traffic.ts'
import { until } from '../lab/until.ts'

type Interfaces = ReturnType<typeof networkInterfaces>

const entry = (address: string, internal: boolean) => ({
  address,
  cidr: `${address}/24`,
  netmask: '255.255.255.0',
  mac: '00:00:00:00:00:00',
  family: 'IPv4' as const,
  internal,
})
const LOOPBACK: Interfaces = { lo: [entry('127.0.0.1', true)] }
const LAN: Interfaces = { eth0: [entry('10.1.2.3', false)] }

await t.test('the loopback is no line: other agents on this machine are nobody to make room for', (t) => {
  let up: Interfaces = { ...LOOPBACK, ...LAN }
  let nowMs = 0
  const named = (wanted: string | null) =>
    interfaceNamer({ monotonicMs: () => nowMs }, { wanted, interfaces: () => up })
  t.equal(named(null)(), 'eth0')
  t.equal(named('lo')(), null, 'what the demo and a branch on one machine use')
  t.equal(named('127.0.0.1')(), null)
  const name = named(null)
  t.equal(name(), 'eth0')
  up = LOOPBACK
  t.equal(name(), 'eth0', 'asked once in a while')
  nowMs += 60_000
  t.equal(name(), null, 'nothing else is left')
  t.end()
})

await t.test('the delay is measured through the proxy that a request names', async (t) => {
  const { config } = await loadConfig({ env: {}, homeDir: t.testdir(), isRoot: false })
  const asked: unknown[] = []
  const openProbe = (...way: unknown[]) => {
    asked.push(way)
    return { roundTrip: () => Promise.reject(new Error('nobody there')), close: async () => {} }
  }
  const wan = openWan(
    { clock: systemClock, log: pino({ level: 'silent' }), traffic: new OwnTraffic(), openProbe },
    { config, self: 'a' },
  )
  const leave = wan.control.enter('normal', 'http://origin.example/file', 'http://proxy.example:3128')
  // Not before it is known what the line costs.
  await until(() => asked[0], { timeoutMs: 20_000, everyMs: 5, what: 'a probe' })
  t.same(asked, [['http://origin.example/file', 'http://proxy.example:3128']])
  leave()
  await wan.governor.close()
  await wan.hostState.close()
  await wan.host.close()
})
