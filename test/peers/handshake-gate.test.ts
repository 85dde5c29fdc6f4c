import fc from 'fast-check'
import type { DhtRequest } from 'hyperdht'
import t from 'tap'
import { guardDht } from '../../src/peers/dht-guard.ts'
import { HandshakeGate } from '../../src/peers/handshake-gate.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

t.test('one address gets so many at once, and more with time; others are not concerned', async (t) => {
  const gate = new HandshakeGate(0)
  const admitted = (address: string, count: number, nowMs: number) =>
    Array.from({ length: count }, () => gate.admit(address, nowMs)).filter(Boolean).length
  t.equal(admitted('10.0.0.1', 1000, 0), 64)
  t.equal(admitted('10.0.0.2', 3, 0), 3)
  t.equal(admitted('10.0.0.1', 1000, 1000), 8, 'a second later')
  t.equal(admitted('10.0.0.1', 1000, 0), 0, 'a clock that goes back gives nothing')
})

t.test('addresses that are made up share what all have, and the memory of them is bounded', async (t) => {
  const gate = new HandshakeGate(0)
  let count = 0
  for (let at = 0; at < 20_000; at++) if (gate.admit(`10.1.${at >> 8}.${at & 255}`, 0)) count++
  t.equal(count, 512)
  t.ok(gate.addressCount <= 1024)
})

/** A node that counts what it was asked to do. */
function guarded(ownRelay: { host: string; port: number } | null = null) {
  const answered: DhtRequest[] = []
  const dht = { onrequest: (request: DhtRequest) => answered.push(request) > 0 }
  guardDht(dht as unknown as Parameters<typeof guardDht>[0], { clock: new VirtualClock(), ownRelay })
  const ask = (request: Partial<DhtRequest>) =>
    dht.onrequest({ command: 0, from: { host: '10.0.0.1', port: 1 }, value: null, ...request })
  return { answered, ask }
}

/** As lib/messages.js of hyperdht has it. */
function handshakeFor(host: string, noiseBytes: number): Buffer {
  const length = noiseBytes < 0xfd ? [noiseBytes] : [0xfd, noiseBytes & 255, noiseBytes >> 8]
  return Buffer.from([1, 2, ...length, ...Buffer.alloc(noiseBytes, 7), ...host.split('.').map(Number), 0, 80])
}

t.test('a node keeps no values for others, and does the rest of what the DHT is for', async (t) => {
  const { answered, ask } = guarded()
  for (let command = 1; command <= 11; command++) t.equal(ask({ command }), true)
  t.same(
    answered.map(({ command }) => command),
    [1, 2, 3, 4, 5, 11],
  )
})

t.test('what a node of ours relays is charged to the client, and what another relays to the relay', async (t) => {
  for (const noiseBytes of [96, 400]) {
    const own = { host: '10.0.0.5', port: 5 }
    const { answered, ask } = guarded(own)
    for (let at = 0; at < 100; at++) ask({ from: own, value: handshakeFor('10.0.0.9', noiseBytes) })
    t.equal(answered.length, 64)
    ask({ from: own, value: handshakeFor('10.0.0.8', noiseBytes) })
    t.equal(answered.length, 65, 'another client behind our own relay')
    for (let at = 0; at < 100; at++) {
      ask({ from: { host: '10.0.0.5', port: 6 }, value: handshakeFor(`10.0.1.${at}`, noiseBytes) })
    }
    t.equal(answered.length, 65 + 64, 'whatever clients another relay names')
  }
})

t.test('any value is judged, whatever is in it', async () => {
  const own = { host: '10.0.0.5', port: 5 }
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
      const { answered, ask } = guarded(own)
      ask({ from: own, value: Buffer.from(bytes) })
      return answered.length === 1
    }),
  )
})
