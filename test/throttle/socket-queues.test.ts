import { once } from 'node:events'
import net, { type AddressInfo, type Socket } from 'node:net'
import fc from 'fast-check'
import t from 'tap'
import { connectionKey, type TrafficKind } from '../../src/throttle/own-traffic.ts'
import { readSocketQueues, sumQueues } from '../../src/throttle/socket-queues.ts'

/** Recorded on Linux 6.18: a server of which nobody reads, its client, and a listener. */
const TCP = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode                                                     
   0: 0100007F:8AA7 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 269459 1 0000000082cfe116 100 0 0 10 0                    
   2: 0100007F:ECDE 0100007F:8AA7 01 00000000:00505641 00:00000000 00000000     0        0 269460 1 0000000094e7ad77 20 10 0 12 -1                   
   3: 0100007F:8AA7 0100007F:ECDE 01 00339507:00000000 04:00000000 00000000     0        0 269461 2 000000006f5d62d0 22 4 29 26 8                    
`
const TCP6 = `  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000000000000:0016 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 14570 1 0000000000000000 100 0 0 10 0
   1: B80D01200000000067452301EFCDAB89:01BB B80D01200000000067452301EFCDAB80:C001 01 00000010:00000020 00:00000000 00000000     0        0 14571 1 0000000000000000 20 4 30 10 -1
`
const CLIENT = connectionKey(0xecde, 0x8aa7)
const SERVER = connectionKey(0x8aa7, 0xecde)

/** Of neighbours, unless said otherwise. */
function keysOf(...keys: readonly number[]): Map<number, TrafficKind> {
  return new Map(keys.map((key) => [key, 'lan']))
}

await t.test('the queues of our connections are summed, those of others are not', async (t) => {
  const table = Buffer.from(TCP)
  const client = { receiveQueueBytes: 0x505641, largestWanReceiveQueueBytes: 0, sendQueueBytes: 0 }
  t.same(sumQueues(table, keysOf(CLIENT)), client)
  t.same(sumQueues(table, keysOf(CLIENT, SERVER)), { ...client, sendQueueBytes: 0x339507 })
  t.same(sumQueues(table, keysOf(connectionKey(0x8aa7, 0x8aa7))), { ...client, receiveQueueBytes: 0 })
  t.same(sumQueues(table, new Map([[CLIENT, 'wan']])), { ...client, largestWanReceiveQueueBytes: 0x505641 })
})

await t.test('IPv6 has a table of the same form', async (t) => {
  const keys = keysOf(connectionKey(0x01bb, 0xc001))
  t.match(sumQueues(Buffer.from(TCP6), keys), { receiveQueueBytes: 0x20, sendQueueBytes: 0x10 })
  const directory = t.testdir({ tcp: TCP, tcp6: TCP6 })
  keys.set(CLIENT, 'wan')
  t.same(readSocketQueues({ keys, hasIPv6: true }, { directory }), {
    receiveQueueBytes: 0x505641 + 0x20,
    largestWanReceiveQueueBytes: 0x505641,
    sendQueueBytes: 0x10,
  })
})

await t.test('any bytes give a sum that is finite and not negative', async () => {
  const line = fc.string({ unit: fc.constantFrom('0', 'A', 'f', 'G', ':', ' ', '\n'), maxLength: 400 })
  const all = keysOf(0, 0xa, 0xaaaaaaaa, connectionKey(0, 0), Number.NaN)
  fc.assert(
    fc.property(line, (text) => {
      const sum = sumQueues(Buffer.from(text), all)
      return sum.receiveQueueBytes >= 0 && sum.sendQueueBytes >= 0 && Number.isFinite(sum.sendQueueBytes)
    }),
  )
})

await t.test('without a table, or with one that is too long, nothing is known', async (t) => {
  const keys = keysOf(CLIENT)
  t.equal(readSocketQueues({ keys, hasIPv6: false }, { directory: t.testdirName }), null)
  const directory = t.testdir({ tcp: `${'x'.repeat(149)}\n`.repeat(11_000) })
  t.equal(readSocketQueues({ keys, hasIPv6: false }, { directory }), null)
})

await t.test('without connections nothing is read', async (t) => {
  const none = { keys: keysOf(), hasIPv6: false }
  const zero = { receiveQueueBytes: 0, largestWanReceiveQueueBytes: 0, sendQueueBytes: 0 }
  t.same(readSocketQueues(none, { directory: t.testdirName }), zero)
})

const skip = process.platform === 'linux' ? false : 'needs /proc/net'
await t.test('on this machine, what nobody reads is found in the kernel to the byte', { skip }, async (t) => {
  const listener = net.createServer({ pauseOnConnect: true })
  listener.listen(0, '127.0.0.1')
  await once(listener, 'listening')
  const { port } = listener.address() as AddressInfo
  const client = net.connect({ port, host: '127.0.0.1' })
  const [server] = (await once(listener, 'connection')) as [Socket]
  t.teardown(() => {
    client.destroy()
    server.destroy()
    listener.close()
  })
  await new Promise<void>((resolve) => client.write(Buffer.alloc(20_000), () => resolve()))
  const keys = keysOf(connectionKey(port, server.remotePort ?? 0))
  t.match(readSocketQueues({ keys, hasIPv6: false }), { receiveQueueBytes: 20_000, sendQueueBytes: 0 })
})
