/**
 * Finding the other agents of the branch and keeping connections to them: DHT pair, hyperswarm on one topic (two while a
 * secret is being rotated), and the
 * refreshes without which hyperswarm does not mesh on a LAN (peer-discovery announces only every 10 minutes).
 *
 * Does not know who is a member: every connection goes to `onConnection`. Does not own the beacon; it is told of agents.
 *
 * Invariants: an address enters the DHT's tables only after it answered a ping, because one that is dead costs every
 * query 6 s; one refresh runs at a time, and one that was asked for meanwhile runs after it.
 */
import { lookup } from 'node:dns/promises'
import { isIPv4 } from 'node:net'
import type { KeyPair } from 'hypercore-crypto'
import type { DhtAddress } from 'hyperdht'
import Hyperswarm, { type SwarmConnection, type SwarmDiscovery } from 'hyperswarm'
import type { Logger } from 'pino'
import type { Clock, Random } from '../clock.ts'
import type { HeardAgent } from './beacon-book.ts'
import { closeDht, type DhtPair, type DhtPairOptions, openDhtPair } from './dht-pair.ts'

/** Pauses of a burst of refreshes. Without the repeats 3 of 10 simultaneous starts never meshed (measured). */
const BURST_PAUSES_MS = [0, 100, 200, 700, 2000] as const
/** How long a refresh waits for answers to pings; on a LAN they take less than a millisecond. */
const FEED_PATIENCE_MS = 50
const PERIOD_MIN_MS = 30_000
const PERIOD_SPREAD_MS = 30_000
/** Static peers are asked this often, and less as time passes: one datagram each. */
const STATIC_MIN_MS = 2000
const STATIC_MAX_MS = 15_000
const MAX_ADDRESSES_PER_NAME = 8
/** Outgoing connections; dials at a time. Dials to agents that died hold a place for seconds, hence more than 3. */
export const MAX_PEERS = 64
const MAX_PARALLEL = 16
const CLOSE_DEADLINE_MS = 1000

export interface StaticPeer {
  readonly host: string
  readonly port: number
}

export interface DiscoveryOptions extends DhtPairOptions {
  readonly topics: readonly Buffer[]
  readonly keyPair: KeyPair
  readonly staticPeers: readonly StaticPeer[]
  readonly onConnection: (connection: SwarmConnection) => void
  /** Agents that we heard of and have no session with. */
  readonly missing: () => readonly HeardAgent[]
  /** Nobody answered where that agent was heard of. */
  readonly onSilent: (agent: HeardAgent) => void
  /** Whether we have a session with the agent whose bootstrapper is there. */
  readonly isConnected: (address: DhtAddress) => boolean
}

export class Discovery {
  readonly #clock: Clock
  readonly #random: Random
  readonly #log: Logger
  readonly #options: DiscoveryOptions
  readonly #pair: DhtPair
  readonly #swarm: Hyperswarm
  /** By topic, as hex. */
  readonly #sessions = new Map<string, SwarmDiscovery>()
  readonly #stop = new AbortController()
  #burst = new AbortController()
  #isRefreshing = false
  #isRefreshWanted = false

