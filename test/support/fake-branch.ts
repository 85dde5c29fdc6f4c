/**
 * A branch in one process: agents with real stores and real transfers, joined by a control session and a lane made of
 * function calls. Faults are switched on per agent. What crosses between agents is recorded.
 */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import crypto from 'hypercore-crypto'
import { pino } from 'pino'
import { seededRandom, systemClock } from '../../src/clock.ts'
import { type AgentKey, idFromBytes, type SegmentHash } from '../../src/content/ids.ts'
import { SegmentPool } from '../../src/content/segment-pool.ts'
import { abortError, ShorthaulError } from '../../src/errors.ts'
import type { Origin } from '../../src/origin/origin.ts'
import type { Message } from '../../src/peers/messages.ts'
import { PeerBook } from '../../src/peers/peer-book.ts'
import { Quarantine } from '../../src/peers/quarantine.ts'
import { Store } from '../../src/store/store.ts'
import { Accusations } from '../../src/transfer/accusations.ts'
import { Catalog } from '../../src/transfer/catalog.ts'
import { Exchange } from '../../src/transfer/exchange.ts'
import { PartFile } from '../../src/transfer/part-file.ts'
import type { PeerLane, PeerLike, PeerLink, WanControl } from '../../src/transfer/ports.ts'
import { RangePart } from '../../src/transfer/range-part.ts'
import type { TransferEvent, TransferNote, TransferRequest, TransferResult } from '../../src/transfer/request.ts'
import { Transfers } from '../../src/transfer/transfers.ts'
import { openOrigins } from './open-origins.ts'

export const log = pino({ level: 'silent' })
export const WIRE_KEY = Buffer.alloc(32, 7)

export interface AgentFaults {
  /** Flips a bit in every segment that it serves. */
  isLying?: boolean
  /** Called before each serve; what it throws is what the asker sees. */
  onServe?: (hash: SegmentHash) => void | Promise<void>
}

type Listener = (peer: PeerLike, extra: never) => void

export class FakeBranch {
  readonly agents = new Map<AgentKey, FakeAgent>()
  readonly messages: { from: AgentKey; to: AgentKey; message: Message }[] = []
  onMessage: (sent: { from: AgentKey; to: AgentKey; message: Message }) => void = () => {}

  async add(
    dir: string,
    options: {
      maxBytes?: number
      origin?: Origin
      attested?: 'accept' | 'spot-check' | 'refuse'
      keySeed?: number
      wan?: WanControl
    } = {},
  ): Promise<FakeAgent> {
    const agent = await FakeAgent.open(this, { dir, seed: options.keySeed ?? this.agents.size + 1, ...options })
    for (const other of this.agents.values()) {
      agent.emit('join', other.asPeer, undefined as never)
      other.emit('join', agent.asPeer, undefined as never)
    }
    this.agents.set(agent.key, agent)
    return agent
  }

  /** As a crash looks to the others. */
  drop(agent: FakeAgent): void {
    this.agents.delete(agent.key)
    for (const other of this.agents.values()) other.emit('leave', agent.asPeer, 'gone' as never)
  }

  async close(): Promise<void> {
    for (const agent of [...this.agents.values()]) {
      this.agents.delete(agent.key)
      await agent.close()
    }
  }
}

export class FakeAgent implements PeerLink, PeerLane {
  readonly key: AgentKey
  readonly store: Store
  readonly origin: Origin
  readonly quarantine: Quarantine
  readonly accusations: Accusations
  readonly book: PeerBook
  /** Asked of the origin because somebody was accused. */
  lookedBytes = 0
  readonly faults: AgentFaults = {}
  readonly transfers: Transfers
  readonly exchange: Exchange
  readonly dir: string
  readonly #branch: FakeBranch
  readonly #listeners = new Map<string, Set<Listener>>()

  private constructor(
    branch: FakeBranch,
    parts: {
      dir: string
      store: Store
      origin: Origin
      seed: number
      attested: 'accept' | 'spot-check' | 'refuse'
      quarantine: Quarantine
      wan: WanControl | null
    },
  ) {
    const keyPair = crypto.keyPair(Buffer.alloc(32, parts.seed))
    this.key = idFromBytes<AgentKey>(keyPair.publicKey)
    this.#branch = branch
    this.dir = parts.dir
    this.store = parts.store
    this.origin = parts.origin
    this.quarantine = parts.quarantine
    this.book = new PeerBook({ clock: systemClock, quarantine: this.quarantine })
    const random = seededRandom(parts.seed)
    const { quarantine, origin } = parts
    const base = { store: this.store, link: this, quarantine, self: this.key, clock: systemClock, random, log }
    this.accusations = new Accusations({
      ...base,
      origin,
      lane: this,
      onOriginBytes: (bytes) => {
        this.lookedBytes += bytes
      },
    })
    const common = { ...base, keyPair, accusations: this.accusations }
    this.exchange = new Exchange(
      { ...common, catalog: new Catalog(WIRE_KEY) },
      { originConnections: 4, minClaimBytes: 256 * 1024 },
    )
    this.transfers = new Transfers(
      {
        ...common,
        origin,
        exchange: this.exchange,
        lane: this,
        unpredictable: random,
        wan: parts.wan,
        book: this.book,
        pool: new SegmentPool(),
      },
      { attested: parts.attested, minClaimBytes: 256 * 1024 },
    )
  }

