/**
 * Everything that is bound to one address of ours: discovery and beacon. When the address changes, the whole link is
 * closed and another one opened (network.ts).
 *
 * Knows agents only as addresses and instances; sessions are the owner's.
 */
import type { KeyPair } from 'hypercore-crypto'
import type { DhtAddress } from 'hyperdht'
import type { SwarmConnection } from 'hyperswarm'
import type { Logger } from 'pino'
import type { Clock, Random } from '../clock.ts'
import { BeaconSender } from './beacon.ts'
import type { HeardAgent } from './beacon-book.ts'
import type { SecretKeys } from './branch-keys.ts'
import { Discovery, type StaticPeer } from './discovery.ts'
import type { BeaconDiagnosis, Diagnosis } from './network-types.ts'

/** In a branch larger than this, only some look for a newcomer: it looks for us anyway. */
const AGENTS_THAT_ALL_LOOK = 16

export interface LinkOptions {
  readonly address: string
  readonly port: number
  readonly canFallBack: boolean
  /** Of each secret in force, newest first. */
  readonly secrets: readonly Pick<SecretKeys, 'topic' | 'beaconKey'>[]
  readonly keyPair: KeyPair
  readonly staticPeers: readonly StaticPeer[]
  readonly beacon: { readonly port: number; readonly firstSequence: number } | null
  readonly instance: Buffer
  readonly onConnection: (connection: SwarmConnection) => void
  readonly isInstanceConnected: (instance: string) => boolean
  readonly isConnected: (address: DhtAddress) => boolean
}

interface Components {
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
}

export class Link {
  readonly #components: Components
  readonly #options: LinkOptions
  readonly #discovery: Discovery
  #beacon: BeaconSender | null = null

  private constructor(components: Components, options: LinkOptions, discovery: Discovery) {
    this.#components = components
    this.#options = options
    this.#discovery = discovery
  }

  static async open(components: Components, options: LinkOptions): Promise<Link> {
    // The discovery asks for what the link, not yet made, will know.
    const heard: { missing: () => readonly HeardAgent[] } = { missing: () => [] }
    const discovery = await Discovery.open(components, {
      ...options,
      topics: options.secrets.map(({ topic }) => topic),
      missing: () => heard.missing(),
      onSilent: ({ instance }) => link.#beacon?.book.forget(instance),
    })
    const link: Link = new Link(components, options, discovery)
    heard.missing = () => link.#missing()
    if (options.beacon !== null) {
      link.#beacon = await BeaconSender.open(components, {
        ...options.beacon,
        beaconKeys: options.secrets.map(({ beaconKey }) => beaconKey),
        address: options.address,
        bootstrapPort: discovery.bootstrapPort,
        instance: options.instance,
        onHeard: (agent) => link.#onHeard(agent),
      })
    }
    return link
  }

  get bootstrapPort(): number {
    return this.#discovery.bootstrapPort
  }

  get beaconSequence(): number {
    return this.#beacon?.sequence ?? this.#options.beacon?.firstSequence ?? 0
  }

  /** Announces, looks and speaks under these from now. Idempotent. */
  setSecrets(secrets: LinkOptions['secrets']): void {
    this.#beacon?.setKeys(secrets.map(({ beaconKey }) => beaconKey))
    if (this.#discovery.setTopics(secrets.map(({ topic }) => topic))) this.refresh()
  }

  refresh(): void {
    this.#beacon?.send(true)
    this.#discovery.refresh()
  }

  /** A peer was lost. In a large branch only some look, so that the death of one does not make everybody ask at once. */
  lookAgain(peerCount: number): void {
    if (this.#components.random() < AGENTS_THAT_ALL_LOOK / Math.max(1, peerCount)) this.#discovery.refresh()
  }

  /** Other agents that were heard by beacon of late: all on the same LAN, also where there are more than sessions. */
  get heardCount(): number {
    return this.#beacon?.book.agents(this.#components.clock.monotonicMs()).length ?? 0
  }

  diagnose(): Pick<Diagnosis, 'dhtPort' | 'dhtNodes' | 'beacon'> {
    const silent: Omit<BeaconDiagnosis, 'enabled'> = {
      sent: 0,
      heard: 0,
      strangers: 0,
      lastHeardMsAgo: null,
      heardOwn: false,
    }
    return {
      dhtPort: this.#discovery.dhtPort,
      dhtNodes: this.#discovery.dhtNodeCount,
      beacon: { enabled: this.#beacon !== null, ...(this.#beacon?.stats() ?? silent) },
    }
  }

  /** Bounded by about a second. Idempotent. */
  async close(): Promise<void> {
    await Promise.all([this.#beacon?.close(), this.#discovery.close()])
  }

  #onHeard(agent: HeardAgent): void {
    if (this.#options.isInstanceConnected(agent.instance)) return
    if (this.#components.random() < AGENTS_THAT_ALL_LOOK / Math.max(1, this.heardCount)) this.#discovery.refresh()
  }

  #missing(): HeardAgent[] {
    const agents = this.#beacon?.book.agents(this.#components.clock.monotonicMs()) ?? []
    return agents.filter(({ instance }) => !this.#options.isInstanceConnected(instance)).slice(-AGENTS_THAT_ALL_LOOK) // the newest; the DHT tells of the others
  }
}
