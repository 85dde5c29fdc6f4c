import crypto from 'hypercore-crypto'
import t from 'tap'
import { seededRandom } from '../../src/clock.ts'
import { BeaconBook } from '../../src/peers/beacon-book.ts'
import { BEACON_BYTES, type Beacon, decodeBeacon, encodeBeacon } from '../../src/peers/beacon-codec.ts'
import { deriveBranchKeys, secretsInForce } from '../../src/peers/branch-keys.ts'
import { chooseInterface, LocalPrefixes } from '../../src/peers/interfaces.ts'
import {
  isProofValid,
  membershipProof,
  membershipProofs,
  PROOFS_BYTES,
  provedKeys,
} from '../../src/peers/membership.ts'
import { Pulse } from '../../src/peers/pulse.ts'
import { parseStaticPeers } from '../../src/peers/static-peers.ts'

t.test('keys of a branch depend on the secret alone, and none is another or the secret', async (t) => {
  const secret = Buffer.alloc(32, 9)
  const keys = deriveBranchKeys(secret)
  t.strictSame(keys, deriveBranchKeys(Buffer.from(secret)))
  const { previous, ...own } = keys
  t.equal(previous, null)
  const all = [secret, ...Object.values(own)].map((key: Buffer) => key.toString('hex'))
  t.equal(new Set(all).size, 5)
  t.ok(all.every((key) => key.length === 64))
  t.not(deriveBranchKeys(Buffer.alloc(32, 8)).topic.toString('hex'), keys.topic.toString('hex'))
  t.throws(() => deriveBranchKeys(Buffer.alloc(31)), { code: 'SHORTHAUL_SECRET_INVALID' })
})

t.test('a proof holds for one key, one session and one role', async (t) => {
  const [proofKey, handshakeHash] = [crypto.randomBytes(32), crypto.randomBytes(64)]
  const session = { handshakeHash, isInitiator: true }
  const proof = membershipProof(proofKey, session)
  t.equal(isProofValid(proof, { proofKey, session }), true)
  t.equal(isProofValid(proof, { proofKey, session: { ...session, isInitiator: false } }), false)
  t.equal(isProofValid(proof, { proofKey, session: { ...session, handshakeHash: crypto.randomBytes(64) } }), false)
  t.equal(isProofValid(proof, { proofKey: crypto.randomBytes(32), session }), false)
  t.equal(isProofValid(Buffer.concat([proof, proof]), { proofKey, session }), false)
})

t.test('through a rotation the wire key stays, and the old secret is in force until its window ends', async (t) => {
  const [old, fresh] = [Buffer.alloc(32, 1), Buffer.alloc(32, 2)]
  const before = deriveBranchKeys(old)
  const options = { previous: { secret: old, validUntilMs: 1000 }, wireKey: before.wireKey }
  const keys = deriveBranchKeys(fresh, options)
  t.strictSame(keys.wireKey, before.wireKey)
  const topics = (nowMs: number) => secretsInForce(keys, nowMs).map(({ topic }) => topic)
  t.strictSame(topics(999), [deriveBranchKeys(fresh).topic, before.topic], 'newest first')
  t.strictSame(topics(1000), [deriveBranchKeys(fresh).topic])
})

t.test('proofs have one size, and show exactly the keys that both ends hold', async (t) => {
  const [old, fresh, other] = [crypto.randomBytes(32), crypto.randomBytes(32), crypto.randomBytes(32)]
  const session = { handshakeHash: crypto.randomBytes(64), isInitiator: true }
  const proved = (theirs: Buffer[], ours: Buffer[]) => {
    const proofs = membershipProofs(theirs, session)
    t.equal(proofs.byteLength, PROOFS_BYTES)
    return provedKeys(proofs, { proofKeys: ours, session })
  }
  t.strictSame(proved([old], [old]), [old])
  t.strictSame(proved([fresh, old], [old]), [old])
  t.strictSame(proved([old], [fresh, old]), [old])
  t.strictSame(proved([fresh, old], [fresh, old]), [fresh, old])
  t.strictSame(proved([fresh], [fresh, old]), [fresh])
  t.strictSame(proved([old], [fresh]), [], 'old only and new only are strangers')
  t.strictSame(proved([other], [fresh, old]), [])
  const proofs = membershipProofs([old], session)
  t.strictSame(provedKeys(proofs, { proofKeys: [old], session: { ...session, isInitiator: false } }), [], 'reflected')
  t.strictSame(provedKeys(proofs.subarray(0, 32), { proofKeys: [old], session }), [], 'of another length')
  t.notSame(membershipProofs([old], session).subarray(32), proofs.subarray(32), 'the empty place tells nothing')
})

