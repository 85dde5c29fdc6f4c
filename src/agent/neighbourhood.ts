/** An agent's place among its neighbours: opens the lane on which it serves and the network, and leaves both in that order. */
import { hostname } from 'node:os'
import type { KeyPair } from 'hypercore-crypto'
import type { Logger } from 'pino'
import type { Clock, Random } from '../clock.ts'
import type { Config } from '../config/schema.ts'
import type { AgentKey } from '../content/ids.ts'
import type { BranchKeys } from '../peers/branch-keys.ts'
import type { LaneClient } from '../peers/lane-client.ts'
import { LaneOffers } from '../peers/lane-offers.ts'
import type { LaneServer, LaneServerComponents } from '../peers/lane-server.ts'
import type { Network } from '../peers/network.ts'
import type { RosterBook } from '../peers/roster-book.ts'
import type { DeferredLink } from '../transfer/deferred-link.ts'
import { AGENT_VERSION } from '../version.ts'
import type { NetworkStatus } from './views.ts'

/**
 * An embedded agent's network starts this long after the agent: loading and opening it keeps the process busy for 0.2 s,
 * in which the first request would wait, and small content is had without it.
 */
const HEAD_START_MS = 100
/** An offer outlives its session by 30 s, so that a session that flaps does not break what is on its way. */
const LANE_OFFERS = { graceMs: 30_000, maxOffers: 1024 }
/** On all interfaces: who has no key gets nothing there, and a laptop's address changes. */
const LANE_SERVER = { host: '0.0.0.0', maxConnections: 512, maxConnectionsPerPeer: 16 }

export interface NeighbourhoodComponents {
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
  readonly keyPair: KeyPair
  readonly rosterBook: RosterBook
  readonly laneClient: LaneClient
  /** What the lane serves from, is paced by and tells; the rest is made here. */
  readonly serving: Omit<LaneServerComponents, 'clock' | 'log' | 'offers'>
  /** Gets the network when it is up. */
  readonly link: DeferredLink
}

export interface NeighbourhoodOptions {
  readonly config: Config
  readonly keys: BranchKeys
  /** `daemon`: at once, on fixed ports or not at all. `embedded`: after a moment, on any free port. */
  readonly role: 'daemon' | 'embedded'
  /** Ends the opening. */
  readonly signal: AbortSignal
}

export class Neighbourhood {
  readonly #components: NeighbourhoodComponents
  readonly #options: NeighbourhoodOptions
  /** Ends the head start that the origin has over the network of an embedded agent. */
  readonly #wanted = new AbortController()
  readonly #offers: LaneOffers
  #keys: BranchKeys
  #laneServer: LaneServer | null = null
  #network: Network | null = null
  #state: NetworkStatus['state'] = 'starting'
  #error: unknown = null
  #opening: Promise<void> = Promise.resolve()

  private constructor(components: NeighbourhoodComponents, options: NeighbourhoodOptions) {
    this.#components = components
    this.#options = options
    this.#keys = options.keys
    this.#offers = new LaneOffers({ clock: components.clock }, LANE_OFFERS)
  }

  /** Begins to open; whoever calls it closes it. */
  static start(components: NeighbourhoodComponents, options: NeighbourhoodOptions): Neighbourhood {
    const neighbourhood = new Neighbourhood(components, options)
    if (options.role === 'daemon') neighbourhood.want()
    neighbourhood.#opening = neighbourhood.#open()
    neighbourhood.#opening.catch(() => {}) // said by whenUp() and in view()
    return neighbourhood
  }

  /** Somebody needs neighbours now. */
  want(): void {
    this.#wanted.abort()
  }

  /** Resolves when it is up, or the signal has ended the opening. @throws why it is not */
  async whenUp(): Promise<void> {
    this.want()
    await this.#opening
  }

  setKeys(keys: BranchKeys): void {
    this.#keys = keys
    this.#network?.setKeys(keys)
  }

