/** The beacon: anybody on the network can send it, and a member can sign whatever bytes. */
import crypto from 'hypercore-crypto'
import { BeaconBook } from '../../../src/peers/beacon-book.ts'
import { BEACON_BYTES, type Beacon, decodeBeacon, encodeBeacon } from '../../../src/peers/beacon-codec.ts'
import { Seeded } from '../kit/seeded.ts'
import { type FuzzTarget, must, toBuffer } from '../kit/target.ts'

const KEY = Buffer.alloc(32, 7)
const BODY_BYTES = 32
const MAX_AGENTS = 1024
/** 5 s to 30 s, a fifth more or less. */
const MIN_INTERVAL_MS = 4000
const MAX_INTERVAL_MS = 36_000

function beacon(random: Seeded): Beacon {
  return {
    address: [...random.bytes(4)].join('.'),
    bootstrapPort: random.between(1, 65_535),
    instance: random.bytes(8),
    sequence: random.u32(),
    wantsAnswer: random.chance(0.5),
  }
}

function signed(datagram: Buffer): Buffer {
  if (datagram.byteLength < BODY_BYTES) return datagram
  const body = datagram.subarray(0, BODY_BYTES)
  return Buffer.concat([body, crypto.hash([KEY, body])])
}

const SEEDS = [1, 2].map((seed) => encodeBeacon(KEY, beacon(new Seeded(seed))))

export const beaconTarget: FuzzTarget = {
  name: 'beacon',
  covers: ['peers/beacon-codec'],
  seeds: SEEDS,
  maxBytes: 128,
  generate: (random) => encodeBeacon(KEY, beacon(random)),
  repair: signed,
  run(input) {
    const decoded = decodeBeacon(KEY, input)
    if (decoded === null) return 'refused'
    must(input.byteLength === BEACON_BYTES, 'a beacon of another length')
    must(decoded.bootstrapPort > 0, 'a beacon without port')
    must(encodeBeacon(KEY, decoded).equals(toBuffer(input)), 'a beacon that no member would have sent')
    return 'accepted'
  },
}

/** Each 32 bytes are the body of a beacon, heard after so many seconds as its byte 24 says. */
export const beaconBookTarget: FuzzTarget = {
  name: 'beacon-book',
  testRuns: { count: 6000, why: 'each is many beacons' },
  covers: ['peers/beacon-book'],
  seeds: [Buffer.concat(SEEDS.map((seed) => seed.subarray(0, BODY_BYTES)))],
  maxBytes: 64 * BODY_BYTES,
  // The signature of each, and what is decoded.
  maxAllocatedBytes: (input) => 64 * 1024 + 64 * input.byteLength,
  generate(random) {
    const instances = [random.bytes(8), random.bytes(8), random.bytes(8)] as const
    const bodies = Array.from({ length: 1 + random.below(64) }, () => {
      const made = { ...beacon(random), sequence: random.below(8) }
      const body = encodeBeacon(KEY, random.chance(0.7) ? { ...made, instance: random.pick(instances) } : made)
      body[24] = random.below(40)
      return body.subarray(0, BODY_BYTES)
    })
    return Buffer.concat(bodies)
  },
  run(input) {
    const book = new BeaconBook()
    const last = new Map<string, number>()
    const random = new Seeded(input.byteLength)
    const chance = () => random.u32() / 2 ** 32
    let nowMs = 0
    let heardCount = 0
    for (let at = 0; at + BODY_BYTES <= input.byteLength; at += BODY_BYTES) {
      const body = Buffer.from(input.subarray(at, at + BODY_BYTES))
      nowMs += (body[24] ?? 0) * 1000
      body[24] = 0
      const heard = decodeBeacon(KEY, signed(body))
      if (heard === null) continue
      heardCount++
      const instance = heard.instance.toString('hex')
      const known = book.agents(nowMs).some((agent) => agent.instance === instance) ? last.get(instance) : undefined
      const news = book.hear(heard, nowMs)
      must((news === 'replay') === (known !== undefined && heard.sequence <= known), `${news} of a replay or not`)
      if (news !== 'replay') last.set(instance, heard.sequence)
      const agents = book.agents(nowMs)
      must(agents.length <= MAX_AGENTS, `${agents.length} agents are remembered`)
      must(new Set(agents.map((agent) => agent.instance)).size === agents.length, 'an agent twice')
      const intervalMs = book.nextIntervalMs(chance)
      must(intervalMs >= MIN_INTERVAL_MS && intervalMs <= MAX_INTERVAL_MS, `a pause of ${intervalMs} ms`)
      const answerMs = book.answerDelayMs(chance)
      must(answerMs === null || (answerMs >= 0 && answerMs <= 200), `an answer after ${answerMs} ms`)
    }
    return heardCount > 0 ? 'accepted' : 'refused'
  },
}
