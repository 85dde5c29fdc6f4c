/**
 * The composition root: opens everything in the order of a byte's path, wires it, and closes it in reverse. Daemon, CLI
 * and library use this same class.
 *
 * The only file besides cli/ and index.ts that sees all modules; holds no logic of its own beyond the wiring.
 */
import { mkdir } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import crypto, { type KeyPair } from 'hypercore-crypto'
import pino, { type Logger } from 'pino'
import { openJobs, processUser } from './agent-jobs.ts'
import { openLan } from './agent-lan.ts'
import { AgentRoster } from './agent-roster.ts'
import { SecretWatch } from './agent-secret.ts'
import { openWan, type WanParts } from './agent-wan.ts'
import { type Clock, type Random, secretRandom, systemClock, systemRandom } from './clock.ts'
import type { Config } from './config/schema.ts'
import { type BranchSecret, ensureIdentitySeed, ensureUserSecret, readSecret } from './config/secret.ts'
import { type AgentKey, idFromBytes } from './content/ids.ts'
import { SegmentPool } from './content/segment-pool.ts'
import { isShorthaulError, localIoError, ShorthaulError } from './errors.ts'
import type { Caller } from './jobs/job-access.ts'
import type { JobTargets } from './jobs/job-targets.ts'
import type { Jobs } from './jobs/jobs.ts'
import type { JobsApi } from './jobs/jobs-api.ts'
import { Ledger, type LedgerTotals } from './metrics/ledger.ts'
import type { OriginFacts } from './origin/origin.ts'
import { normaliseUrl, type OriginOptions, Origins } from './origin/origins.ts'
import { type BranchKeys, deriveBranchKeys } from './peers/branch-keys.ts'
import { LaneClient } from './peers/lane-client.ts'
import { LaneOffers } from './peers/lane-offers.ts'
import type { LaneServer, ReadForPeer } from './peers/lane-server.ts'
import type { Network } from './peers/network.ts'
import { PeerBook } from './peers/peer-book.ts'
import { Quarantine, type QuarantineEntry } from './peers/quarantine.ts'
import type { ResourceRecord } from './store/records.ts'
import { Store, type StoreStat } from './store/store.ts'
import type { HostConditions } from './throttle/host-state.ts'
import type { LanGovernor, LanViews } from './throttle/lan-governor.ts'
import { OwnTraffic } from './throttle/own-traffic.ts'
import type { WanView } from './throttle/wan-governor.ts'
import { Accusations } from './transfer/accusations.ts'
import { Catalog } from './transfer/catalog.ts'
import { DeferredLink } from './transfer/deferred-link.ts'
import { Exchange } from './transfer/exchange.ts'
import type { Delivery, TransferEvent, TransferRequest, TransferResult } from './transfer/request.ts'
import type { ShownTrust } from './transfer/shown-trust.ts'
import { Transfers } from './transfer/transfers.ts'
import { talkOfWan } from './transfer/wan-talk.ts'
import { AGENT_VERSION } from './version.ts'

export interface AgentOptions {
  readonly config: Config
  /**
   * `daemon`: fixed ports or an error. `embedded`: lives for one command; takes any free port, starts to work before the
   * network is there, and goes on without it. Its network starts a moment after the first request to the origin.
   */
  readonly role: 'daemon' | 'embedded'
  /** False: no neighbours at all, no port is opened. Default: true. */
  readonly usePeers?: boolean
  /**
   * Whether this agent carries out the jobs of its data directory. Default: a daemon does; a command that embeds an agent
   * does what it was asked for, and no more.
   */
  readonly hasJobs?: boolean
  /** For proxies, NETRC and HOME. Default: the process's. */
  readonly env?: Readonly<Record<string, string | undefined>>
}

/** Collaborators that tests, simulations and the demo replace. */
export interface AgentComponents {
  readonly log?: Logger
  readonly clock?: Clock
  readonly random?: Random
  /** Where files of jobs go. Default: written as the user of this process. */
  readonly jobTargets?: JobTargets
  /** Stands between the store and the lane; the demo's liar corrupts here. */
  readonly wrapReadForPeer?: (read: ReadForPeer) => ReadForPeer
}

