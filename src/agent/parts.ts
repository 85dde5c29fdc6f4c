/** Opens what an agent is made of, in the order of a byte's path, wired; and closes it in reverse. No logic of its own beyond the wiring. */
import { mkdir } from 'node:fs/promises'
import type { Socket } from 'node:net'
import { join } from 'node:path'
import crypto, { type KeyPair } from 'hypercore-crypto'
import type { Logger } from 'pino'
import { type Clock, type Random, secretRandom } from '../clock.ts'
import type { Config } from '../config/schema.ts'
import { type BranchSecret, ensureIdentitySeed, ensureUserSecret, readSecret } from '../config/secret.ts'
import { type AgentKey, idFromBytes } from '../content/ids.ts'
import { SegmentPool } from '../content/segment-pool.ts'
import { localIoError } from '../errors.ts'
import { Ledger } from '../metrics/ledger.ts'
import { Origins } from '../origin/origins.ts'
import { deriveBranchKeys } from '../peers/branch-keys.ts'
import { LaneClient } from '../peers/lane-client.ts'
import type { ReadForPeer } from '../peers/lane-server.ts'
import { PeerBook } from '../peers/peer-book.ts'
import { Quarantine } from '../peers/quarantine.ts'
import { Store } from '../store/store.ts'
import type { LanGovernor } from '../throttle/lan-governor.ts'
import { OwnTraffic } from '../throttle/own-traffic.ts'
import { Accusations } from '../transfer/accusations.ts'
import { Catalog } from '../transfer/catalog.ts'
import { DeferredLink } from '../transfer/deferred-link.ts'
import { Exchange } from '../transfer/exchange.ts'
import { Transfers } from '../transfer/transfers.ts'
import { talkOfWan } from '../transfer/wan-talk.ts'
import { openLan } from './lan.ts'
import { Neighbourhood } from './neighbourhood.ts'
import { originOptions } from './origin-options.ts'
import { AgentRoster } from './roster.ts'
import { SecretWatch } from './secret.ts'
import { openWan, type WanParts } from './wan.ts'

/** As many connections as requests in flight to one peer: a request never waits behind another in our own queue. */
const LANE_CLIENT = { connectionsPerPeer: 4, requestTimeoutMs: 60_000, stallTimeoutMs: 2500 }
const DAY_MS = 24 * 3600 * 1000

export interface PartsComponents {
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
  /** Stands between the store and the lane. */
  readonly wrapReadForPeer?: (read: ReadForPeer) => ReadForPeer
}

export interface PartsOptions {
  readonly config: Config
  readonly role: 'daemon' | 'embedded'
  readonly usePeers: boolean
  readonly env: Readonly<Record<string, string | undefined>>
  /** Ends the opening of the network. */
  readonly signal: AbortSignal
}

export interface AgentParts {
  readonly self: AgentKey
  readonly store: Store
  readonly ledger: Ledger
  readonly origins: Origins
  readonly book: PeerBook
  readonly exchange: Exchange
  readonly quarantine: Quarantine
  readonly transfers: Transfers
  readonly wan: WanParts
  readonly lan: LanGovernor
  readonly roster: AgentRoster
  readonly secret: SecretWatch
  /** Null: this agent has no neighbours. It may not be up yet. */
  readonly neighbourhood: Neighbourhood | null
  /** Of all of it. Call it once, after the signal was aborted. */
  close(): Promise<void>
}

/** @throws SHORTHAUL_DATA_DIR_IN_USE, SHORTHAUL_SECRET_INVALID, SHORTHAUL_STORE_*; then nothing is left open */
export async function openParts(components: PartsComponents, options: PartsOptions): Promise<AgentParts> {
  const { log } = components
  const closers: (() => Promise<unknown>)[] = []
  const close = async () => {
    for (const one of closers.reverse()) await one().catch((err: unknown) => log.warn({ err }, 'close failed'))
  }
  try {
    const parts = await openAll(components, options, (closer) => closers.push(closer))
    return { ...parts, close }
  } catch (error) {
    await close()
    throw error
  }
}

