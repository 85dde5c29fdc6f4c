/** The composition root: what an agent is made of is opened, wired and closed here. Daemon, CLI and library use this same class. */
import pino, { type Logger } from 'pino'
import { type Clock, type Random, systemClock, systemRandom } from '../clock.ts'
import type { Config } from '../config/schema.ts'
import type { AgentKey } from '../content/ids.ts'
import { ShorthaulError } from '../errors.ts'
import type { Caller } from '../jobs/job-access.ts'
import type { JobTargets } from '../jobs/job-targets.ts'
import type { Jobs } from '../jobs/jobs.ts'
import type { JobsApi } from '../jobs/jobs-api.ts'
import type { OriginFacts } from '../origin/origin.ts'
import { normaliseUrl } from '../origin/origins.ts'
import type { ReadForPeer } from '../peers/lane-server.ts'
import type { Network } from '../peers/network.ts'
import type { QuarantineEntry } from '../peers/quarantine.ts'
import type { Delivery, TransferEvent, TransferRequest, TransferResult } from '../transfer/request.ts'
import { AGENT_VERSION } from '../version.ts'
import { AgentCache } from './cache.ts'
import { openJobs, processUser } from './jobs.ts'
import { type AgentParts, openParts } from './parts.ts'
import type { AgentRoster } from './roster.ts'
import type { AgentStatus, PeerStatus } from './views.ts'

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

const AGENT_USER: Caller = { ...processUser(), isAdmin: true }

export class Agent {
  readonly key: AgentKey
  readonly config: Config
  /** What is cached, by URL. */
  readonly cache: AgentCache
  readonly #parts: AgentParts
  readonly #log: Logger
  readonly #clock: Clock
  readonly #startedAtMs: number
  readonly #stop: AbortController
  readonly #active = new Set<Promise<unknown>>()
  #jobs: Jobs | null = null
  #closing: Promise<void> | null = null

  private constructor(
    parts: AgentParts,
    options: { config: Config; log: Logger; clock: Clock; stop: AbortController },
  ) {
    this.#parts = parts
    this.config = options.config
    this.#log = options.log
    this.#clock = options.clock
    this.#stop = options.stop
    this.key = parts.self
    this.cache = new AgentCache(parts)
    this.#startedAtMs = options.clock.monotonicMs()
  }

  /**
   * Opens an agent; whoever opens it closes it.
   * @throws SHORTHAUL_DATA_DIR_IN_USE, SHORTHAUL_SECRET_INVALID, SHORTHAUL_PORT_IN_USE (daemon), SHORTHAUL_STORE_*
   */
  static async open(options: AgentOptions, components: AgentComponents = {}): Promise<Agent> {
    const { config, role, usePeers = true, env = process.env } = options
    const { clock = systemClock, random = systemRandom, log = pino({ level: 'silent' }) } = components
    const { wrapReadForPeer, jobTargets: targets } = components
    const stop = new AbortController()
    const parts = await openParts(
      { clock, random, log, ...(wrapReadForPeer ? { wrapReadForPeer } : {}) },
      { config, role, usePeers, env, signal: stop.signal },
    )
    const agent = new Agent(parts, { config, log, clock, stop })
    try {
      // A daemon is ready when its neighbours can reach it; a command does not wait for them.
      if (role === 'daemon') await parts.neighbourhood?.whenUp()
      if (options.hasJobs ?? role === 'daemon') {
        const { governor, gate } = parts.wan
        const fetch: Agent['fetch'] = (request, delivery, about) => agent.fetch(request, delivery, about)
        agent.#jobs = await openJobs(
          { clock, random, log, governor, gate, fetch, ...(targets ? { targets } : {}) },
          config,
        )
      }
      return agent
    } catch (error) {
      await agent.close()
      throw error
    }
  }

  /** Reads the file of the branch secret again. @returns whether it says something else than before */
  reloadSecret(): Promise<boolean> {
    return this.#parts.secret.reload()
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
    const { transfers, ledger, neighbourhood } = this.#parts
    const signal = options.signal ? AbortSignal.any([options.signal, this.#stop.signal]) : this.#stop.signal
    // One spelling for one location: neighbours meet by it, and the cache is keyed by it.
    let url: string
    try {
      url = normaliseUrl(request.url)
    } catch (error) {
      await delivery.abandon()
      throw error
    }
    if (!request.useOrigin) neighbourhood?.want()
    const run = transfers.run({ ...request, url }, delivery, {
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
      ledger.add({
        cacheBytes: result.sources.cache,
        peerBytes: result.sources.peer,
        originBytes: result.sources.origin,
        wastedBytes: result.wastedBytes,
        checkedBytes: result.checkedBytes,
        fetchCount: 1,
      })
      return result
    } catch (error) {
      if (!signal.aborted) ledger.add({ failedCount: 1 }) // who was interrupted has not failed
      throw error
    } finally {
      this.#active.delete(run)
    }
  }

  /** Resolves when the network is up (or has failed): for those who want neighbours before they start. */
  async whenNetworkIsUp(): Promise<void> {
    await this.#parts.neighbourhood?.whenUp().catch(() => {})
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
    const { book, quarantine, neighbourhood } = this.#parts
    return (neighbourhood?.peers() ?? []).map((peer) => {
      const view = book.view(peer.key)
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
    const { store, ledger, neighbourhood, wan, lan } = this.#parts
    return {
      version: AGENT_VERSION,
      key: this.key,
      branch: this.config.branch.name,
      dataDir: this.config.dataDir,
      uptimeMs: Math.round(this.#clock.monotonicMs() - this.#startedAtMs),
      network: neighbourhood?.view() ?? { state: 'off', address: null, lanePort: null, error: null },
      peers: this.peers(),
      activeFetches: this.#active.size,
      activeUploads: neighbourhood?.activeUploads ?? 0,
      jobs: this.#jobs?.counts() ?? null,
      ...ledger.view(),
      throttle: { wan: wan.governor.view(), lan: lan.view(), host: wan.hostState.conditions },
      store: await store.stat(),
    }
  }

  /** What the network layer saw: for `doctor`. Null while it is off or starting. */
  diagnoseNetwork(): ReturnType<Network['diagnose']> | null {
    return this.#parts.neighbourhood?.diagnose() ?? null
  }

  refreshNetwork(): void {
    this.#parts.neighbourhood?.refresh()
  }

  /** TCP port on which neighbours fetch; null when nothing is served. */
  get lanePort(): number | null {
    return this.#parts.neighbourhood?.view().lanePort ?? null
  }

  /** Asks an origin what it can do, without fetching content. */
  async probeOrigin(
    url: string,
    options: { readonly signal: AbortSignal; readonly isOwner?: boolean },
  ): Promise<OriginFacts> {
    return this.#parts.origins.probe({ url, headers: [], useAgentCredentials: options.isOwner ?? true }, options)
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
    await this.#parts.close()
  }
}