export interface PeerStatus {
  readonly key: AgentKey
  readonly hostName: string
  readonly address: string
  readonly isLocal: boolean
  /** TCP port on which it serves; null when it serves nothing. */
  readonly lanePort: number | null
  readonly rttMs: number | null
  readonly connectedForMs: number
  readonly bytesPerSec: number | null
  readonly servedBytes: number
  /** Nothing is had from it, for now. */
  readonly isBanned: boolean
  /** It signed what an origin does not have. */
  readonly isQuarantined: boolean
  readonly failures: Readonly<Record<string, number>>
  readonly version: string
}

export interface AgentStatus {
  readonly version: string
  readonly key: AgentKey
  readonly branch: string
  readonly dataDir: string
  readonly uptimeMs: number
  readonly network: {
    readonly state: 'off' | 'starting' | 'up' | 'failed'
    readonly address: string | null
    /** TCP port on which neighbours fetch; null when nothing is served. */
    readonly lanePort: number | null
    readonly error: string | null
  }
  readonly peers: readonly PeerStatus[]
  readonly activeFetches: number
  readonly activeUploads: number
  /** How many there are in each state; null: this agent carries out none. */
  readonly jobs: ReturnType<Jobs['counts']> | null
  readonly today: LedgerTotals
  readonly total: LedgerTotals
  readonly throttle: { readonly wan: WanView; readonly lan: LanViews; readonly host: HostConditions }
  readonly store: StoreStat
}

/** What identifies a cached resource to people. */
export interface CacheEntry {
  readonly url: string
  readonly bytes: number
  readonly cachedBytes: number
  readonly sha256: string | null
  /** How what is cached of it is known. */
  readonly trust: ShownTrust
  readonly visibility: 'branch' | 'private'
  readonly isPinned: boolean
  readonly lastUsedAtMs: number
}

export class Agent {
  readonly key: AgentKey
  readonly config: Config
  readonly #parts: Parts
  readonly #log: Logger
  readonly #clock: Clock
  readonly #startedAtMs: number
  readonly #stop = new AbortController()
  readonly #active = new Set<Promise<unknown>>()
  #network: Network | null = null
  #keys: BranchKeys
  #networkState: AgentStatus['network']['state'] = 'off'
  #networkError: unknown = null
  #networkOpening: Promise<void> = Promise.resolve()
  /** Ends the head start that the origin has over the network of an embedded agent. */
  readonly #networkWanted = new AbortController()
  #jobs: Jobs | null = null
  #closing: Promise<void> | null = null

  private constructor(
    parts: Parts,
    options: { config: Config; log: Logger; clock: Clock; key: AgentKey; keys: BranchKeys },
  ) {
    this.#parts = parts
    this.config = options.config
    this.#log = options.log
    this.#clock = options.clock
    this.key = options.key
    this.#keys = options.keys
    this.#startedAtMs = options.clock.monotonicMs()
  }

