/**
 * Strangers that begin and do not end: thousands of handshakes with the DHT nodes of an agent, and bytes by chance. Agents and
 * strangers are processes of their own on loopback. How many handshakes are let in is test/peers/handshake-gate.test.ts.
 */
import { randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import type { Test } from 'tap'
import { startTestOrigin } from '../support/test-origin.ts'
import { AgentChild, Child, until } from './child.ts'

const MIB = 2 ** 20
const LENGTH = 3 * MIB + 17
const MAX_GROWTH_BYTES = 50 * MIB
/** Of the heap, when all is over: what a fetch and two sessions leave. */
const MAX_REMAINING_BYTES = 8 * MIB

/** Under tap's own limit for a file. */
export const HALF_OPEN_TIMEOUT_MS = 115_000
export const ONE = ['127.0.0.9']
/** Too many for the bound of each, so that the bound for all is what holds. */
export const MANY = Array.from({ length: 200 }, (_, at) => `127.0.1.${at + 1}`)
export const skip = process.platform !== 'linux' && 'only Linux has all of 127/8'

export interface Attack {
  readonly count: number
  readonly way: 'direct' | 'relayed' | 'garbage'
  readonly from: readonly string[]
  /** Of its two nodes, the one that is for strangers, or the one that neighbours look for each other by. */
  readonly at: 'node' | 'bootstrapper'
  /** Whether a newcomer gets in meanwhile, and not only those that are there stay. */
  readonly canComeIn: boolean
}

export async function withstands(t: Test, { count, way, from, at, canComeIn }: Attack): Promise<void> {
  const dir = t.testdir()
  const secretFile = join(dir, 'secret')
  writeFileSync(secretFile, `${randomBytes(32).toString('base64')}\n`, { mode: 0o600 })
  const attacked = await AgentChild.start(t, { dir: join(dir, 'a'), secretFile })
  const join_ = async (name: string) => {
    const agent = await AgentChild.start(t, {
      dir: join(dir, name),
      secretFile,
      config: { 'network.peers': [attacked.address] },
    })
    await until(async () => (await agent.look()).peers > 0)
    return agent
  }
  const neighbour = await join_('b')
  const origin = await startTestOrigin()
  t.teardown(() => origin.close())
  const url = origin.serve(`/${way}-${at}`, { seed: 1, lengthBytes: LENGTH })
  t.match(await attacked.fetch(url, { target: 'own' }), { sources: { origin: LENGTH } })
  const before = await attacked.look()

  const { key, dhtPort, bootstrapPort } = attacked.ready
  const port = at === 'node' ? dhtPort : bootstrapPort
  const stranger = Child.start(t, 'half-open-child.ts', [key, String(port), String(count), way, from.join(',')])
  let isOver = false
  const over = stranger.next<{ sentBytes: number; backBytes: number }>().finally(() => {
    isOver = true
  })
  let peakBytes = 0
  const watch = async () => {
    const found = await attacked.look()
    peakBytes = Math.max(peakBytes, found.residentBytes)
    return found
  }
  // Without the origin it has to come from the agent that is attacked.
  const fromPeers = { sources: { cache: 0, peer: LENGTH, origin: 0 } }
  t.same(await neighbour.fetch(url, { target: 'got', useOrigin: false }), fromPeers, 'a neighbour fetches meanwhile')
  if (canComeIn) {
    const newcomer = await join_('c')
    t.same(await newcomer.fetch(url, { target: 'got', useOrigin: false }), fromPeers, 'so does one that came meanwhile')
  }
  stranger.tell('enough')
  while (!isOver) {
    await watch()
    await setTimeout(200)
  }
  const { sentBytes, backBytes } = await over
  t.ok(backBytes < sentBytes, `${backBytes} bytes came back for ${sentBytes}`)
  await until(async () => {
    const { connections, peers, heapBytes } = await watch()
    return connections === peers && peers > 0 && heapBytes - before.heapBytes < MAX_REMAINING_BYTES
  })
  const growthBytes = peakBytes - before.residentBytes
  t.ok(growthBytes < MAX_GROWTH_BYTES, `it had ${Math.round(growthBytes / MIB)} MiB more resident at most`)
}
