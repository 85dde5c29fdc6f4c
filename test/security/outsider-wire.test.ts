/** What somebody sees who records all of the branch's network while one agent fetches from another. */
import { readFileSync } from 'node:fs'
import { hostname } from 'node:os'
import t from 'tap'
import { locationKey } from '../../src/content/resource.ts'
import { deriveBranchKeys } from '../../src/peers/branch-keys.ts'
import { AgentHost, expectDone, writeBranchSecret } from '../lab/agent-host.ts'
import { generate, pathOf } from '../lab/generated-content.ts'
import { LAB_TEST_TIMEOUT_MS, Lab, labProblem } from '../lab/lab.ts'
import { OriginHost } from '../lab/origin-host.ts'
import { type Packet, startCapture } from './capture.ts'

const skip = labProblem() ?? false
const SEED = 77
const LENGTH = 3 * 2 ** 20 + 4321
const SAMPLE_BYTES = 24

t.setTimeout(LAB_TEST_TIMEOUT_MS)

void t.test('who records everything learns neither content, nor names, nor secrets', { skip }, async (t) => {
  const lab = await Lab.up({ hosts: 2, downMbit: 500, upMbit: 500, delayUs: 1000 })
  t.teardown(() => lab.close())
  const capture = await startCapture(lab)
  const [origin, secretFile] = await Promise.all([OriginHost.start(lab), writeBranchSecret(lab, 'marked-branch')])
  const config = { branch: { secretFile, name: 'a-branch-with-a-name' }, serve: { enabled: true } }
  const [first, second] = await Promise.all([1, 2].map((host) => AgentHost.create(lab, host, { secretFile, config })))
  if (!first || !second) throw new Error('two agents were made')
  await Promise.all([first.startDaemon(), second.startDaemon()])
  const url = origin.url(SEED, LENGTH)
  expectDone(await first.fetch(url, { target: 'file' }))
  await second.waitForPeers(1)
  const done = expectDone(await second.fetch(url, { target: 'file' }))
  t.match(done.sources, { peer: LENGTH, origin: 0 })
  const keys = await Promise.all([first, second].map(async (agent) => (await agent.keys()).own))
  const packets = await capture.stop()

  const isOfOrigin = ({ from, to }: Packet) => from === lab.originAddress || to === lab.originAddress
  const together = (some: readonly Packet[]) => Buffer.concat(some.map(({ payload }) => payload))
  const wan = together(packets.filter(isOfOrigin))
  const lan = packets.filter((packet) => !isOfOrigin(packet))
  const lane = together(lan.filter(({ protocol }) => protocol === 'tcp'))
  const datagrams = together(lan.filter(({ protocol }) => protocol === 'udp'))
  t.ok(lane.byteLength > LENGTH, `${lane.byteLength} bytes over TCP between neighbours`)
  t.ok(datagrams.byteLength > 5000, `${datagrams.byteLength} bytes over UDP`)

  const content = Buffer.concat([...generate({ seed: SEED, bytes: LENGTH, generation: 1 }, 0, LENGTH)])
  const samples = Array.from({ length: 300 }, (_, at) => at * Math.floor(LENGTH / 301)).map((start) =>
    content.subarray(start, start + SAMPLE_BYTES),
  )
  const seen = (where: Buffer) => samples.filter((sample) => where.includes(sample)).length
  // Plain http to the origin is plain: what we look for can be found.
  t.ok(seen(wan) > 250, `${seen(wan)} of 300 samples on the way from the origin`)
  t.ok(wan.includes(pathOf(SEED, LENGTH)))
  t.equal(seen(lane), 0)
  t.equal(seen(datagrams), 0)

  const secretText = readFileSync(secretFile, 'utf8').trim()
  const secret = Buffer.from(secretText, 'base64')
  const { proofKey, beaconKey, wireKey } = deriveBranchKeys(secret)
  const hidden: [what: string, bytes: Buffer | string][] = [
    ['the path of the URL', pathOf(SEED, LENGTH)],
    ['the address of the origin', lab.originAddress],
    ['the key of the location', Buffer.from(locationKey(wireKey, url, ''), 'hex')],
    ['the name of the branch', 'a-branch-with-a-name'],
    ['the branch secret', secret],
    ['the proof key', proofKey],
    ['the beacon key', beaconKey],
    ['the wire key', wireKey],
    ['the SHA-256 of the content', Buffer.from(done.sha256, 'hex')],
    ['a request of the lane', 'GET /segments'],
    ['the protocol of sessions', 'shorthaul/1'],
    ['the name of a host', hostname().length > 5 ? hostname() : 'no-host-name-to-look-for'],
  ]
  for (const [what, bytes] of hidden) {
    const forms =
      typeof bytes === 'string'
        ? [Buffer.from(bytes)]
        : [bytes, Buffer.from(bytes.toString('hex')), Buffer.from(bytes.toString('base64'))]
    for (const form of forms) t.notOk(lane.includes(form) || datagrams.includes(form), what)
  }
  // The DHT tells keys and addresses of agents to whoever asks: that is what it is for. Beacons and the lane do not.
  const beacons = together(
    lan.filter(({ payload, protocol }) => protocol === 'udp' && payload.subarray(0, 3).equals(Buffer.from('SHB'))),
  )
  t.ok(beacons.byteLength > 0)
  for (const key of keys) {
    const bytes = Buffer.from(key, 'hex')
    t.notOk(lane.includes(bytes) || lane.includes(key), 'the lane does not say who serves whom')
    t.notOk(beacons.includes(bytes), 'a beacon does not say who sends it')
  }
})
