import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { setImmediate } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import crypto from 'hypercore-crypto'
import DHT from 'hyperdht'
import Hyperswarm from 'hyperswarm'
import t from 'tap'
import { systemClock } from '../../src/clock.ts'
import type { AgentKey, LocationKey, ResourceKey } from '../../src/content/ids.ts'
import { deriveBranchKeys } from '../../src/peers/branch-keys.ts'
import type { Message } from '../../src/peers/messages.ts'
import type { Network } from '../../src/peers/network.ts'
import { TS_IMPORT } from '../support/ts-import.ts'
import { isMeshed, openBranch, options, sees, until } from './branch-fixture.ts'

t.test('agents of one branch find each other by beacon and know each other once', async (t) => {
  const branch = await openBranch(t)
  const networks = await Promise.all(['a', 'b', 'c'].map((hostName) => branch.open({ hostName })))
  const [first] = networks as [Network, Network, Network]
  await until(networks, () => isMeshed(networks))
  t.strictSame(
    first
      .peers()
      .map(({ hostName, agentVersion, address, isLocal, lane }) => ({
        hostName,
        agentVersion,
        address,
        isLocal,
        lane,
      }))
      .sort((x, y) => x.hostName.localeCompare(y.hostName)),
    ['b', 'c'].map((hostName) => ({
      hostName,
      agentVersion: '1.2.3',
      address: '127.0.0.1',
      isLocal: true,
      lane: null,
    })),
  )
  t.equal(first.memberCount(), 3)
  const diagnosis = first.diagnose()
  t.match(diagnosis, { address: '127.0.0.1', bootstrapPort: first.dhtPort, peers: 2, beacon: { enabled: true } })
  t.ok(diagnosis.beacon.heard > 0 && diagnosis.beacon.sent > 0)
  t.strictSame(
    Object.values(diagnosis.rejected).filter((count) => count > 0),
    [],
  )
})

t.test('another secret on the same port and group sees nobody, and is counted as a stranger', async (t) => {
  const branch = await openBranch(t)
  const other = await openBranch(t)
  const stranger = await other.open({ beaconPort: branch.beaconPort })
  const networks = [await branch.open(), await branch.open()]
  await until(networks, () => isMeshed(networks))
  stranger.refresh() // sends another
  while (!networks.every((network) => network.diagnose().beacon.strangers > 0)) await setImmediate()
  t.equal(stranger.peers().length, 0)
  t.equal(stranger.diagnose().beacon.heard, 0)
})

t.test('the agent that started first may die: the others stay, and a newcomer meshes with them', async (t) => {
  const branch = await openBranch(t)
  const first = await branch.open()
  const rest = [await branch.open(), await branch.open()]
  await until([first, ...rest], () => isMeshed([first, ...rest]))
  const left = Promise.all(rest.map((network) => new Promise((resolve) => network.on('leave', resolve))))
  await first.close()
  await left
  t.ok(isMeshed(rest), 'those that remain keep their sessions')
  const newcomer = await branch.open()
  await until([newcomer, ...rest], () => isMeshed([newcomer, ...rest]))
  t.equal(newcomer.peers().length, 2)
})

t.test('static peers serve where there is no beacon, also one that starts later', async (t) => {
  const branch = await openBranch(t)
  const a = await branch.open({ beacon: false })
  const b = await branch.open({ beacon: false, staticPeers: [`127.0.0.1:${a.dhtPort}`] })
  const c = await branch.open({ beacon: false, staticPeers: [`localhost:${a.dhtPort}`, '127.0.0.1:1'] })
  await until([a, b, c], () => isMeshed([a, b, c]))
  t.equal(a.diagnose().beacon.enabled, false)
  // Its port is known before it is there.
  const port = a.dhtPort
  await a.close()
  const again = await branch.open({ beacon: false, dhtPort: port })
  await until([again, b, c], () => isMeshed([again, b, c]))
  t.equal(again.dhtPort, port)
})

t.test('messages arrive whole, in order and from the key that sent them', async (t) => {
  const branch = await openBranch(t)
  const [a, b, c] = [await branch.open(), await branch.open(), await branch.open()]
  await until([a, b, c], () => isMeshed([a, b, c]))
  const resource = 'ab'.repeat(32) as ResourceKey
  const sent: Message[] = [
    { type: 'interest', location: 'cd'.repeat(32) as LocationKey, resource: null, isWanted: true },
    ...Array.from(
      { length: 200 },
      (_, i): Message => ({
        type: 'gone',
        resource,
        ranges: Array.from({ length: 1 + 20 * i }, (_, k) => ({ start: 2 * k + i, end: 2 * k + i + 1 })),
      }),
    ),
    { type: 'manifest-request', resource, firstIndex: 3 },
  ]
  const received: Message[] = []
  const stop = b.on('message', (peer, message) => {
    t.equal(peer.key, a.key)
    received.push(message)
  })
  for (const message of sent) t.ok(a.send(b.key, message))
  await until([b], () => received.length === sent.length)
  assert.deepStrictEqual(received, sent)
  stop()
  const heard: AgentKey[] = []
  for (const network of [b, c]) network.on('message', () => heard.push(network.key))
  t.equal(a.broadcast({ type: 'manifest-request', resource, firstIndex: 4 }), 2)
  await until([b, c], () => heard.length === 2)
  t.strictSame(heard.sort(), [b.key, c.key].sort())
  t.equal(received.length, sent.length, 'who stopped listening hears no more')
  t.equal(a.send('00'.repeat(32) as AgentKey, { type: 'manifest-request', resource, firstIndex: 0 }), false)
})

