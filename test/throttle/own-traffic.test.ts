import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import net, { type AddressInfo, type Socket } from 'node:net'
import tls, { type TLSSocket } from 'node:tls'
import t from 'tap'
import { connectionKey, OwnTraffic } from '../../src/throttle/own-traffic.ts'

type Tap = { teardown(handler: () => unknown): void }

const TOTALS = { wanReceivedBytes: 0, wanSentBytes: 0, lanReceivedBytes: 0, lanSentBytes: 0 }

/** As a socket over a network card: the loopback of a test is none. */
function elsewhere(socket: Socket): Socket {
  Object.defineProperty(socket, 'localAddress', { value: '10.1.2.3' })
  return socket
}

async function pair(
  t: Tap,
  options: Partial<net.TcpSocketConnectOpts> = {},
): Promise<{ client: Socket; server: Socket }> {
  const listener = net.createServer()
  listener.listen(0, '127.0.0.1')
  await once(listener, 'listening')
  const { port } = listener.address() as AddressInfo
  const client = net.connect({ ...options, port, host: '127.0.0.1' })
  const [server] = (await once(listener, 'connection')) as [Socket]
  if (client.connecting) await once(client, 'connect')
  t.teardown(() => {
    client.destroy()
    server.destroy()
    listener.close()
  })
  return { client, server }
}

async function until(isTrue: () => boolean): Promise<void> {
  while (!isTrue()) await new Promise((resolve) => setTimeout(resolve, 1))
}

await t.test('bytes count by kind and direction, and go on counting when the socket is closed', async (t) => {
  const own = new OwnTraffic()
  const { client, server } = await pair(t)
  own.add(elsewhere(client), 'lan')
  own.add(elsewhere(server), 'wan')
  own.add(client, 'lan')
  t.same(own.totals(), TOTALS)
  server.resume()
  client.write(Buffer.alloc(100_000))
  await until(() => server.bytesRead === 100_000)
  t.same(own.totals(), { ...TOTALS, lanSentBytes: 100_000, wanReceivedBytes: 100_000 })
  client.destroy()
  await once(server, 'close')
  await until(() => own.connections().keys.size === 0)
  t.same(own.totals(), { ...TOTALS, lanSentBytes: 100_000, wanReceivedBytes: 100_000 })
})

await t.test('what is read into a buffer of ours counts too', async (t) => {
  const own = new OwnTraffic()
  let gotBytes = 0
  const buffer = Buffer.alloc(4096)
  const callback = (bytes: number) => {
    gotBytes += bytes
    return true
  }
  const { client, server } = await pair(t, { onread: { buffer, callback } })
  own.add(elsewhere(client), 'lan')
  server.write(Buffer.alloc(50_000))
  await until(() => gotBytes === 50_000)
  t.equal(own.totals().lanReceivedBytes, 50_000)
})

await t.test('what the kernel has not taken is not sent', async (t) => {
  const own = new OwnTraffic()
  const { client } = await pair(t) // nobody reads at the other end
  own.add(elsewhere(client), 'lan')
  const offeredBytes = 64 * 1024 * 1024
  client.write(Buffer.alloc(offeredBytes))
  await new Promise((resolve) => setImmediate(resolve))
  const { lanSentBytes } = own.totals()
  t.ok(lanSentBytes > 0 && lanSentBytes < offeredBytes, `${lanSentBytes} of ${offeredBytes}`)
})

await t.test('the socket below TLS tells what the wire carries, the TLS socket a little less', async (t) => {
  const own = new OwnTraffic()
  const cert = readFileSync(new URL('../support/test-origin-cert.pem', import.meta.url))
  const key = readFileSync(new URL('../support/test-origin-key.pem', import.meta.url))
  const listener = tls.createServer({ cert, key }, (socket: TLSSocket) => socket.end(Buffer.alloc(1_000_000)))
  listener.prependListener('connection', (socket: Socket) => own.add(elsewhere(socket), 'lan'))
  listener.listen(0, '127.0.0.1')
  await once(listener, 'listening')
  const { port } = listener.address() as AddressInfo
  const client = tls.connect({ port, host: '127.0.0.1', rejectUnauthorized: false })
  t.teardown(() => {
    client.destroy()
    listener.close()
  })
  own.add(elsewhere(client), 'wan')
  client.resume()
  await once(client, 'end')
  client.destroy()
  await once(client, 'close')
  await until(() => own.connections().keys.size === 0)
  const { lanSentBytes, wanReceivedBytes } = own.totals()
  t.equal(wanReceivedBytes, 1_000_000)
  t.ok(lanSentBytes > 1_000_000 && lanSentBytes < 1_010_000, `${lanSentBytes}`)
})

await t.test('a socket to this same machine is not counted and not looked for', async (t) => {
  const own = new OwnTraffic()
  const { client, server } = await pair(t)
  own.add(client, 'lan')
  server.resume()
  client.write(Buffer.alloc(1000))
  await until(() => server.bytesRead === 1000)
  t.same(own.totals(), TOTALS)
  t.equal(own.connections().keys.size, 0)
  client.destroy()
  await once(client, 'close')
  t.same(own.totals(), TOTALS)
})

await t.test('open connections are known by both ports', async (t) => {
  const own = new OwnTraffic()
  const { client, server } = await pair(t)
  own.add(elsewhere(client), 'wan')
  const keys = new Map([[connectionKey(client.localPort ?? 0, server.localPort ?? 0), 'wan']])
  t.same(own.connections(), { keys, hasIPv6: false })
})
