/** A simulated branch: its agents, who is connected to whom, the WAN, who dies, and what is measured in the end. */
import { type Clock, type Random, seededRandom } from '../../src/clock.ts'
import { type AgentKey, idFromBytes, type ResourceKey } from '../../src/content/ids.ts'
import { SEGMENT_BYTES } from '../../src/content/segmentation.ts'
import { EventQueue } from './event-queue.ts'
import { FluidNetwork, type Node, node } from './fluid-network.ts'
import { SimAgent } from './sim-agent.ts'

export interface SimScenario {
  readonly agentCount: number
  readonly segmentCount: number
  readonly wanMbit: number
  readonly wanRttMs: number
  readonly lanMbit: number
  /** Each agent's; all are connected to all when there are no more. */
  readonly connections: number
  /** Of one connection to the origin; infinite: only the line limits. */
  readonly connectionMbit: number
  readonly originConnections: number
  /** Agents start within so long. */
  readonly staggerMs: number
  /** Of the agents, at a random moment of the transfer. */
  readonly dyingRatio: number
  /** Of the agents, with a tenth of the others' link. */
  readonly slowRatio: number
  readonly seed: number
}

export interface SimResult {
  readonly copies: number
  /** max(size / WAN, size / LAN) */
  readonly idealMs: number
  readonly p50Ratio: number
  readonly p99Ratio: number
  readonly maxRatio: number
  /** Of those with a link of full speed. */
  readonly p99FastRatio: number
  readonly doneCount: number
  readonly liveCount: number
  readonly messagesPerAgent: number
  readonly controlBytesPerAgent: number
  readonly refusals: number
  readonly fetcherCount: number
  /** When the last byte came from the origin. */
  readonly originDoneRatio: number
  readonly events: number
}

const LAN_LATENCY_MS = 0.15

export class World {
  readonly scenario: SimScenario
  readonly queue = new EventQueue()
  readonly network = new FluidNetwork(this.queue)
  readonly clock: Clock
  readonly origin: Node
  readonly agents: SimAgent[] = []
  originBytes = 0
  originDoneAtMs = 0
  refusals = 0
  readonly #random: Random
  #leftCount = 0

  constructor(scenario: SimScenario) {
    this.scenario = scenario
    this.#random = seededRandom(scenario.seed)
    this.clock = {
      nowMs: () => this.queue.nowMs,
      monotonicMs: () => this.queue.nowMs,
      sleep: () => Promise.reject(new Error('Nobody sleeps in virtual time')),
    }
    this.origin = node(scenario.wanMbit, 1)
    this.#populate()
  }

  latencyMs(): number {
    return LAN_LATENCY_MS * (0.5 + this.#random())
  }

  finished(): void {
    this.#leftCount--
  }

  run(): SimResult {
    const idealMs = this.#idealMs()
    const { staggerMs } = this.scenario
    this.#leftCount = this.agents.length
    for (const agent of this.agents) this.queue.at(this.#random() * staggerMs, () => agent.start())
    this.#condemn(idealMs)
    const events = this.queue.run({ untilMs: idealMs * 20 + 60_000, isDone: () => this.#leftCount <= 0 })
    return this.#measure(idealMs, events)
  }

  #populate(): void {
    const { agentCount, connections, lanMbit, slowRatio, seed } = this.scenario
    const resource = this.#id<ResourceKey>(seed, 0xffffffff)
    for (let at = 0; at < agentCount; at++) {
      const isSlow = at < agentCount * slowRatio
      const agent = new SimAgent(this, {
        key: this.#id<AgentKey>(seed, at),
        resource,
        random: seededRandom(seed * 1_000_003 + at),
        linkMbit: isSlow ? lanMbit / 10 : lanMbit,
      })
      agent.isSlow = isSlow
      this.agents.push(agent)
    }
    const isMesh = agentCount - 1 <= connections
    for (const [at, agent] of this.agents.entries()) {
      for (let other = 0; isMesh && other < at; other++) this.#connect(agent, this.agents[other])
      while (!isMesh && agent.degree < connections / 2) this.#connect(agent, this.#anyAgent())
    }
  }

  /** Half of the connections are made by an agent, the other half by others: about `connections` each. */
  #connect(agent: SimAgent, other: SimAgent | undefined): void {
    if (!other || other === agent || other.degree >= this.scenario.connections) return
    agent.connect(other)
    other.connect(agent)
  }

  #anyAgent(): SimAgent | undefined {
    return this.agents[Math.floor(this.#random() * this.agents.length)]
  }

  #id<T extends AgentKey | ResourceKey>(seed: number, at: number): T {
    const bytes = Buffer.alloc(32)
    bytes.writeUInt32LE(seed, 0)
    bytes.writeUInt32LE(at, 4)
    return idFromBytes<T>(bytes)
  }

  #condemn(idealMs: number): void {
    const { agentCount, dyingRatio } = this.scenario
    for (let count = 0; count < Math.floor(agentCount * dyingRatio); count++) {
      this.queue.at(this.#random() * idealMs, () => {
        const agent = this.#anyAgent()
        if (!agent?.isAlive || agent.isDone) return
        agent.die()
        this.#leftCount--
      })
    }
  }

  #idealMs(): number {
    const { segmentCount, wanMbit, lanMbit } = this.scenario
    return (segmentCount * SEGMENT_BYTES) / (Math.min(wanMbit, lanMbit) * 125)
  }

  #measure(idealMs: number, events: number): SimResult {
    const live = this.agents.filter((agent) => agent.isAlive)
    const durations = (agents: readonly SimAgent[]) =>
      agents.map((agent) => (agent.doneAtMs ?? Number.POSITIVE_INFINITY) - agent.startedAtMs).sort((a, b) => a - b)
    const all = durations(live)
    const fast = durations(live.filter((agent) => !agent.isSlow))
    const at = (sorted: readonly number[], share: number) =>
      (sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0) / idealMs
    const sum = (of: (agent: SimAgent) => number) => live.reduce((total, agent) => total + of(agent), 0)
    return {
      copies: this.originBytes / (this.scenario.segmentCount * SEGMENT_BYTES),
      idealMs,
      p50Ratio: at(all, 0.5),
      p99Ratio: at(all, 0.99),
      maxRatio: at(all, 1),
      p99FastRatio: at(fast, 0.99),
      doneCount: live.filter((agent) => agent.isDone).length,
      liveCount: live.length,
      messagesPerAgent: sum((agent) => agent.sentMessages) / live.length,
      controlBytesPerAgent: sum((agent) => agent.sentBytes) / live.length,
      refusals: this.refusals,
      fetcherCount: this.agents.filter((agent) => agent.originBytes > 0).length,
      originDoneRatio: this.originDoneAtMs / idealMs,
      events,
    }
  }
}
