/** Beacons that a stranger recorded, made up or sends without end. How one is made: test/peers/membership.test.ts. */
import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { setTimeout } from 'node:timers/promises'
import crypto from 'hypercore-crypto'
import t, { type Test } from 'tap'
import { BEACON_GROUP } from '../../src/peers/beacon.ts'
import { BEACON_BYTES } from '../../src/peers/beacon-codec.ts'
import type { Network } from '../../src/peers/network.ts'
import { type Branch, isMeshed, openBranch, until } from '../peers/branch-fixture.ts'

/** Hears what anybody on the network segment hears. */
async function listener(t: Test, branch: Branch): Promise<Buffer[]> {
  const socket = createSocket({ type: 'udp4', reuseAddr: true })
  socket.bind(branch.beaconPort, '0.0.0.0')
  await once(socket, 'listening')
  socket.addMembership(BEACON_GROUP, '127.0.0.1')
  const heard: Buffer[] = []
  socket.on('message', (bytes) => heard.push(bytes))
  t.teardown(() => void socket.close())
  return heard
}

/** Sends to the group, from an address of this host. */
async function sender(t: Test, address: string): Promise<Socket> {
  const socket = createSocket('udp4').bind(0, address)
  await once(socket, 'listening')
  socket.setMulticastInterface('127.0.0.1')
  t.teardown(() => void socket.close())
  return socket
}

interface Listening {
  readonly network: Network
  readonly branch: Branch
}

/** Resolves when the network has read them, as far as its socket did not overflow. */
async function send(socket: Socket, beacons: readonly Buffer[], { network, branch }: Listening): Promise<void> {
  for (const [at, beacon] of beacons.entries()) {
    socket.send(beacon, branch.beaconPort, BEACON_GROUP)
    if (at % 64 === 63) await setTimeout(1)
  }
  // One that is surely counted, behind all others; again and again, because it may be lost as well.
  const { strangers } = network.diagnose().beacon
  while (network.diagnose().beacon.strangers === strangers) {
    socket.send(crypto.randomBytes(BEACON_BYTES), branch.beaconPort, BEACON_GROUP)
    await setTimeout(5)
  }
}

const wantsAnswer = (beacon: Buffer) => ((beacon[4] ?? 0) & 1) !== 0

t.test('a beacon says where somebody is, and not who', async (t) => {
  const branch = await openBranch(t)
  const heard = await listener(t, branch)
  const networks = [await branch.open({ hostName: 'ada-laptop' }), await branch.open()]
  await until(networks, () => isMeshed(networks))
  t.ok(heard.length > 0)
  const said = Buffer.concat(heard)
  t.ok(heard.every(({ byteLength }) => byteLength === BEACON_BYTES))
  for (const network of networks) t.notOk(said.includes(Buffer.from(network.key, 'hex')), 'no key')
  t.notOk(said.includes(branch.secret) || said.includes('ada-laptop'))
})

t.test('recorded beacons, sent again, change nothing: neither from there nor from elsewhere', async (t) => {
  const branch = await openBranch(t)
  const heard = await listener(t, branch)
  const networks = [await branch.open(), await branch.open()]
  const [network] = networks as [Network, Network]
  await until(networks, () => isMeshed(networks))
  const asking = heard.filter(wantsAnswer)
  t.ok(asking.length > 0)
  const before = network.diagnose()
  const replays = Array.from({ length: 2000 }, (_, at) => asking[at % asking.length] ?? Buffer.alloc(0))

  await send(await sender(t, '127.0.0.2'), replays, { network, branch })
  t.ok(network.diagnose().beacon.strangers > before.beacon.strangers + 500)
  const after = network.diagnose()
  t.ok(after.beacon.heard - before.beacon.heard < 10, 'from another address: not one is taken for a member’s')

  await send(await sender(t, '127.0.0.1'), replays, { network, branch })
  const last = network.diagnose()
  t.ok(last.beacon.heard - before.beacon.heard < 10, 'from the same address: known by their sequence')
  t.ok(last.beacon.sent - before.beacon.sent < 40, `${last.beacon.sent - before.beacon.sent} beacons sent meanwhile`)
  t.equal(last.peers, 1)
  t.equal(last.connections, before.connections)
})

t.test('beacons of those that are gone, sent to an agent that was restarted, make no session', async (t) => {
  const branch = await openBranch(t)
  const heard = await listener(t, branch)
  const gone = [await branch.open(), await branch.open()]
  await until(gone, () => isMeshed(gone))
  const asking = heard.filter(wantsAnswer)
  await Promise.all(gone.map((network) => network.close()))
  const network = await branch.open()
  const from = await sender(t, '127.0.0.1')
  const replays = Array.from({ length: 1000 }, (_, at) => asking[at % asking.length] ?? Buffer.alloc(0))
  await send(from, replays, { network, branch })
  const { beacon, peers, connections, dhtNodes } = network.diagnose()
  t.ok(beacon.heard > 0, 'they are authentic, so that it looked for them')
  t.ok(beacon.sent < 60, `${beacon.sent} beacons of its own for 1000`)
  t.same({ peers, connections }, { peers: 0, connections: 0 })
  t.ok(dhtNodes <= 2, 'who does not answer is not remembered')
  // And it is as good as new for those that are there.
  const newcomer = await branch.open()
  await until([network, newcomer], () => isMeshed([network, newcomer]))
})

t.test('a flood of made-up beacons is counted and costs nothing more', async (t) => {
  const branch = await openBranch(t)
  const heard = await listener(t, branch)
  const network = await branch.open()
  while (heard.length === 0) await setTimeout(5)
  const [real = Buffer.alloc(0)] = heard
  /** Right in everything but the MAC; a MAC of another key; and of any length. */
  const made = (at: number): Buffer => {
    const beacon = Buffer.from(real)
    beacon.writeUInt32BE(at, 20)
    if (at % 3 === 0) crypto.randomBytes(32).copy(beacon, 32)
    else if (at % 3 === 1) beacon.writeUInt8((beacon[63] ?? 0) ^ 1, 63)
    else return crypto.randomBytes(at % 1400)
    return beacon
  }
  const before = network.diagnose()
  await send(
    await sender(t, '127.0.0.1'),
    Array.from({ length: 20_000 }, (_, at) => made(at)),
    { network, branch },
  )
  const after = network.diagnose()
  t.ok(after.beacon.strangers > before.beacon.strangers + 2000)
  t.equal(after.beacon.heard, before.beacon.heard)
  t.ok(after.beacon.sent - before.beacon.sent < 40, `${after.beacon.sent - before.beacon.sent} beacons sent meanwhile`)
  t.equal(after.dhtNodes, before.dhtNodes)
  t.equal(after.connections, 0)
  const newcomer = await branch.open()
  await until([network, newcomer], () => isMeshed([network, newcomer]))
})
