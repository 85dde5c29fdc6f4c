/**
 * The network as the rest of the program sees it: which agents of the branch are here, and messages to and from them.
 *
 * Wires interface choice, discovery, beacon and sessions together, and restarts what depends on an address when that
 * changes. Does not interpret messages, and moves no content: that is the lane's.
 *
 * Invariants: only agents that proved the branch secret (and are on the roster, if there is one) are ever visible; an
 * agent is visible once, whatever the number of its sessions; after close() no listener is called.
 */
import { networkInterfaces } from 'node:os'
import type { KeyPair } from 'hypercore-crypto'
import type { SwarmConnection } from 'hyperswarm'
import type { Logger } from 'pino'
import { type Clock, type Random, secretBytes } from '../clock.ts'
import { type AgentKey, idFromBytes } from '../content/ids.ts'
import { ShorthaulError } from '../errors.ts'
import { type BranchKeys, type SecretKeys, secretsInForce } from './branch-keys.ts'
import { branchSize } from './branch-size.ts'
import { chooseInterface, LocalPrefixes, type NetworkInterface } from './interfaces.ts'
import { Link } from './link.ts'
import type { Message } from './messages.ts'
import { type EventListeners, NetworkEvents } from './network-events.ts'
import type { Diagnosis, NetworkOptions, Peer } from './network-types.ts'
import { describePeer } from './peer-snapshot.ts'
import { PeerTable } from './peer-table.ts'
import { Reception } from './reception.ts'
import type { RosterBook } from './roster-book.ts'
import { RosterTalk } from './roster-talk.ts'
import type { Session, SessionEnd } from './session.ts'
import { parseStaticPeers } from './static-peers.ts'
import { encodeFrame, type HelloMessage, PROTOCOL_VERSION } from './wire.ts'

export type { Diagnosis, NetworkOptions, Peer } from './network-types.ts'

const INSTANCE_BYTES = 8
/** How often sessions are looked after: finer while somebody depends on a peer. */
const TICK_IN_USE_MS = 250
const TICK_IDLE_MS = 1000
/** A look later than this says nothing about the peer: this process itself stood still. */
const MAX_TICK_GAP_MS = TICK_IDLE_MS + 1000
const INTERFACE_CHECK_MS = 3000

export interface NetworkComponents {
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
  readonly keyPair: KeyPair
  readonly keys: BranchKeys
  /** Not owned. Without it whoever has the secret belongs to the branch. */
  readonly rosterBook?: RosterBook
  /** Replaced in tests only. */
  readonly interfaces?: typeof networkInterfaces
}

export class Network {
  readonly key: AgentKey
  readonly #components: NetworkComponents
  readonly #options: NetworkOptions
  readonly #log: Logger
  readonly #instance = secretBytes(INSTANCE_BYTES)
  readonly #table = new PeerTable()
  readonly #reception: Reception
  readonly #inUse = new Set<AgentKey>()
  readonly #events: NetworkEvents
  readonly #stop = new AbortController()
  #prefixes: LocalPrefixes
  #interface: NetworkInterface
  /** Null while the network is being changed, or the address is gone. */
  #link: Link | null = null
  /** Ports once taken are kept across restarts. */
  #bootstrapPort: number
  #keys: BranchKeys
  /** How many secrets were in force at the last look. */
  #secretCount: number
  #beaconSequence = 0
  #isRosterEnforced = false
  #unlisten: readonly (() => void)[] = []
  #loops: Promise<unknown> = Promise.resolve()

  private constructor(components: NetworkComponents, options: NetworkOptions, chosen: NetworkInterface) {
    this.#components = components
    this.#options = options
    this.#log = components.log.child({ module: 'peers' })
    this.#events = new NetworkEvents(this.#log)
    this.key = idFromBytes<AgentKey>(components.keyPair.publicKey)
    this.#interface = chosen
    this.#prefixes = new LocalPrefixes([chosen.cidr, ...options.localPrefixes])
    this.#bootstrapPort = options.dhtPort
    this.#keys = components.keys
    this.#secretCount = this.#secrets().length
    this.#reception = new Reception(
      { clock: components.clock, log: this.#log },
      {
        proofKeys: () => this.#secrets().map(({ proofKey }) => proofKey),
        roster: options.roster === null ? null : new Set(options.roster),
        signedRoster: new RosterTalk(components.rosterBook ?? null),
        hello: (session) => this.#hello(session),
        onOpen: (session) => this.#onOpen(session),
        onMessage: (session, message) => this.#events.emit('message', this.#peer(session), message),
        onClosed: (session, end) => this.#onClosed(session, end),
      },
    )
    const book = components.rosterBook
    if (book === undefined) return
    this.#isRosterEnforced = book.isEnforced
    this.#unlisten = [
      book.on('roster', () => this.#onRoster(book)),
      book.on('acceptance', (acceptance) => {
        if (!book.isMember(acceptance.agent)) this.#sendToAll(encodeFrame({ type: 'acceptance', acceptance }))
      }),
    ]
  }

