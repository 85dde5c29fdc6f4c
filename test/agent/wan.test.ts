/** Which interface the governors watch. */
import type { networkInterfaces } from 'node:os'
import t from 'tap'
import { interfaceNamer } from '../../src/agent/wan.ts'

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