  peers(): ReturnType<Network['peers']> {
    return this.#network?.peers() ?? []
  }

  get activeUploads(): number {
    return this.#laneServer?.activeUploads() ?? 0
  }

  view(): NetworkStatus {
    return {
      state: this.#state,
      address: this.#network?.address ?? null,
      lanePort: this.#laneServer?.port ?? null,
      error: this.#error instanceof Error ? this.#error.message : null,
    }
  }

  /** What the network layer saw. Null while it is starting, and when it failed. */
  diagnose(): ReturnType<Network['diagnose']> | null {
    return this.#network?.diagnose() ?? null
  }

  /** Looks for neighbours again. */
  refresh(): void {
    this.#network?.refresh()
  }

  /** Once the signal has ended the opening. Neighbours first hear that we leave, then the lane closes. */
  async close(): Promise<void> {
    const { log } = this.#components
    await this.#opening.catch(() => {})
    await this.#network?.close().catch((err: unknown) => log.warn({ err }, 'network did not close'))
    await this.#laneServer?.close().catch((err: unknown) => log.warn({ err }, 'lane did not close'))
    this.#offers.close()
  }

  async #open(): Promise<void> {
    const { clock, log, link } = this.#components
    const { signal } = this.#options
    try {
      const isWanted = AbortSignal.any([this.#wanted.signal, signal])
      if (!isWanted.aborted) await clock.sleep(HEAD_START_MS, { signal: isWanted }).catch(() => {})
      if (signal.aborted) return
      // Loaded late: an embedded agent may be done before.
      const [{ LaneServer }, { Network }] = await Promise.all([
        import('../peers/lane-server.ts'),
        import('../peers/network.ts'),
      ])
      if (signal.aborted) return
      if (this.#options.config.serve.enabled) this.#laneServer = await this.#openLane(LaneServer)
      const network = await this.#openNetwork(Network)
      network.setKeys(this.#keys) // the secret may have been replaced while it opened
      this.#network = network
      this.#state = 'up'
      link.attach(network)
    } catch (error) {
      this.#state = 'failed'
      this.#error = error
      log.warn({ err: error }, 'no neighbours: the network did not start')
      throw error
    }
  }

  #openLane(server: typeof LaneServer): Promise<LaneServer> {
    const { clock, log, serving } = this.#components
    const { config, role } = this.#options
    return server.open(
      { clock, log, offers: this.#offers, ...serving },
      {
        ...LANE_SERVER,
        port: config.network.lanePort,
        maxUploads: config.serve.maxUploads,
        portFallback: role === 'embedded',
      },
    )
  }

  async #openNetwork(network: typeof Network): Promise<Network> {
    const { clock, random, log, keyPair, rosterBook, laneClient } = this.#components
    const { config, role } = this.#options
    const offers = this.#offers
    const opened = await network.open(
      { clock, random, log, keyPair, keys: this.#keys, rosterBook },
      {
        interface: config.network.interface,
        dhtPort: config.network.dhtPort,
        beaconPort: config.network.beaconPort,
        beacon: config.network.beacon,
        staticPeers: config.network.peers,
        localPrefixes: config.network.localPrefixes,
        maxPeerRttMs: config.network.maxPeerRttMs,
        dhtPortFallback: role === 'embedded',
        roster: config.branch.roster as readonly AgentKey[] | null,
        hostName: hostname(),
        agentVersion: AGENT_VERSION,
        lane:
          this.#laneServer === null
            ? null
            : {
                port: this.#laneServer.port,
                offerFor: (peer) => offers.offerFor(peer),
                revoke: (peer) => offers.revoke(peer),
                endSession: (peer, session) => offers.endSession(peer, session),
              },
      },
    )
    opened.on('leave', (peer) => {
      laneClient.forget(peer.key).catch((err: unknown) => log.warn({ err }, 'lane did not forget a peer'))
    })
    return opened
  }
}