  /**
   * Resolves when it listens; being found and finding others takes some 0.1 s more on a LAN, and goes on beside.
   * @throws SHORTHAUL_NETWORK_INTERFACE, SHORTHAUL_PORT_IN_USE, SHORTHAUL_CONFIG_INVALID
   */
  static async open(components: NetworkComponents, options: NetworkOptions): Promise<Network> {
    const interfaces = (components.interfaces ?? networkInterfaces)()
    const chosen = chooseInterface(interfaces, options.interface)
    if (chosen === null) {
      throw new ShorthaulError(
        'SHORTHAUL_NETWORK_INTERFACE',
        `Cannot use the network interface "${options.interface ?? '(any)'}": it has no IPv4 address, expected one of ` +
          Object.keys(interfaces).join(', '),
        { details: { interface: options.interface } },
      )
    }
    const network = new Network(components, options, chosen)
    await network.#start(options.dhtPortFallback)
    network.#loops = Promise.allSettled([network.#runTicks(), network.#runInterfaceChecks()])
    return network
  }

  /** Our IPv4 on the branch's network. */
  get address(): string {
    return this.#interface.address
  }

  /** The port that was really taken, which is what static peers of others must name. */
  get dhtPort(): number {
    return this.#bootstrapPort
  }

  /** A snapshot: proved members only, one for each agent. */
  peers(): readonly Peer[] {
    const peers: Peer[] = []
    for (const key of this.#table.keys()) {
      const session = this.#table.session(key)
      if (session !== undefined) peers.push(this.#peer(session))
    }
    return peers
  }

  /** Agents of the branch as far as is known, this one included. */
  memberCount(): number {
    return branchSize({ connectedCount: this.#table.keys().length, heardCount: this.#link?.heardCount ?? 0 })
  }

  /**
   * Hands the message to the peer's session; in order, at most once, no receipt.
   * @returns false when the peer is not connected, or was closed because it does not read what we send
   * @throws RangeError when the message breaks a limit of messages.ts
   */
  send(peer: AgentKey, message: Message): boolean {
    return this.#table.session(peer)?.send(encodeFrame(message)) ?? false
  }

  /** Sends to every peer, encoding once. @returns how many took it */
  broadcast(message: Message): number {
    return this.#sendToAll(encodeFrame(message))
  }

  /**
   * Listens until the returned function is called.
   *
   * `join` comes again for a peer that is already there when the session that carried our messages was replaced by
   * another: what was sent may be lost, so say it again. `leave` comes once, with the last session.
   */
  on<Name extends keyof EventListeners>(event: Name, listener: EventListeners[Name]): () => void {
    return this.#events.on(event, listener)
  }

  /** While a transfer depends on the peer its death is noticed in 2.5 s instead of 15 s. Survives a reconnection. */
  setInUse(peer: AgentKey, inUse: boolean): void {
    if (inUse) this.#inUse.add(peer)
    else this.#inUse.delete(peer)
    const nowMs = this.#components.clock.monotonicMs()
    for (const session of this.#table.sessions(peer)) {
      session.pulse.setInUse(inUse, nowMs)
      if (inUse) session.ping()
    }
  }

  /**
   * The secret was rotated: announces, looks and proves with these from now, and ends the sessions that none of them
   * proved. The wire key does not change with it.
   */
  setKeys(keys: BranchKeys): void {
    if (this.#stop.signal.aborted) return
    this.#keys = keys
    this.#applySecrets()
  }

  /** Looks for other agents now. */
  refresh(): void {
    this.#link?.refresh()
  }

  diagnose(): Diagnosis {
    const { name, address } = this.#interface
    return {
      interface: name,
      address,
      bootstrapPort: this.#bootstrapPort,
      ...(this.#link?.diagnose() ?? {
        dhtPort: 0,
        dhtNodes: 0,
        beacon: { enabled: false, sent: 0, heard: 0, strangers: 0, lastHeardMsAgo: null, heardOwn: false },
      }),
      standing: this.#components.rosterBook?.standing ?? 'no-roster',
      connections: this.#reception.sessionCount,
      peers: this.#table.size,
      unknownMessages: this.#reception.unknownCount,
      rejected: this.#reception.rejected(),
    }
  }

  /** Says goodbye by closing connections; bounded by about a second. Idempotent; no listener is called any more. */
  async close(): Promise<void> {
    if (this.#stop.signal.aborted) return
    this.#stop.abort()
    for (const stop of this.#unlisten) stop()
    this.#events.clear()
    await this.#loops
    this.#reception.closeAll('closing')
    await this.#link?.close()
    this.#link = null
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #start(canFallBack: boolean): Promise<void> {
    const { clock, random, keyPair } = this.#components
    const { beacon, beaconPort } = this.#options
    const link = await Link.open(
      { clock, random, log: this.#log },
      {
        address: this.#interface.address,
        port: this.#bootstrapPort,
        canFallBack,
        secrets: this.#secrets(),
        keyPair,
        staticPeers: parseStaticPeers(this.#options.staticPeers),
        beacon: beacon && beaconPort !== 0 ? { port: beaconPort, firstSequence: this.#beaconSequence } : null,
        instance: this.#instance,
        onConnection: (connection: SwarmConnection) => this.#reception.receive(connection),
        isInstanceConnected: (instance) =>
          this.#anySession(({ hello }) => hello?.instance.toString('hex') === instance),
        isConnected: ({ host, port }) =>
          this.#anySession((session) => session.address === host && session.hello?.bootstrapPort === port),
      },
    )
    link.setSecrets(this.#secrets()) // they may have changed while it opened
    this.#link = link
    this.#bootstrapPort = link.bootstrapPort
    this.#log.info(
      { interface: this.#interface.name, address: this.address, port: link.bootstrapPort },
      'network is up',
    )
  }

  #secrets(): readonly SecretKeys[] {
    return secretsInForce(this.#keys, this.#components.clock.nowMs())
  }

  #applySecrets(): void {
    const secrets = this.#secrets()
    this.#secretCount = secrets.length
    this.#link?.setSecrets(secrets)
    this.#reception.closeExpired()
  }

  #anySession(test: (session: Session) => boolean): boolean {
    return this.#table.keys().some((key) => this.#table.sessions(key).some(test))
  }

  #sendToAll(encoded: Uint8Array): number {
    return this.#table.keys().filter((key) => this.#table.session(key)?.send(encoded) === true).length
  }

  #onRoster(book: RosterBook): void {
    if (book.isEnforced !== this.#isRosterEnforced) {
      // Every session began under another rule.
      this.#isRosterEnforced = book.isEnforced
      this.#reception.closeAll('roster')
      this.#link?.refresh()
      return
    }
    // Those who were taken off hear it too, before they are shown out: they may tell their owner.
    if (book.bytes !== null) this.#sendToAll(encodeFrame({ type: 'roster', bytes: book.bytes }))
    this.#reception.closeUnlisted()
  }

  async #runTicks(): Promise<void> {
    const { clock } = this.#components
    for (;;) {
      const delayMs = this.#inUse.size > 0 ? TICK_IN_USE_MS : TICK_IDLE_MS
      await clock.sleep(delayMs, { signal: this.#stop.signal })
      await this.#kept('looking after the sessions', () => this.#tick())
    }
  }

  #tick(): void {
    if (this.#secrets().length !== this.#secretCount) this.#applySecrets()
    this.#reception.closeUnlisted() // an invitation may have ended
    const nowMs = this.#components.clock.monotonicMs()
    for (const key of this.#table.keys()) {
      for (const session of [...this.#table.sessions(key)]) {
        const found = session.pulse.look(nowMs, MAX_TICK_GAP_MS)
        if (found === 'dead') session.close('silent')
        else if (found === 'ping') session.ping()
      }
    }
  }

  /** A loop goes on, whatever one round of it met: without descriptors even the interfaces cannot be listed. */
  async #kept(what: string, round: () => void | Promise<void>): Promise<void> {
    try {
      await round()
    } catch (err) {
      this.#log.error({ err }, `${what} failed, and is tried again`)
    }
  }

  async #runInterfaceChecks(): Promise<void> {
    const { clock } = this.#components
    for (;;) {
      await clock.sleep(INTERFACE_CHECK_MS, { signal: this.#stop.signal })
      await this.#kept('looking for another network', () => this.#checkInterface())
    }
  }

  async #checkInterface(): Promise<void> {
    const { interfaces = networkInterfaces } = this.#components
    const chosen = chooseInterface(interfaces(), this.#options.interface)
    const isSame = chosen?.address === this.#interface.address && chosen.cidr === this.#interface.cidr
    if (!isSame || this.#link === null) await this.#change(chosen)
  }

  /** Another address, or none: everything that was bound to the old one starts anew. A failure is tried again later. */
  async #change(chosen: NetworkInterface | null): Promise<void> {
    const old = this.#link
    this.#link = null
    if (old !== null) {
      this.#log.info({ from: this.address, to: chosen?.address ?? null }, 'network changed')
      this.#beaconSequence = old.beaconSequence
      this.#reception.closeAll('network-changed')
      await old.close()
    }
    if (chosen === null || this.#stop.signal.aborted) return
    this.#interface = chosen
    this.#prefixes = new LocalPrefixes([chosen.cidr, ...this.#options.localPrefixes])
    try {
      await this.#start(true)
    } catch (error) {
      this.#log.warn({ err: error }, 'network not restarted')
    }
  }

  #hello(session: Session): HelloMessage {
    const { lane, agentVersion, hostName } = this.#options
    const offer = lane?.offerFor(session.key)
    return {
      type: 'hello',
      protocolVersion: PROTOCOL_VERSION,
      instance: this.#instance,
      bootstrapPort: this.#bootstrapPort,
      agentVersion: printable(agentVersion, 32),
      hostName: printable(hostName, 64),
      lane:
        lane && offer ? { port: lane.port, identity: Buffer.from(offer.identity), psk: Buffer.from(offer.psk) } : null,
    }
  }

  #onOpen(session: Session): void {
    if (this.#inUse.has(session.key)) session.pulse.setInUse(true, this.#components.clock.monotonicMs())
    if (!this.#table.add(session)) return
    const peer = this.#peer(session)
    this.#log.info({ peerId: peer.key, hostName: peer.hostName, address: peer.address }, 'peer joined')
    this.#events.emit('join', peer)
  }

  #onClosed(session: Session, end: SessionEnd): void {
    this.#endOffer(session, end)
    const outcome = this.#table.remove(session)
    if (outcome === 'left') {
      const peer = this.#peer(session)
      this.#log.info({ peerId: peer.key, hostName: peer.hostName, reason: end }, 'peer left')
      this.#events.emit('leave', peer, end)
      // It may only be the connection that broke; the side that dialled tries again by itself.
      if (end === 'closed' || end === 'silent') this.#link?.lookAgain(this.#table.size)
    } else if (outcome === 'replaced') {
      const heir = this.#table.session(session.key)
      if (heir !== undefined) this.#events.emit('join', this.#peer(heir))
    }
  }

  #endOffer(session: Session, end: SessionEnd): void {
    const { lane } = this.#options
    const identity = session.offeredIdentity
    if (lane === null || identity === null) return
    const hasMisbehaved = end === 'protocol' || end === 'flood' || end === 'not-member' || end === 'roster'
    // Whoever knows only a secret that is out of force gets nothing any more, not even what is on its way.
    if (hasMisbehaved || end === 'secret-expired') lane.revoke(session.key)
    else if (lane.endSession !== undefined) lane.endSession(session.key, { identity })
    else if (this.#table.sessions(session.key).every((other) => other === session)) lane.revoke(session.key)
  }

  #peer(session: Session): Peer {
    return describePeer(session, {
      // With two sessions the newest offer counts: the other end may have dropped the older one.
      newest: this.#table.sessions(session.key).at(-1) ?? session,
      prefixes: this.#prefixes,
      maxPeerRttMs: this.#options.maxPeerRttMs,
    })
  }
}

function printable(text: string, maxBytes: number): string {
  return text.replace(/[^\x20-\x7e]/g, '?').slice(0, maxBytes)
}