  static async open(
    branch: FakeBranch,
    options: {
      dir: string
      seed: number
      maxBytes?: number
      origin?: Origin
      attested?: 'accept' | 'spot-check' | 'refuse'
      wan?: WanControl
    },
  ): Promise<FakeAgent> {
    const { dir, seed, maxBytes = 2 ** 30, attested = 'accept', wan = null } = options
    await mkdir(dir, { recursive: true })
    const store = await Store.open(
      { clock: systemClock, log },
      { dataDir: join(dir, 'data'), maxBytes, minFreeBytes: 0, maxAgeMs: null },
    )
    const quarantine = await Quarantine.open(
      { clock: systemClock, log },
      { path: join(dir, 'quarantine.json'), hasRoster: false },
    )
    const origin = options.origin ?? (await openOrigins())
    return new FakeAgent(branch, { dir, store, origin, seed, attested, wan, quarantine })
  }

  get asPeer(): PeerLike {
    const lane = { host: '127.0.0.1', port: 1, identity: Buffer.alloc(16), psk: Buffer.alloc(32) }
    return { key: this.key, isLocal: true, rttMs: 0.2, lane }
  }

  /** Fetches into a file of its own directory. */
  async fetch(
    url: string,
    options: Partial<TransferRequest> & {
      name?: string
      signal?: AbortSignal
      onEvent?: (event: TransferEvent) => void
    } = {},
  ): Promise<TransferResult & { path: string; notes: TransferNote[] }> {
    const { name = 'target.bin', signal = new AbortController().signal, onEvent, ...request } = options
    const path = join(this.dir, name)
    const notes: TransferNote[] = []
    const result = await this.transfers.run(
      {
        url,
        headers: [],
        sha256: null,
        priority: 'foreground',
        usePeers: true,
        useOrigin: true,
        originMaxBytesPerSec: null,
        ...request,
      },
      request.ranges
        ? await RangePart.openStaged({ target: path, staged: path }, request.ranges)
        : await PartFile.open(path),
      {
        signal,
        isOwner: true,
        onEvent: (event) => {
          if (event.event === 'note') notes.push(event)
          onEvent?.(event)
        },
      },
    )
    return { ...result, path, notes }
  }

  /** What was sent to it has been handled, or waits for something else than this process. */
  async idle(): Promise<void> {
    for (let round = 0; round < 20; round++) {
      await this.store.stat()
      await new Promise((resolve) => setImmediate(resolve))
    }
  }

  /** As the next run of the agent finds it. */
  reopenQuarantine(): Promise<Quarantine> {
    return Quarantine.open({ clock: systemClock, log }, { path: join(this.dir, 'quarantine.json'), hasRoster: false })
  }

  async close(): Promise<void> {
    await this.exchange.close()
    await this.accusations.close()
    await this.quarantine.close()
    await this.origin.close()
    await this.store.close()
  }

  // The control session

  peers(): readonly PeerLike[] {
    return [...this.#branch.agents.values()].filter((agent) => agent !== this).map((agent) => agent.asPeer)
  }

  send(peer: AgentKey, message: Message): boolean {
    const to = this.#branch.agents.get(peer)
    if (!to || !this.#branch.agents.has(this.key)) return false
    const sent = { from: this.key, to: peer, message }
    this.#branch.messages.push(sent)
    this.#branch.onMessage(sent)
    setImmediate(() => {
      if (this.#branch.agents.has(this.key)) to.emit('message', this.asPeer, message as never)
    })
    return true
  }

  broadcast(message: Message): number {
    const peers = this.peers()
    for (const peer of peers) this.send(peer.key, message)
    return peers.length
  }

  memberCount(): number {
    return this.peers().length + 1
  }

  setInUse(): void {}

  on(event: string, listener: Listener | ((peer: PeerLike) => void)): () => void {
    const listeners = this.#listeners.get(event) ?? new Set()
    this.#listeners.set(event, listeners)
    listeners.add(listener as Listener)
    return () => listeners.delete(listener as Listener)
  }

  emit(event: string, peer: PeerLike, extra: never): void {
    for (const listener of this.#listeners.get(event) ?? []) listener(peer, extra)
  }

  // The lane

  async fetchSegment(
    endpoint: { readonly peer: AgentKey },
    hash: SegmentHash,
    options: { readonly into: Uint8Array; readonly signal: AbortSignal },
  ): Promise<void> {
    const server = this.#branch.agents.get(endpoint.peer)
    const { signal } = options
    await Promise.race([
      server?.faults.onServe?.(hash),
      new Promise<never>((_, reject) => signal.addEventListener('abort', () => reject(abortError(signal)))),
    ])
    if (!server || !this.#branch.agents.has(endpoint.peer)) {
      throw new ShorthaulError('SHORTHAUL_PEER_UNREACHABLE', 'Cannot reach the peer', { details: { receivedBytes: 0 } })
    }
    const segment = await server.store.read(hash, { signal: options.signal, expectVisibility: 'branch' })
    const evidence = segment ? null : server.accusations.evidence(hash)
    if (!segment && !evidence)
      throw new ShorthaulError('SHORTHAUL_PEER_MISSING', 'Cannot find the segment', { details: { receivedBytes: 0 } })
    options.into.set(segment?.bytes ?? evidence ?? [])
    if (server.faults.isLying) options.into[0] = (options.into[0] ?? 0) ^ 1
  }
}