t.test('the lane offer reaches the peer, and ends with the session', async (t) => {
  const branch = await openBranch(t)
  const offered = new Map<AgentKey, { identity: Buffer; psk: Buffer }>()
  const revoked: AgentKey[] = []
  const serving = await branch.open({
    lane: {
      port: 4711,
      offerFor(peer) {
        const offer = { identity: crypto.randomBytes(16), psk: crypto.randomBytes(32) }
        offered.set(peer, offer)
        return offer
      },
      revoke: (peer) => revoked.push(peer),
    },
  })
  const peer = await branch.open()
  await until([serving, peer], () => isMeshed([serving, peer]))
  const lane = peer.peers()[0]?.lane
  t.strictSame(lane, { host: '127.0.0.1', port: 4711, ...offered.get(peer.key) })
  const left = new Promise((resolve) => serving.on('leave', resolve))
  await peer.close()
  await left
  t.ok(revoked.includes(peer.key))
})

t.test('through a rotation agents of every stage keep meeting, and the old secret ends with its window', async (t) => {
  const branch = await openBranch(t)
  const fresh = crypto.randomBytes(32)
  let nowMs = 0
  const clock = {
    ...systemClock,
    nowMs: () => nowMs,
    monotonicMs: () => systemClock.monotonicMs(),
    sleep: systemClock.sleep.bind(systemClock),
  }
  const old = deriveBranchKeys(branch.secret)
  const both = deriveBranchKeys(fresh, {
    previous: { secret: branch.secret, validUntilMs: 1000 },
    wireKey: old.wireKey,
  })
  const behind = await branch.open({ hostName: 'behind' }, { keys: old, clock })
  const middle = await branch.open({ hostName: 'middle' }, { keys: old, clock })
  await until([behind, middle], () => isMeshed([behind, middle]))
  const kept = middle.peers()[0]?.connectedAtMonotonicMs
  middle.setKeys(both) // the file arrived there
  const ahead = await branch.open(
    { hostName: 'ahead' },
    { keys: deriveBranchKeys(fresh, { wireKey: old.wireKey }), clock },
  )
  await until([middle, ahead], () => sees(middle, [behind, ahead]) && sees(ahead, [middle]))
  t.equal(middle.peers().find(({ key }) => key === behind.key)?.connectedAtMonotonicMs, kept, 'no session was cut')
  t.equal(sees(ahead, [behind]), false, 'old only and new only are strangers')

  behind.setKeys(both)
  await until([behind, middle, ahead], () => isMeshed([behind, middle, ahead]))
  const laggard = await branch.open({ hostName: 'laggard' }, { keys: old, clock })
  await until([laggard, middle, behind], () => sees(laggard, [middle, behind]))
  nowMs = 1000 // the window ends
  await until([laggard], () => laggard.peers().length === 0)
  await until([behind, middle, ahead], () => isMeshed([behind, middle, ahead]))
  t.equal(sees(middle, [laggard]), false)
})

t.test('a key that is not on the roster is refused, although it knows the secret', async (t) => {
  const branch = await openBranch(t)
  const keyPair = crypto.keyPair()
  const friend = await branch.open({}, { keyPair })
  const guarded = await branch.open({ roster: [friend.key] })
  const uninvited = await branch.open()
  await until([guarded, friend, uninvited], () => sees(guarded, [friend]) && sees(uninvited, [friend]))
  while (guarded.diagnose().rejected.roster === 0) await setImmediate()
  t.strictSame(
    guarded.peers().map(({ key }) => key),
    [friend.key],
  )
  t.notOk(sees(uninvited, [guarded]))
})