  /**
   * Opens an agent; whoever opens it closes it.
   * @throws SHORTHAUL_DATA_DIR_IN_USE, SHORTHAUL_SECRET_INVALID, SHORTHAUL_PORT_IN_USE (daemon), SHORTHAUL_STORE_*
   */
  static async open(options: AgentOptions, components: AgentComponents = {}): Promise<Agent> {
    const { config, role, usePeers = true, env = process.env } = options
    const clock = components.clock ?? systemClock
    const random = components.random ?? systemRandom
    const log = components.log ?? pino({ level: 'silent' })
    const opened: (() => Promise<unknown>)[] = []
    try {
      await makeDataDir(config.dataDir)
      const secret = config.branch.secretFile
        ? await readSecret(config.branch.secretFile)
        : await ensureUserSecret(config.dataDir)
      const pool = new SegmentPool()
      const store = await Store.open(
        { clock, log, pool },
        {
          dataDir: config.dataDir,
          maxBytes: config.cache.maxBytes,
          minFreeBytes: config.cache.minFreeBytes,
          maxAgeMs: config.cache.maxAgeDays === null ? null : config.cache.maxAgeDays * 24 * 3600 * 1000,
        },
      )
      opened.push(() => store.close())
      const keyPair: KeyPair = crypto.keyPair((await ensureIdentitySeed(config.dataDir)).seed)
      const self = idFromBytes<AgentKey>(keyPair.publicKey)
      const ledger = await Ledger.open({ clock, log }, join(config.dataDir, 'ledger.json'))
      opened.push(() => ledger.close())
      const traffic = new OwnTraffic()
      const wan = openWan(
        { clock, log, traffic, openProbe: (url, proxy) => origins.delayProbe(url, proxy) },
        { config, self },
      )
      opened.push(() => wan.host.close())
      opened.push(() => wan.hostState.close())
      opened.push(() => wan.governor.close())
      const origins: Origins = await Origins.open(
        { clock, log, onSocket: (socket) => traffic.add(socket, 'wan'), wan: wan.control },
        originOptions(config, env),
      )
      opened.push(() => origins.close())
      let inForce: BranchSecret = secret
      const roster = await AgentRoster.open({ clock, log }, { config, role, self, secret: () => inForce })
      opened.push(() => roster.close())
      const quarantine = await Quarantine.open(
        { clock, log },
        {
          path: join(config.dataDir, 'quarantine.json'),
          hasRoster: config.branch.roster !== null || secret.rosterKey !== null,
        },
      )
      opened.push(() => quarantine.close())
      const book = new PeerBook({ clock, quarantine })
      const lan = openLan(
        {
          clock,
          log,
          host: wan.host,
          uploadCount: () => parts.laneServer?.activeUploads() ?? 0,
          fetchCount: () => lane.activeCount,
        },
        config,
      )
      opened.push(async () => lan.close())
      const lane: LaneClient = new LaneClient(
        { clock, log, onSocket: (socket) => traffic.add(socket, 'lan'), intake: lan },
        LANE_CLIENT,
      )
      opened.push(() => lane.close())
      const link = usePeers ? new DeferredLink() : null
      if (link) talkOfWan(wan.governor, link)
      const keys = deriveBranchKeys(secret.secret, secret)
      const catalog = new Catalog(keys.wireKey)
      for (const record of await store.resources()) catalog.put(record)
      const accusations = new Accusations({
        origin: origins,
        store,
        link,
        lane,
        quarantine,
        self,
        clock,
        random,
        log,
        onOriginBytes: (checkedBytes) => ledger.add({ checkedBytes }),
      })
      opened.push(() => accusations.close())
      const exchange = new Exchange(
        { store, catalog, link, quarantine, accusations, keyPair, self, clock, random, log },
        { originConnections: config.transfer.originConnections, minClaimBytes: config.transfer.minClaimBytes },
      )
      opened.push(() => exchange.close())
      const transfers = new Transfers(
        {
          store,
          origin: origins,
          exchange,
          link,
          lane: usePeers && config.throttle.lanMaxBytesPerSec !== 0 ? lane : null,
          wan: wan.governor,
          book,
          quarantine,
          accusations,
          pool,
          keyPair,
          self,
          clock,
          random,
          unpredictable: secretRandom,
          log,
        },
        {
          attested: config.trust.attested,
          minClaimBytes: config.transfer.minClaimBytes,
        },
      )
      const parts: Parts = {
        store,
        ledger,
        origins,
        book,
        lane,
        exchange,
        quarantine,
        accusations,
        transfers,
        traffic,
        wan,
        lan,
        roster,
        opened,
        laneServer: null,
        secret: null,
      }
      const agent = new Agent(parts, { config, log, clock, key: self, keys })
      parts.secret = SecretWatch.open(
        { clock, random, log },
        {
          secret,
          onChange: (changed) => {
            inForce = changed
            agent.#onSecret(changed)
          },
        },
      )
      opened.push(async () => parts.secret?.close())
      if (link) {
        const neighbourhood = { keyPair, clock, random, log, link, role }
        agent.#networkState = 'starting'
        if (role === 'daemon') agent.#networkWanted.abort()
        agent.#networkOpening = agent.#openNetwork(neighbourhood, components.wrapReadForPeer)
        // A daemon is ready when its neighbours can reach it; a command does not wait for them.
        if (role === 'daemon') await agent.#networkOpening
        else agent.#networkOpening.catch(() => {})
      }
      if (options.hasJobs ?? role === 'daemon') {
        agent.#jobs = await openJobs(
          {
            clock,
            random,
            log,
            governor: wan.governor,
            gate: wan.gate,
            fetch: (request, delivery, about) => agent.fetch(request, delivery, about),
            ...(components.jobTargets ? { targets: components.jobTargets } : {}),
          },
          config,
        )
      }
      return agent
    } catch (error) {
      for (const close of opened.reverse()) await close().catch((err: unknown) => log.warn({ err }, 'close failed'))
      throw error
    }
  }

  /** Reads the file of the branch secret again. @returns whether it says something else than before */
  async reloadSecret(): Promise<boolean> {
    return (await this.#parts.secret?.reload()) ?? false
  }

  /**
   * Gets one resource into one target, verified. The delivery is ended either way. What `onEvent` throws is logged and
   * changes nothing. @see Transfers.run
   */
  async fetch(
    request: TransferRequest,
    delivery: Delivery,
    options: {
      readonly signal?: AbortSignal
      readonly onEvent?: (event: TransferEvent) => void
      /** False: asked by somebody else than the owner of this agent. Default: true. */
      readonly isOwner?: boolean
    } = {},
  ): Promise<TransferResult> {
    const signal = options.signal ? AbortSignal.any([options.signal, this.#stop.signal]) : this.#stop.signal
    // One spelling for one location: neighbours meet by it, and the cache is keyed by it.
    let url: string
    try {
      url = normaliseUrl(request.url)
    } catch (error) {
      await delivery.abandon()
      throw error
    }
    if (!request.useOrigin) this.#networkWanted.abort()
    const run = this.#parts.transfers.run({ ...request, url }, delivery, {
      signal,
      onEvent: (event) => {
        try {
          options.onEvent?.(event)
        } catch (err) {
          this.#log.warn({ err, event: event.event }, 'who listens to a fetch failed')
        }
      },
      isOwner: options.isOwner ?? true,
    })
    this.#active.add(run)
    try {
      const result = await run
      this.#parts.ledger.add({
        cacheBytes: result.sources.cache,
        peerBytes: result.sources.peer,
        originBytes: result.sources.origin,
        wastedBytes: result.wastedBytes,
        checkedBytes: result.checkedBytes,
        fetchCount: 1,
      })
      return result
    } catch (error) {
      if (!isShorthaulError(error, 'SHORTHAUL_ABORTED')) this.#parts.ledger.add({ failedCount: 1 })
      throw error
    } finally {
      this.#active.delete(run)
    }
  }

  /** Resolves when the network is up (or has failed): for those who want neighbours before they start. */
  async whenNetworkIsUp(): Promise<void> {
    this.#networkWanted.abort()
    await this.#networkOpening.catch(() => {})
  }

  /** The jobs of this agent, as its own user: everything is allowed. @throws SHORTHAUL_USAGE when it has none */
  get jobs(): JobsApi {
    return this.jobsAs(AGENT_USER)
  }

  /** The same for somebody else. */
  jobsAs(caller: Caller): JobsApi {
    if (this.#jobs === null) {
      throw new ShorthaulError('SHORTHAUL_USAGE', 'Cannot use jobs: this agent carries out none; a daemon does')
    }
    return this.#jobs.as(caller)
  }

  /** Of the last event of jobs that was recorded: a stream that begins after it misses nothing from here on. */
  lastJobEventId(): number {
    return this.#jobs?.lastEventId ?? 0
  }

  /** The user whose agent this is. */
  get user(): Caller {
    return AGENT_USER
  }

  /** Whether targets can be written with the rights of this user: root becomes anybody (jobs/owner-child.ts). */
  canWriteAs({ uid }: Caller): boolean {
    return uid === AGENT_USER.uid || AGENT_USER.uid === 0
  }

  peers(): readonly PeerStatus[] {
    const nowMs = this.#clock.monotonicMs()
    const { quarantine } = this.#parts
    return (this.#network?.peers() ?? []).map((peer) => {
      const view = this.#parts.book.view(peer.key)
      return {
        key: peer.key,
        hostName: peer.hostName,
        address: peer.address,
        isLocal: peer.isLocal,
        lanePort: peer.lane?.port ?? null,
        rttMs: peer.rttMs,
        connectedForMs: Math.round(nowMs - peer.connectedAtMonotonicMs),
        bytesPerSec: view.bytesPerSec,
        servedBytes: view.servedBytes,
        isBanned: view.isBanned,
        isQuarantined: quarantine.has(peer.key),
        failures: view.failures,
        version: peer.agentVersion,
      }
    })
  }

  /** Who belongs to the branch. */
  get branch(): AgentRoster {
    return this.#parts.roster
  }

  /** Members that signed what an origin does not have, the one caught last first. */
  quarantine(): readonly QuarantineEntry[] {
    return this.#parts.quarantine.list()
  }

  /** Believes a member again, and whoever shared its address. @returns how many were let out */
  liftQuarantine(key: AgentKey): number {
    return this.#parts.quarantine.lift(key)
  }

  async status(): Promise<AgentStatus> {
    const { store, ledger, laneServer } = this.#parts
    const error = this.#networkError
    return {
      version: AGENT_VERSION,
      key: this.key,
      branch: this.config.branch.name,
      dataDir: this.config.dataDir,
      uptimeMs: Math.round(this.#clock.monotonicMs() - this.#startedAtMs),
      network: {
        state: this.#networkState,
        address: this.#network?.address ?? null,
        lanePort: this.lanePort,
        error: error instanceof Error ? error.message : null,
      },
      peers: this.peers(),
      activeFetches: this.#active.size,
      activeUploads: laneServer?.activeUploads() ?? 0,
      jobs: this.#jobs?.counts() ?? null,
      ...ledger.view(),
      throttle: {
        wan: this.#parts.wan.governor.view(),
        lan: this.#parts.lan.view(),
        host: this.#parts.wan.hostState.conditions,
      },
      store: await store.stat(),
    }
  }

  /** What the network layer saw: for `doctor`. Null while it is off or starting. */
  diagnoseNetwork(): ReturnType<Network['diagnose']> | null {
    return this.#network?.diagnose() ?? null
  }

  refreshNetwork(): void {
    this.#network?.refresh()
  }

  /** TCP port on which neighbours fetch; null when nothing is served. */
  get lanePort(): number | null {
    return this.#parts.laneServer?.port ?? null
  }

  /** Asks an origin what it can do, without fetching content. */
  async probeOrigin(
    url: string,
    options: { readonly signal: AbortSignal; readonly isOwner?: boolean },
  ): Promise<OriginFacts> {
    return this.#parts.origins.probe({ url, headers: [], useAgentCredentials: options.isOwner ?? true }, options)
  }

  async cacheEntries(): Promise<CacheEntry[]> {
    const { store, exchange } = this.#parts
    const entries: CacheEntry[] = []
    for (const record of await store.resources()) {
      entries.push({
        url: record.resource.url,
        bytes: record.resource.lengthBytes,
        cachedBytes: await exchange.heldBytes(record),
        sha256: record.sha256,
        trust: await exchange.trustOf(record),
        visibility: record.visibility,
        isPinned: record.isPinned,
        lastUsedAtMs: record.lastUsedAtMs,
      })
    }
    return entries
  }

  async cacheStat(): Promise<StoreStat> {
    return this.#parts.store.stat()
  }

  verifyCache(options: Parameters<Store['verify']>[0]): ReturnType<Store['verify']> {
    return this.#parts.store.verify(options)
  }

  /** @returns how many resources matched: all generations of the URL */
  async pin(url: string): Promise<number> {
    return this.#each(url, (record) => this.#parts.store.pin(record.id))
  }

  async unpin(url: string): Promise<number> {
    return this.#each(url, (record) => this.#parts.store.unpin(record.id))
  }

  async removeCached(url: string): Promise<number> {
    return this.#each(url, async (record) => {
      await this.#parts.exchange.removed(record)
      await this.#parts.store.removeResource(record.id)
    })
  }

  /** Ends running fetches (their parts are kept), leaves the branch and closes everything. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #close(): Promise<void> {
    // Jobs first: what they have is kept for the next time, and is no failure.
    await this.#jobs?.close().catch((err: unknown) => this.#log.warn({ err }, 'jobs did not close'))
    this.#stop.abort(new ShorthaulError('SHORTHAUL_ABORTED', 'The agent is closing'))
    await Promise.allSettled(this.#active)
    await this.#networkOpening.catch(() => {})
    const { laneServer, opened } = this.#parts
    // Neighbours first hear that we leave, then the lane closes, then what it read from.
    await this.#network?.close().catch((err: unknown) => this.#log.warn({ err }, 'network did not close'))
    await laneServer?.close().catch((err: unknown) => this.#log.warn({ err }, 'lane did not close'))
    for (const close of opened.reverse()) {
      await close().catch((err: unknown) => this.#log.warn({ err }, 'close failed'))
    }
  }

  async #each(url: string, change: (record: ResourceRecord) => Promise<void>): Promise<number> {
    const wanted = normaliseUrl(url)
    let matched = 0
    for (const record of await this.#parts.store.resources()) {
      if (record.resource.url !== wanted) continue
      await change(record)
      matched++
    }
    return matched
  }

  #onSecret(secret: BranchSecret): void {
    const keys = deriveBranchKeys(secret.secret, secret)
    if (!keys.wireKey.equals(this.#keys.wireKey)) {
      // Everything in the cache is named with it. `branch rotate` never changes it: this is another branch's file.
      this.#log.warn('the branch secret is that of another branch: what is cached is found there after a restart only')
    }
    this.#keys = keys
    this.#network?.setKeys(keys)
    const { roster } = this.#parts
    roster.book.setTrust(secret).catch((err: unknown) => this.#log.error({ err }, 'the roster was not taken up'))
  }

  async #openNetwork(neighbourhood: Neighbourhood, wrap: AgentComponents['wrapReadForPeer']): Promise<void> {
    const { config } = this
    const { keyPair, clock, random, log, link, role } = neighbourhood
    const { store, lane, ledger, traffic, lan, accusations, roster } = this.#parts
    try {
      const isWanted = AbortSignal.any([this.#networkWanted.signal, this.#stop.signal])
      if (!isWanted.aborted) await clock.sleep(HEAD_START_MS, { signal: isWanted }).catch(() => {})
      if (this.#stop.signal.aborted) return
      const [{ LaneServer }, { Network }] = await Promise.all([
        import('./peers/lane-server.ts'),
        import('./peers/network.ts'),
      ])
      if (this.#stop.signal.aborted) return
      const offers = new LaneOffers({ clock }, LANE_OFFERS)
      this.#parts.opened.push(async () => offers.close())
      const read: ReadForPeer = async (hash, { signal }) =>
        (await store.read(hash, { signal, expectVisibility: 'branch' }))?.bytes ?? accusations.evidence(hash)
      const laneServer = config.serve.enabled
        ? await LaneServer.open(
            {
              clock,
              log,
              offers,
              read: wrap ? wrap(read) : read,
              onSent: (bytes) => store.release(bytes),
              onServed: (_peer, servedBytes) => ledger.add({ servedBytes }),
              onSocket: (socket) => traffic.add(socket, 'lan'),
              pace: lan,
            },
            {
              ...LANE_SERVER,
              port: config.network.lanePort,
              maxUploads: config.serve.maxUploads,
              portFallback: role === 'embedded',
            },
          )
        : null
      this.#parts.laneServer = laneServer
      const network = await Network.open(
        { clock, random, log, keyPair, keys: this.#keys, rosterBook: roster.book },
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
          lane: laneServer
            ? {
                port: laneServer.port,
                offerFor: (peer) => offers.offerFor(peer),
                revoke: (peer) => offers.revoke(peer),
                endSession: (peer, session) => offers.endSession(peer, session),
              }
            : null,
        },
      )
      network.on('leave', (peer) => {
        lane.forget(peer.key).catch((err: unknown) => log.warn({ err }, 'lane did not forget a peer'))
      })
      network.setKeys(this.#keys) // the secret may have been replaced while it opened
      this.#network = network
      this.#networkState = 'up'
      link.attach(network)
    } catch (error) {
      this.#networkState = 'failed'
      this.#networkError = error
      log.warn({ err: error }, 'no neighbours: the network did not start')
      throw error
    }
  }
}

const AGENT_USER: Caller = { ...processUser(), isAdmin: true }

/**
 * An embedded agent's network starts this long after the agent: loading and opening it keeps the process busy for 0.2 s,
 * in which the first request would wait, and small content is had without it.
 */
