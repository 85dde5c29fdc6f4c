/**
 * Agents that fetch one resource together, in virtual time: the real Crowd and Gossip, with an origin, a LAN and messages
 * that cost nothing but the delay that a test gives them. What src/transfer does around them is done here in few words;
 * bench/sim measures, this only checks.
 */
import { type Random, seededRandom } from '../../src/clock.ts'
import type { FetcherState, ToldState } from '../../src/content/fetcher-state.ts'
import { type AgentKey, idFromBytes, type ResourceKey } from '../../src/content/ids.ts'
import { PositionSet } from '../../src/content/position-set.ts'
import { SEGMENT_BYTES } from '../../src/content/segmentation.ts'
import { type Claim, Crowd } from '../../src/swarm/crowd.ts'
import { Gossip } from '../../src/swarm/gossip.ts'
import { Holders } from '../../src/swarm/holders.ts'
import { rankOf } from '../../src/swarm/rank.ts'

export const RESOURCE = idFromBytes<ResourceKey>(Buffer.alloc(32, 9))
export const TICK_MS = 50

/** Keys of agents, lowest rank first. */
export function agentKeys(count: number): AgentKey[] {
  return Array.from({ length: count }, (_, at) => idFromBytes<AgentKey>(Buffer.alloc(32, at + 1))).sort((a, b) =>
    rankOf(RESOURCE, a) < rankOf(RESOURCE, b) ? -1 : 1,
  )
}

/** What an agent says that is ready to fetch and has nothing to do, unless said otherwise. */
export function stateOf(agent: AgentKey, rest: Partial<FetcherState> = {}): FetcherState {
  return {
    agent,
    sequence: 1,
    condition: 'active',
    claimed: [],
    fetched: [],
    progressBytes: 0,
    bytesPerSec: 0,
    streamCount: 0,
    streamBudget: 6,
    ...rest,
  }
}

/** What an agent knows of those that want RESOURCE: nothing yet. */
export function crowdFor(
  self: AgentKey,
  options: { readonly segmentCount: number; readonly maxStreams?: number; readonly random?: Random },
): Crowd {
  const { segmentCount, maxStreams = 4, random = seededRandom(1) } = options
  return new Crowd({ self, resource: RESOURCE, segmentCount, maxStreams, firstSequence: 0, random })
}

export interface MiniBranchOptions {
  readonly segmentCount: number
  /** Of one message; those between two agents keep their order. */
  readonly delayMs?: () => number
  readonly maxStreams?: number
  /** True for who is connected to whom, by number; all to all unless said otherwise. */
  readonly isConnected?: (one: number, other: number) => boolean
  readonly seed?: number
}

export class MiniBranch {
  nowMs = 0
  readonly agents: MiniAgent[]
  readonly options: MiniBranchOptions
  readonly random: Random
  /** How often each position was had from the origin. */
  readonly originCounts: number[]
  readonly claims: { readonly from: MiniAgent; readonly to: MiniAgent; readonly told: readonly ToldState[] }[] = []
  readonly #queue: { readonly atMs: number; readonly deliver: () => void }[] = []
  readonly #lastAtMs = new Map<string, number>()

  constructor(agentCount: number, options: MiniBranchOptions) {
    this.options = options
    this.random = seededRandom(options.seed ?? 1)
    this.originCounts = Array(options.segmentCount).fill(0)
    this.agents = agentKeys(agentCount).map((key) => new MiniAgent(this, key))
    for (const [at, one] of this.agents.entries()) {
      for (const [other, agent] of this.agents.entries()) {
        if (at !== other && (options.isConnected?.(at, other) ?? true)) one.neighbours.set(agent.key, agent)
      }
    }
  }

  agent(number: number): MiniAgent {
    const agent = this.agents[number]
    if (!agent) throw new Error(`There is no agent ${number}`)
    return agent
  }

  send(from: MiniAgent, to: MiniAgent, deliver: () => void): void {
    const pair = `${from.key} ${to.key}`
    const atMs = Math.max(this.nowMs + (this.options.delayMs?.() ?? 0), this.#lastAtMs.get(pair) ?? 0)
    this.#lastAtMs.set(pair, atMs)
    const place = this.#queue.findIndex((it) => it.atMs > atMs)
    this.#queue.splice(place === -1 ? this.#queue.length : place, 0, {
      atMs,
      deliver: () => {
        if (from.isAlive && to.isAlive) deliver()
      },
    })
  }

  /** What has arrived by now, and what is said in answer to it if that arrives at once. */
  deliver(): void {
    for (let next = this.#queue[0]; next && next.atMs <= this.nowMs; next = this.#queue[0]) {
      this.#queue.shift()
      next.deliver()
    }
  }

  /** Runs until a condition holds. @returns false when it did not within so many milliseconds */
  run(forMs: number, until: () => boolean = () => false): boolean {
    for (const endMs = this.nowMs + forMs; this.nowMs < endMs; this.nowMs += TICK_MS) {
      this.deliver()
      for (const agent of this.agents) {
        agent.tick()
        this.deliver()
      }
      if (until()) return true
    }
    return until()
  }

  get isDone(): boolean {
    return this.agents.every((agent) => !agent.isAlive || agent.isDone)
  }
}