  private constructor(
    components: { clock: Clock; random: Random; log: Logger; pair: DhtPair },
    options: DiscoveryOptions,
  ) {
    this.#clock = components.clock
    this.#random = components.random
    this.#log = components.log
    this.#options = options
    this.#pair = components.pair
    this.#swarm = new Hyperswarm({
      dht: components.pair.node,
      keyPair: options.keyPair,
      maxPeers: MAX_PEERS,
      maxParallel: MAX_PARALLEL,
    })
    this.#swarm.on('connection', options.onConnection)
    for (const topic of options.topics) this.#join(topic)
    // Joining starts the first.
    this.#whenRefreshed([...this.#sessions.values()].map((session) => session.flushed()))
  }

  /** @throws SHORTHAUL_PORT_IN_USE, SHORTHAUL_NETWORK_INTERFACE */
  static async open(
    components: { clock: Clock; random: Random; log: Logger },
    options: DiscoveryOptions,
  ): Promise<Discovery> {
    const pair = await openDhtPair(components, options)
    const discovery = new Discovery({ ...components, pair }, options)
    const ended = () => {} // loops end by the abort of close()
    discovery.#runPeriodic().catch(ended)
    if (options.staticPeers.length > 0) discovery.#runStatic().catch(ended)
    return discovery
  }

  get bootstrapPort(): number {
    return this.#pair.bootstrapPort
  }

  get dhtPort(): number {
    return this.#pair.nodePort
  }

  /** DHT nodes that we know, those of agents that just died included. */
  get dhtNodeCount(): number {
    return this.#pair.bootstrapper.toArray().length
  }

  get connectionCount(): number {
    return this.#swarm.connections.size
  }

  /** Joins and leaves topics until it is in these. @returns whether it joined any */
  setTopics(topics: readonly Buffer[]): boolean {
    if (this.#stop.signal.aborted) return false
    const wanted = new Set(topics.map((topic) => topic.toString('hex')))
    for (const name of [...this.#sessions.keys()].filter((name) => !wanted.has(name))) {
      this.#sessions.delete(name)
      this.#swarm
        .leave(Buffer.from(name, 'hex'))
        .catch((error: unknown) => this.#log.debug({ err: error }, 'topic not left cleanly'))
    }
    const added = topics.filter((topic) => !this.#sessions.has(topic.toString('hex')))
    for (const topic of added) this.#join(topic)
    return added.length > 0
  }

  /**
   * Looks for the missing now, and again after 0.1, 0.3, 1 and 3 s until none is missing. Asked again while it runs, it
   * starts over.
   */
  refresh(): void {
    if (this.#stop.signal.aborted) return
    this.#burst.abort()
    this.#burst = new AbortController()
    this.#runBurst(this.#burst.signal).catch(() => {}) // superseded or closed
  }

  /** Bounded by a second: neighbours that just died keep hyperswarm waiting for up to 7 s. Idempotent. */
  async close(): Promise<void> {
    if (this.#stop.signal.aborted) return
    this.#stop.abort()
    this.#burst.abort()
    for (const connection of this.#swarm.connections) connection.destroy()
    const destroyed = this.#swarm
      .destroy()
      .catch((error: unknown) => this.#log.debug({ err: error }, 'swarm did not close cleanly'))
      .then(() => closeDht(this.#pair.bootstrapper))
    const enough = new AbortController()
    await Promise.race([
      destroyed.then(() => enough.abort()),
      this.#clock.sleep(CLOSE_DEADLINE_MS, { signal: enough.signal }).catch(() => {}),
    ])
  }

  async #runBurst(signal: AbortSignal): Promise<void> {
    for (const [step, pauseMs] of BURST_PAUSES_MS.entries()) {
      if (pauseMs > 0) await this.#clock.sleep(pauseMs, { signal })
      const missing = this.#options.missing()
      if (step > 0 && missing.length === 0) return
      await this.#lookFor(missing)
      if (signal.aborted) return
    }
  }

  /** One refresh, with the missing fed to the tables: those that answer late get another. */
  async #lookFor(missing: readonly HeardAgent[]): Promise<void> {
    let isLate = false
    const fed = missing.map(async (agent) => {
      const hasAnswered = await this.#feed({ host: agent.address, port: agent.port })
      if (this.#stop.signal.aborted) return
      if (!hasAnswered) this.#options.onSilent(agent)
      else if (isLate) this.#refreshOnce()
    })
    const enough = new AbortController()
    await Promise.race([
      Promise.all(fed).then(() => enough.abort()),
      this.#clock.sleep(FEED_PATIENCE_MS, { signal: enough.signal }).catch(() => {}),
    ])
    isLate = true
    if (!this.#stop.signal.aborted) this.#refreshOnce()
  }

  #refreshOnce(): void {
    if (this.#isRefreshing) {
      this.#isRefreshWanted = true
      return
    }
    this.#isRefreshWanted = false
    this.#swarm.server.refresh()
    this.#whenRefreshed([...this.#sessions.values()].map((session) => session.refresh()))
  }

  #join(topic: Buffer): void {
    this.#sessions.set(topic.toString('hex'), this.#swarm.join(topic, { server: true, client: true }))
  }

  #whenRefreshed(refreshes: readonly Promise<boolean | undefined>[]): void {
    this.#isRefreshing = true
    Promise.all(refreshes)
      .then((started) => {
        // Undefined: it joined a query that was running already, and that knew nothing of the nodes fed since.
        if (started.includes(undefined)) this.#isRefreshWanted = true
      })
      .catch((error: unknown) => this.#log.debug({ err: error }, 'refresh failed'))
      .finally(() => {
        this.#isRefreshing = false
        if (this.#isRefreshWanted && !this.#stop.signal.aborted) this.#refreshOnce()
      })
  }

  /** True when somebody answered there, and is now in both tables. */
  async #feed(address: DhtAddress): Promise<boolean> {
    try {
      await this.#pair.node.ping(address, { retry: false })
    } catch {
      return false
    }
    if (this.#stop.signal.aborted) return false
    this.#pair.bootstrapper.addNode(address)
    this.#pair.node.addNode(address)
    return true
  }

  async #runPeriodic(): Promise<void> {
    for (;;) {
      await this.#clock.sleep(PERIOD_MIN_MS + this.#random() * PERIOD_SPREAD_MS, { signal: this.#stop.signal })
      await this.#lookFor(this.#options.missing())
    }
  }

  async #runStatic(): Promise<void> {
    const { signal } = this.#stop
    let pauseMs = STATIC_MIN_MS
    for (;;) {
      const found = await Promise.all(this.#options.staticPeers.map((peer) => this.#feedStatic(peer)))
      if (signal.aborted) return
      // It answered and is not connected: look for it now.
      if (found.includes('new')) this.refresh()
      await this.#clock.sleep(pauseMs * (0.8 + 0.4 * this.#random()), { signal })
      // It never stops: one that we have now may be restarted, and know nothing of us.
      pauseMs = Math.min(STATIC_MAX_MS, pauseMs * 1.5)
    }
  }

  /** Names are looked up each time: addresses behind them change. */
  async #feedStatic({ host, port }: StaticPeer): Promise<'connected' | 'new' | 'absent'> {
    const addresses = await resolve(host)
    const others = addresses.filter((address) => address !== this.#options.address || port !== this.#pair.bootstrapPort)
    if (others.length === 0) return addresses.length === 0 ? 'absent' : 'connected' // it is ourselves
    const fed = await Promise.all(others.map((address) => this.#feed({ host: address, port })))
    if (!fed.includes(true)) return 'absent'
    return others.some((address) => this.#options.isConnected({ host: address, port })) ? 'connected' : 'new'
  }
}

async function resolve(host: string): Promise<string[]> {
  if (isIPv4(host)) return [host]
  try {
    const found = await lookup(host, { family: 4, all: true })
    return found.slice(0, MAX_ADDRESSES_PER_NAME).map(({ address }) => address)
  } catch {
    return []
  }
}