const KEY = Buffer.alloc(32, 4)
const BEACON: Beacon = {
  address: '192.168.7.30',
  bootstrapPort: 17736,
  instance: Buffer.from('0102030405060708', 'hex'),
  sequence: 4_000_000_000,
  wantsAnswer: true,
}

t.test('a beacon survives encoding, has a fixed size, and any changed bit makes it a stranger', async (t) => {
  const bytes = encodeBeacon(KEY, BEACON)
  t.equal(bytes.byteLength, BEACON_BYTES)
  t.strictSame(decodeBeacon(KEY, bytes), BEACON)
  t.equal(decodeBeacon(Buffer.alloc(32, 5), bytes), null)
  for (let bit = 0; bit < BEACON_BYTES * 8; bit++) {
    const changed = Buffer.from(bytes)
    changed.writeUInt8(changed.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3)
    if (decodeBeacon(KEY, changed) !== null) t.fail(`bit ${bit} is not under the MAC`)
  }
  t.equal(decodeBeacon(KEY, bytes.subarray(1)), null)
  t.equal(decodeBeacon(KEY, Buffer.concat([bytes, Buffer.alloc(1)])), null)
  t.equal(decodeBeacon(KEY, encodeBeacon(KEY, { ...BEACON, bootstrapPort: 0 })), null)
})

t.test('the beacon book knows replays, moves and the dead, and stays bounded', async (t) => {
  const book = new BeaconBook()
  t.equal(book.hear(BEACON, 0), 'new')
  t.equal(book.hear(BEACON, 1), 'replay')
  t.equal(book.hear({ ...BEACON, sequence: BEACON.sequence - 1 }, 1), 'replay')
  t.equal(book.hear({ ...BEACON, sequence: BEACON.sequence + 1 }, 1), 'known')
  t.equal(book.hear({ ...BEACON, sequence: BEACON.sequence + 2, address: '192.168.7.31' }, 2), 'new')
  t.strictSame(
    book.agents(3).map(({ address }) => address),
    ['192.168.7.31'],
  )
  t.strictSame(book.agents(3 + 120_000), [])
  for (let i = 0; i < 5000; i++) {
    const instance = Buffer.alloc(8)
    instance.writeUInt32BE(i)
    book.hear({ ...BEACON, instance }, 200_000)
  }
  t.equal(book.agents(200_000).length, 1024)
})

t.test('a newcomer gets a few answers, however many agents hear it, and idle agents speak less often', async (t) => {
  const random = seededRandom(7)
  for (const agents of [1, 2, 10, 100, 1000]) {
    const book = new BeaconBook()
    for (let i = 0; i < agents; i++) {
      const instance = Buffer.alloc(8)
      instance.writeUInt32BE(i)
      book.hear({ ...BEACON, instance }, 0)
    }
    let answers = 0
    for (let round = 0; round < 50; round++) {
      for (let i = 0; i < agents; i++) {
        const delayMs = book.answerDelayMs(random)
        if (delayMs === null) continue
        answers++
        if (delayMs > 200) t.fail(`an answer after ${delayMs} ms`)
      }
    }
    const perNewcomer = answers / 50
    t.ok(perNewcomer >= Math.min(agents, 3) && perNewcomer <= 5, `${agents} agents give ${perNewcomer} answers`)
  }
  const quiet = new BeaconBook()
  const intervals = Array.from({ length: 12 }, () => quiet.nextIntervalMs(() => 0.5))
  t.ok((intervals[0] ?? 0) < 10_000)
  t.ok(Math.abs((intervals.at(-1) ?? 0) - 30_000) < 1)
  quiet.hear(BEACON, 0)
  t.ok(Math.abs(quiet.nextIntervalMs(() => 0.5) - 5000) < 1, 'news make them quicker again')
})

function entry(address: string, bits: number, internal = false) {
  const cidr = `${address}/${bits}`
  return { address, netmask: '', family: 'IPv4' as const, mac: '00:00:00:00:00:00', internal, cidr }
}