export class MiniAgent {
  readonly key: AgentKey
  readonly crowd: Crowd
  readonly gossip: Gossip
  readonly neighbours = new Map<AgentKey, MiniAgent>()
  readonly held: PositionSet
  readonly holders: Holders
  readonly streams = new Set<Claim>()
  streamBytesPerSec = 4 * SEGMENT_BYTES
  isAlive = true
  hasStarted = false
  readonly #branch: MiniBranch

  constructor(branch: MiniBranch, key: AgentKey) {
    const { segmentCount, maxStreams = 4 } = branch.options
    const { random } = branch
    this.#branch = branch
    this.key = key
    this.held = new PositionSet(segmentCount)
    this.holders = new Holders(segmentCount)
    this.crowd = crowdFor(key, { segmentCount, maxStreams, random })
    this.gossip = new Gossip(this.crowd, { self: key, random })
  }

  get isDone(): boolean {
    return this.hasStarted && this.held.isFull
  }

  start(): void {
    this.hasStarted = true
    this.crowd.join([...this.neighbours.keys()], this.#branch.nowMs)
    this.flush()
    for (const other of this.neighbours.values()) this.#branch.send(this, other, () => other.#hearInterest(this))
    this.#branch.deliver()
  }

  /** Its sessions break, and others see that. */
  die(): void {
    this.isAlive = false
    for (const other of this.neighbours.values()) {
      other.neighbours.delete(this.key)
      other.holders.leave(this.key)
      other.gossip.leave(this.key, this.#branch.nowMs)
    }
  }

  flush(): void {
    for (const [key, told] of this.gossip.due(this.hasStarted && !this.isDone, this.#branch.nowMs)) {
      const other = this.neighbours.get(key)
      if (!other) continue
      this.#branch.claims.push({ from: this, to: other, told })
      this.#branch.send(this, other, () => {
        if (other.hasStarted && other.gossip.heard(this.key, told, this.#branch.nowMs)) {
          other.crowd.yields(this.#branch.nowMs)
        }
      })
    }
  }

  tick(): void {
    if (!this.isAlive || !this.hasStarted || this.isDone) return
    const { nowMs } = this.#branch
    this.#takeFromNeighbours()
    for (const claim of this.streams) this.#move(claim)
    if (this.isDone) return
    this.crowd.tune(nowMs)
    this.crowd.yields(nowMs)
    for (const claim of this.streams) if (claim.end <= claim.next) this.#end(claim)
    for (let claim = this.crowd.claim(this.#free(), nowMs); claim; claim = this.crowd.claim(this.#free(), nowMs)) {
      this.streams.add(claim)
    }
    this.flush()
  }

  #free(): PositionSet {
    const free = PositionSet.full(this.held.capacity)
    free.deleteAll(this.held)
    free.deleteAll(this.holders.available)
    free.deleteAll(this.crowd.ownClaims)
    return free
  }

  #takeFromNeighbours(): void {
    for (const index of [...this.holders.available.values()]) this.#hold(index)
  }

  #hearInterest(other: MiniAgent): void {
    if (this.hasStarted) this.gossip.join(other.key)
    this.flush()
    const ranges = this.held.ranges()
    this.#branch.send(this, other, () => {
      other.holders.add(this.key, ranges, this.#branch.nowMs)
      other.crowd.answered(this.key)
    })
  }

  #move(claim: Claim): void {
    const { nowMs } = this.#branch
    if (claim.next >= claim.end || this.held.has(claim.next)) {
      this.#end(claim)
      return
    }
    const bytes = Math.min((this.streamBytesPerSec * TICK_MS) / 1000, SEGMENT_BYTES - claim.nextBytes)
    this.crowd.progressed(claim, bytes, nowMs)
    if (claim.nextBytes < SEGMENT_BYTES) return
    const index = claim.next
    this.crowd.advance(claim, index + 1)
    this.crowd.fetched(index)
    this.#branch.originCounts[index] = (this.#branch.originCounts[index] ?? 0) + 1
    this.#hold(index)
    if (claim.next >= claim.end || this.held.has(claim.next)) this.#end(claim)
  }

  #end(claim: Claim): void {
    this.streams.delete(claim)
    this.crowd.end(claim, this.#branch.nowMs)
  }

  #hold(index: number): void {
    if (!this.held.add(index)) return
    for (const other of this.neighbours.values()) {
      this.#branch.send(this, other, () =>
        other.holders.add(this.key, [{ start: index, end: index + 1 }], this.#branch.nowMs),
      )
    }
    if (!this.held.isFull) return
    for (const claim of this.streams) this.#end(claim)
    this.crowd.leave()
    this.flush()
    for (const other of this.neighbours.values()) {
      this.#branch.send(this, other, () => other.gossip.leave(this.key, this.#branch.nowMs))
    }
  }
}