const HEAD_START_MS = 100
/** As many connections as requests in flight to one peer: a request never waits behind another in our own queue. */
const LANE_CLIENT = { connectionsPerPeer: 4, requestTimeoutMs: 60_000, stallTimeoutMs: 2500 }
/** An offer outlives its session by 30 s, so that a session that flaps does not break what is on its way. */
const LANE_OFFERS = { graceMs: 30_000, maxOffers: 1024 }
/** On all interfaces: who has no key gets nothing there, and a laptop's address changes. */
const LANE_SERVER = { host: '0.0.0.0', maxConnections: 512, maxConnectionsPerPeer: 16 }

interface Neighbourhood {
  readonly keyPair: KeyPair
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
  readonly link: DeferredLink
  readonly role: AgentOptions['role']
}

interface Parts {
  readonly store: Store
  readonly ledger: Ledger
  readonly origins: Origins
  readonly book: PeerBook
  readonly lane: LaneClient
  readonly exchange: Exchange
  readonly quarantine: Quarantine
  readonly accusations: Accusations
  readonly transfers: Transfers
  readonly traffic: OwnTraffic
  readonly wan: WanParts
  readonly lan: LanGovernor
  readonly roster: AgentRoster
  /** How to close what was opened, in order of opening. */
  readonly opened: (() => Promise<unknown>)[]
  laneServer: LaneServer | null
  secret: SecretWatch | null
}

async function makeDataDir(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true, mode: 0o700 })
  } catch (cause) {
    throw localIoError('create the data directory', path, cause, 'SHORTHAUL_STORE_IO')
  }
}

/** For whoever talks to origins beside an agent: `doctor`. */
export function originOptions(config: Config, env: Readonly<Record<string, string | undefined>>): OriginOptions {
  const { origin } = config
  return {
    userAgent: `shorthaul/${AGENT_VERSION}`,
    connectTimeoutMs: origin.connectTimeoutMs,
    headersTimeoutMs: origin.headersTimeoutMs,
    idleTimeoutMs: origin.idleTimeoutMs,
    maxRedirects: origin.maxRedirects,
    caFile: origin.caFile,
    clientCert:
      origin.clientCertFile && origin.clientKeyFile
        ? { certFile: origin.clientCertFile, keyFile: origin.clientKeyFile }
        : null,
    netrcFile: origin.netrcFile,
    env,
    maxConnectionsPerOrigin: Math.max(6, config.transfer.originConnections + 2),
  }
}