t.test('the interface is the LAN, not a container, a tunnel or loopback', async (t) => {
  const lo = { lo: [entry('127.0.0.1', 8, true)] }
  const others = {
    docker0: [entry('172.17.0.1', 16)],
    wg0: [entry('10.9.0.2', 24)],
    tailscale0: [entry('100.64.0.1', 32)],
  }
  const lan = { enp3s0: [entry('10.1.2.3', 24)] }
  t.equal(chooseInterface({ ...lo, ...others, ...lan }, null)?.address, '10.1.2.3')
  t.equal(chooseInterface({ ...lo, ...others }, null)?.name, 'lo', 'nothing else is up')
  t.equal(chooseInterface({ ...lo, ...others, ...lan }, 'wg0')?.address, '10.9.0.2', 'the user knows better')
  t.equal(chooseInterface({ ...lo, ...others, ...lan }, '172.17.0.1')?.name, 'docker0')
  t.equal(chooseInterface({ ...lo, ...lan }, 'eth9'), null)
  t.equal(chooseInterface({}, null), null)
  t.equal(
    chooseInterface({ eth0: [entry('169.254.3.4', 16)], ...lan }, null)?.name,
    'enp3s0',
    'DHCP failed on the other',
  )
  t.strictSame(chooseInterface({ eth0: [entry('169.254.3.4', 16)], ...lo }, null)?.address, '169.254.3.4')
})

t.test('local is what the subnet or a listed prefix contains', async (t) => {
  const prefixes = new LocalPrefixes(['10.1.2.3/24', '192.168.0.0/16', '172.16.5.5'])
  const local = ['10.1.2.250', '192.168.77.1', '172.16.5.5']
  const remote = ['10.1.3.1', '172.16.5.6', '8.8.8.8', '', '::1']
  t.ok(local.every((address) => prefixes.contains(address)))
  t.notOk(remote.some((address) => prefixes.contains(address)))
  for (const bad of ['10.0.0.0/33', '10.0.0/8', 'lan', '10.0.0.0/8/8', '10.0.0.0/', '::/0']) {
    t.throws(() => new LocalPrefixes([bad]), { code: 'SHORTHAUL_CONFIG_INVALID' }, bad)
  }
})

t.test('static peers are hosts with or without a port', async (t) => {
  t.strictSame(parseStaticPeers(['10.0.0.1', 'agent.example:99']), [
    { host: '10.0.0.1', port: 17736 },
    { host: 'agent.example', port: 99 },
  ])
  for (const bad of ['', ':1', 'a:0', 'a:65536', 'a:b', 'a:1:2', 'a b', '-a']) {
    t.throws(() => parseStaticPeers([bad]), { code: 'SHORTHAUL_CONFIG_INVALID' }, bad)
  }
})

t.test('a peer in use is pinged every second and dead after 2.5 s of silence, an idle one after 15 s', async (t) => {
  /** Looks every 250 ms; answers nothing. */
  const watch = (pulse: Pulse, fromMs: number) => {
    const pings: number[] = []
    for (let nowMs = fromMs; ; nowMs += 250) {
      const found = pulse.look(nowMs, 2000)
      if (found === 'dead') return { pings, deadAtMs: nowMs }
      if (found !== 'ping') continue
      pings.push(nowMs)
      pulse.pinged(String(nowMs), nowMs)
    }
  }
  t.strictSame(watch(new Pulse(0), 0), { pings: [0, 5000, 10_000], deadAtMs: 15_000 })
  const inUse = new Pulse(0)
  inUse.setInUse(true, 0)
  t.strictSame(watch(inUse, 0), { pings: [0, 1000, 2000], deadAtMs: 2500 })
  const late = new Pulse(0)
  for (let nowMs = 0; nowMs < 9000; nowMs += 250) late.look(nowMs, 2000)
  late.setInUse(true, 9000)
  t.equal(watch(late, 9000).deadAtMs, 11_500, 'the short deadline counts from the change')
})

t.test('a process that stood still itself does not call its peers dead', async (t) => {
  const pulse = new Pulse(0)
  pulse.setInUse(true, 0)
  t.equal(pulse.look(60_000, 2000), 'ping', 'the laptop slept')
  t.equal(pulse.look(60_250, 2000), 'dead', 'still nothing, on time')
  const alive = new Pulse(0)
  alive.look(60_000, 2000)
  alive.heard(60_001)
  t.not(alive.look(60_250, 2000), 'dead')
})

t.test('the round trip is the smallest of the last, and only of pings that were sent', async (t) => {
  const pulse = new Pulse(0)
  t.equal(pulse.rttMs, null)
  pulse.ponged('forged', 1)
  t.equal(pulse.rttMs, null)
  for (const [nonce, sentAtMs, gotAtMs] of [
    ['a', 0, 9],
    ['b', 10, 13],
    ['c', 20, 40],
  ] as const) {
    pulse.pinged(nonce, sentAtMs)
    pulse.ponged(nonce, gotAtMs)
  }
  pulse.ponged('b', 10.5)
  t.equal(pulse.rttMs, 3)
  for (let i = 0; i < 8; i++) {
    pulse.pinged(`d${i}`, 100)
    pulse.ponged(`d${i}`, 120)
  }
  t.equal(pulse.rttMs, 20, 'old samples go: the path may have changed')
})