t.test('a plain hyperswarm client on the topic, without the secret, is closed and told nothing', async (t) => {
  const branch = await openBranch(t)
  const offers: AgentKey[] = []
  const lane = {
    port: 1,
    offerFor(peer: AgentKey) {
      offers.push(peer)
      return { identity: crypto.randomBytes(16), psk: crypto.randomBytes(32) }
    },
    revoke: () => {},
  }
  const network = await branch.open({ lane })
  const dht = new DHT({
    bootstrap: [{ host: '127.0.0.1', port: network.dhtPort }],
    host: '127.0.0.1',
    port: [0, 0],
    firewalled: false,
  })
  const swarm = new Hyperswarm({ dht, keyPair: crypto.keyPair() })
  t.teardown(() => swarm.destroy())
  const frames: Buffer[] = []
  const closed = new Promise((resolve) => {
    swarm.on('connection', (connection) => {
      connection.on('error', () => {})
      connection.on('close', resolve)
      connection.on('data', (frame: Buffer) => {
        frames.push(frame)
        connection.write(frame) // gives back what it gets: our own proof
      })
    })
  })
  await swarm.join(deriveBranchKeys(branch.secret).topic).flushed()
  network.refresh() // now the stranger is to be found
  await closed
  while (network.diagnose().rejected.notMember === 0) await setImmediate()
  t.equal(frames.length, 1, 'our proof, and nothing else')
  t.ok((frames[0]?.byteLength ?? 0) < 100)
  t.strictSame(offers, [])
  t.strictSame(network.peers(), [])
})

t.test('ports: a daemon says that its port is taken, an embedded agent takes another', async (t) => {
  const branch = await openBranch(t)
  const first = await branch.open()
  await t.rejects(branch.open({ dhtPort: first.dhtPort }), { code: 'SHORTHAUL_PORT_IN_USE' })
  const embedded = await branch.open({ dhtPort: first.dhtPort, dhtPortFallback: true })
  t.not(embedded.dhtPort, first.dhtPort)
  // The second of the two ports may be the one that is taken.
  const socket = createSocket('udp4').bind(0, '127.0.0.1')
  await once(socket, 'listening')
  await t.rejects(branch.open({ dhtPort: socket.address().port - 1 }), { code: 'SHORTHAUL_PORT_IN_USE' })
  socket.close()
  await t.rejects(branch.open({ interface: 'no-such-interface0' }), { code: 'SHORTHAUL_NETWORK_INTERFACE' })
  await t.rejects(branch.open({ staticPeers: ['a:b:c'] }), { code: 'SHORTHAUL_CONFIG_INVALID' })
  await t.rejects(branch.open({ localPrefixes: ['10.0.0.0/33'] }), { code: 'SHORTHAUL_CONFIG_INVALID' })
})

t.test('a peer that is killed while in use is noticed by the silence', async (t) => {
  const branch = await openBranch(t)
  const network = await branch.open({ beacon: false })
  const path = fileURLToPath(new URL('agent-child.ts', import.meta.url))
  const args = [TS_IMPORT, path, branch.secret.toString('hex'), `127.0.0.1:${network.dhtPort}`]
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => void child.kill('SIGKILL'))
  await until([network], () => network.peers().length === 1)
  const [peer] = network.peers()
  if (peer === undefined) throw new Error('no peer')
  network.setInUse(peer.key, true)
  const left = new Promise((resolve) => network.on('leave', (gone, reason) => resolve([gone.key, reason])))
  child.kill('SIGKILL')
  // 'silent' is ours; hyperdht's own deadline would make it 'closed', after 13 s and more.
  t.strictSame(await left, [peer.key, 'silent'])
})

t.test('an address that changes restarts everything on the new one', async (t) => {
  const branch = await openBranch(t)
  const addresses = { now: '127.0.0.1' }
  const interfaces = () => ({
    lan0: [
      {
        address: addresses.now,
        netmask: '255.0.0.0',
        family: 'IPv4' as const,
        mac: '00:00:00:00:00:00',
        internal: false,
        cidr: `${addresses.now}/8`,
      },
    ],
  })
  const moving = await branch.open({ interface: 'lan0' }, { interfaces })
  const other = await branch.open()
  await until([moving, other], () => isMeshed([moving, other]))
  const reasons: string[] = []
  moving.on('leave', (_, reason) => reasons.push(reason))
  addresses.now = '127.0.0.2'
  await until([moving, other], () => reasons.length > 0)
  await until([moving, other], () => isMeshed([moving, other]) && other.peers()[0]?.address === '127.0.0.2')
  t.strictSame(reasons, ['network-changed'])
  t.equal(moving.address, '127.0.0.2')
})

t.test('close() is idempotent, and silent for the listeners', async (t) => {
  const branch = await openBranch(t)
  const [a, b] = [await branch.open(), await branch.open()]
  await until([a, b], () => isMeshed([a, b]))
  let calls = 0
  a.on('leave', () => calls++)
  await Promise.all([a.close(), a.close()])
  t.equal(calls, 0)
  t.strictSame(a.peers(), [])
  t.equal(a.broadcast({ type: 'manifest-request', resource: 'ab'.repeat(32) as ResourceKey, firstIndex: 0 }), 0)
  t.ok(options({}).beacon)
})
