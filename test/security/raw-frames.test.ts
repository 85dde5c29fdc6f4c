/**
 * Strangers on a real connection: what secret-stream below our sessions can be made to hold before anything is proved. What
 * sessions make of whole frames is in test/peers/session.test.ts.
 */
import { setTimeout } from 'node:timers/promises'
import crypto from 'hypercore-crypto'
import DHT from 'hyperdht'
import type { SwarmConnection } from 'hyperswarm'
import t, { type Test } from 'tap'
import type { Network } from '../../src/peers/network.ts'
import { openBranch } from '../peers/branch-fixture.ts'

interface Dialler {
  connect(key: Buffer, options: { keyPair: ReturnType<typeof crypto.keyPair> }): SwarmConnection
}

/** Connects as anybody can who asks the DHT; sees what comes and when it ends. */
async function stranger(t: Test, network: Network) {
  const dht = new DHT({
    bootstrap: [{ host: '127.0.0.1', port: network.dhtPort }],
    host: '127.0.0.1',
    port: [0, 0],
    firewalled: false,
  })
  t.teardown(() => dht.destroy({ force: true }))
  await dht.fullyBootstrapped()
  const { connect } = dht as unknown as Dialler // hyperdht's own, which our types leave out
  const connection = connect.call(dht, Buffer.from(network.key, 'hex'), { keyPair: crypto.keyPair() })
  const frames: Buffer[] = []
  connection.on('error', () => {})
  connection.on('data', (frame: Buffer) => frames.push(frame))
  const closed = new Promise<void>((resolve) => connection.on('close', resolve))
  await new Promise((resolve) => connection.on('open', resolve))
  return { connection, frames, closed }
}

/** Bytes below the encryption: a frame is its length, 3 bytes, and so many more. */
function writeRaw(connection: SwarmConnection, bytes: Uint8Array): void {
  ;(connection.rawStream as unknown as { write(bytes: Uint8Array): boolean }).write(bytes)
}

t.test('a frame that says it is 16 MiB is cut off long before it is there', async (t) => {
  const branch = await openBranch(t)
  const network = await branch.open()
  const { connection, frames, closed } = await stranger(t, network)
  let wroteBytes = 0
  let isClosed = false
  void closed.then(() => {
    isClosed = true
  })
  writeRaw(connection, Buffer.from([0xff, 0xff, 0xff]))
  while (!isClosed && wroteBytes < 8 * 2 ** 20) {
    writeRaw(connection, Buffer.alloc(16 * 1024, 7))
    wroteBytes += 16 * 1024
    await setTimeout(2)
  }
  await closed
  t.match(network.diagnose().rejected, { protocol: 1, notMember: 0 }, 'for what it sent, and not for the time it took')
  t.ok(frames.length <= 1, 'our proof, and nothing else')
  t.same(network.peers(), [])
})

t.test('a byte now and then holds a place no longer than silence does', async (t) => {
  const branch = await openBranch(t)
  const network = await branch.open()
  const { connection, frames, closed } = await stranger(t, network)
  writeRaw(connection, Buffer.from([64, 0, 0])) // of a frame that gets one more each time
  const tick = setInterval(() => {
    if (!connection.destroyed) writeRaw(connection, Buffer.alloc(1))
  }, 250)
  t.teardown(() => clearInterval(tick))
  await closed
  while (network.diagnose().connections > 0) await setTimeout(5)
  t.match(network.diagnose().rejected, { notMember: 1 })
  t.ok(frames.length <= 1)
})