async function openAll(
  components: PartsComponents,
  { config, role, usePeers, env, signal }: PartsOptions,
  onOpened: (close: () => Promise<unknown>) => void,
): Promise<Omit<AgentParts, 'close'>> {
  const { clock, random, log, wrapReadForPeer } = components
  const { dataDir } = config
  await makeDataDir(dataDir)
  const secret = config.branch.secretFile ? await readSecret(config.branch.secretFile) : await ensureUserSecret(dataDir)
  const keys = deriveBranchKeys(secret.secret, secret)
  const pool = new SegmentPool()
  const store = await Store.open(
    { clock, log, pool },
    {
      dataDir,
      maxBytes: config.cache.maxBytes,
      minFreeBytes: config.cache.minFreeBytes,
      maxAgeMs: config.cache.maxAgeDays === null ? null : config.cache.maxAgeDays * DAY_MS,
    },
  )
  onOpened(() => store.close())
  const keyPair: KeyPair = crypto.keyPair((await ensureIdentitySeed(dataDir)).seed)
  const self = idFromBytes<AgentKey>(keyPair.publicKey)
  const ledger = await Ledger.open({ clock, log }, join(dataDir, 'ledger.json'))
  onOpened(() => ledger.close())

  const traffic = new OwnTraffic()
  const wan = openWan(
    { clock, log, traffic, openProbe: (url, proxy) => origins.delayProbe(url, proxy) },
    { config, self },
  )
  onOpened(() => wan.host.close())
  onOpened(() => wan.hostState.close())
  onOpened(() => wan.governor.close())
  const origins: Origins = await Origins.open(
    { clock, log, onSocket: (socket) => traffic.add(socket, 'wan'), wan: wan.control },
    originOptions(config, env),
  )
  onOpened(() => origins.close())

  let secretInForce = secret
  const roster = await AgentRoster.open({ clock, log }, { config, role, self, secret: () => secretInForce })
  onOpened(() => roster.close())
  const quarantine = await Quarantine.open(
    { clock, log },
    { path: join(dataDir, 'quarantine.json'), hasRoster: config.branch.roster !== null || secret.rosterKey !== null },
  )
  onOpened(() => quarantine.close())
  const book = new PeerBook({ clock, quarantine })
  let neighbourhood: Neighbourhood | null = null // the last to be opened
  const lan = openLan(
    {
      clock,
      log,
      host: wan.host,
      uploadCount: () => neighbourhood?.activeUploads ?? 0,
      fetchCount: () => lane.activeCount,
    },
    config,
  )
  onOpened(async () => lan.close())
  const lane: LaneClient = new LaneClient(
    { clock, log, onSocket: (socket) => traffic.add(socket, 'lan'), intake: lan },
    LANE_CLIENT,
  )
  onOpened(() => lane.close())

  const link = usePeers ? new DeferredLink() : null
  if (link) talkOfWan(wan.governor, link)
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
  onOpened(() => accusations.close())
  const exchange = new Exchange(
    { store, catalog, link, quarantine, accusations, keyPair, self, clock, random, log },
    { originConnections: config.transfer.originConnections, minClaimBytes: config.transfer.minClaimBytes },
  )
  onOpened(() => exchange.close())
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
    { attested: config.trust.attested, minClaimBytes: config.transfer.minClaimBytes },
  )

  const onSecret = (changed: BranchSecret) => {
    secretInForce = changed
    const changedKeys = deriveBranchKeys(changed.secret, changed)
    if (!changedKeys.wireKey.equals(keys.wireKey)) {
      // Everything in the cache is named with it. `branch rotate` never changes it: this is another branch's file.
      log.warn('the branch secret is that of another branch: what is cached is found there after a restart only')
    }
    neighbourhood?.setKeys(changedKeys)
    roster.book.setTrust(changed).catch((err: unknown) => log.error({ err }, 'the roster was not taken up'))
  }
  const secretWatch = SecretWatch.open({ clock, random, log }, { secret, onChange: onSecret })
  onOpened(() => secretWatch.close())

  const read: ReadForPeer = async (hash, about) =>
    (await store.read(hash, { signal: about.signal, expectVisibility: 'branch' }))?.bytes ?? accusations.evidence(hash)
  if (link) {
    const serving = {
      read: wrapReadForPeer ? wrapReadForPeer(read) : read,
      onSent: (bytes: Uint8Array) => store.release(bytes),
      onServed: (_peer: AgentKey, servedBytes: number) => ledger.add({ servedBytes }),
      onSocket: (socket: Socket) => traffic.add(socket, 'lan'),
      pace: lan,
    }
    const opened = Neighbourhood.start(
      { clock, random, log, keyPair, link, rosterBook: roster.book, laneClient: lane, serving },
      { config, keys, role, signal },
    )
    onOpened(() => opened.close())
    neighbourhood = opened
  }
  return {
    self,
    store,
    ledger,
    origins,
    book,
    exchange,
    quarantine,
    transfers,
    wan,
    lan,
    roster,
    secret: secretWatch,
    neighbourhood,
  }
}

async function makeDataDir(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true, mode: 0o700 })
  } catch (cause) {
    throw localIoError('create the data directory', path, cause, 'SHORTHAUL_STORE_IO')
  }
}
