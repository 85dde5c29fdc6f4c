import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import hypercore from 'hypercore-crypto'
import t, { type Test } from 'tap'
import { seededRandom } from '../../src/clock.ts'
import { hashSegment } from '../../src/content/digest.ts'
import type { FetcherState } from '../../src/content/fetcher-state.ts'
import { type AgentKey, idFromBytes, type ResourceKey, type SegmentHash } from '../../src/content/ids.ts'
import { identificationPayload, resourceId } from '../../src/content/resource.ts'
import { SIGNATURE_BYTES, type Statement, signStatement } from '../../src/content/statement.ts'
import type { Origin } from '../../src/origin/origin.ts'
import type { Message } from '../../src/peers/messages.ts'
import { Quarantine } from '../../src/peers/quarantine.ts'
import type { ResourceRecord } from '../../src/store/records.ts'
import { Store } from '../../src/store/store.ts'
import { Accusations } from '../../src/transfer/accusations.ts'
import { Catalog } from '../../src/transfer/catalog.ts'
import { Exchange } from '../../src/transfer/exchange.ts'
import type { PeerLike, PeerLink } from '../../src/transfer/ports.ts'
import type { SharedResource } from '../../src/transfer/shared-resource.ts'
import { keyPair, log, ManualClock, options, record } from '../store/fixtures.ts'
import { FakeBranch } from '../support/fake-branch.ts'
import { startTestOrigin } from '../support/test-origin.ts'

type Listener = (peer: PeerLike, extra: never) => void

const pairs = [11, 12, 13].map((seed) => hypercore.keyPair(Buffer.alloc(32, seed)))
const keyOf = (pair: { publicKey: Uint8Array }) => idFromBytes<AgentKey>(pair.publicKey)
const hashOf = (text: string): SegmentHash => hashSegment(Buffer.from(text))

/** As after a commit: by the statement that is given, by what is known, else by our own word. */
function hold(exchange: Exchange, shared: SharedResource, index: number, statement: Statement | null = null): void {
  if (statement !== null) shared.draft.add(statement)
  if (shared.draft.entry(index) === undefined) {
    shared.draft.add(signStatement(keyPair, shared.record.id, index, [hashOf(`${index}`)]))
  }
  const hash = shared.draft.entry(index)?.hash
  if (hash !== undefined) exchange.committed(shared, { index, hash }, statement)
}

/** Nothing in this file asks an origin. */
const noOrigin: Origin = {
  probe: () => Promise.reject(new Error('asked')),
  open: () => Promise.reject(new Error('asked')),
  read: () => Promise.reject(new Error('asked')),
  carriesCredentials: () => false,
  close: async () => {},
}

/** A control session whose other end is the test. */
class Wire implements PeerLink {
  readonly connected = new Map<AgentKey, PeerLike>()
  readonly sent: { to: AgentKey; message: Message }[] = []
  /** Called with each message; stands for the neighbour that answers. */
  onSend: (to: PeerLike, message: Message) => void = () => {}
  readonly #listeners = new Map<string, Set<Listener>>()

  peers(): readonly PeerLike[] {
    return [...this.connected.values()]
  }
  send(key: AgentKey, message: Message): boolean {
    const peer = this.connected.get(key)
    if (!peer) return false
    this.sent.push({ to: key, message })
    setImmediate(() => this.onSend(peer, message))
    return true
  }
  broadcast(message: Message): number {
    for (const key of this.connected.keys()) this.send(key, message)
    return this.connected.size
  }
  memberCount(): number {
    return this.connected.size + 1
  }
  setInUse(): void {}
  on(event: string, listener: Listener | ((peer: PeerLike) => void)): () => void {
    const listeners = this.#listeners.get(event) ?? new Set()
    this.#listeners.set(event, listeners.add(listener as Listener))
    return () => listeners.delete(listener as Listener)
  }
  #emit(event: string, peer: PeerLike, extra: unknown): void {
    for (const listener of this.#listeners.get(event) ?? []) listener(peer, extra as never)
  }
  join(pair: { publicKey: Uint8Array }): PeerLike {
    const peer = { key: keyOf(pair), isLocal: true, rttMs: 1, lane: null }
    this.connected.set(peer.key, peer)
    this.#emit('join', peer, undefined)
    return peer
  }
  leave(peer: PeerLike): void {
    this.connected.delete(peer.key)
    this.#emit('leave', peer, 'gone')
  }
  receive(peer: PeerLike, message: Message): void {
    this.#emit('message', peer, message)
  }
  of<Type extends Message['type']>(type: Type): Extract<Message, { type: Type }>[] {
    return this.sent
      .map(({ message }) => message)
      .filter((it): it is Extract<Message, { type: Type }> => it.type === type)
  }
}

async function setUp(t: Test, about: ResourceRecord = record('a')) {
  // Before the directory is made, so that it is still there when the store closes.
  let close = async () => {}
  t.teardown(() => close())
  const clock = new ManualClock()
  const store = await Store.open({ clock, log }, options(t.testdir()))
  await store.putResource(about)
  const wire = new Wire()
  const catalog = new Catalog(Buffer.alloc(32, 7))
  catalog.put(about)
  const warnings: string[] = []
  const watched = {
    child: () => watched,
    warn: (_: unknown, text: string) => warnings.push(text),
  } as unknown as typeof log
  const quarantine = await Quarantine.open(
    { clock, log },
    { path: join(t.testdirName, 'quarantine.json'), hasRoster: false },
  )
  const base = { store, link: wire, quarantine, self: keyOf(keyPair), clock, random: seededRandom(1), log: watched }
  const accusations = new Accusations({ ...base, origin: noOrigin, lane: null, onOriginBytes: () => {} })
  const exchange = new Exchange(
    { ...base, catalog, keyPair, accusations },
    { originConnections: 4, minClaimBytes: 256 * 1024 },
  )
  close = async () => {
    await exchange.close()
    await accusations.close()
    await quarantine.close()
    await store.close()
  }
  const key = catalog.resourceKey(about)
  /** Everything that was received is handled, answers to answers included. */
  const idle = async () => {
    for (let round = 0; round < 10; round++) {
      await store.addStatements(about.id, [])
      await new Promise((resolve) => setImmediate(resolve))
    }
  }
  const state = (signer: number, firstIndex: number, ...texts: string[]): Statement =>
    signStatement(pairs[signer] ?? keyPair, about.id, firstIndex, texts.map(hashOf))
  const have = (peer: PeerLike, ranges: [number, number][], statements: readonly Statement[] = []) =>
    wire.receive(peer, {
      type: 'have',
      resource: key,
      ranges: ranges.map(([start, end]) => ({ start, end })),
      statements,
    })
  const manifest = (peer: PeerLike, statements: readonly Statement[], nextIndex: number | null) =>
    wire.receive(peer, { type: 'manifest', resource: key, statements, nextIndex })
  const join_ = (which: number) => wire.join(pairs[which] ?? keyPair)
  return { about, clock, store, wire, catalog, exchange, warnings, key, idle, state, have, manifest, join: join_ }
}

void t.test('statements', async (t) => {
  await t.test('with a wrong signature are neither believed nor kept', async (t) => {
    const { about, exchange, store, have, idle, state, join } = await setUp(t)
    const shared = await exchange.acquire(about)
    const good = state(0, 0, 'right')
    const forged: Statement[] = [
      { ...good, hashes: [hashOf('wrong')] },
      { ...good, firstIndex: 1 },
      { ...good, signer: keyOf(pairs[1] ?? keyPair) },
      { ...good, signature: new Uint8Array(SIGNATURE_BYTES) },
      { ...good, signature: good.signature.subarray(1) },
      signStatement(pairs[0] ?? keyPair, record('b').id, 2, [hashOf('of another resource')]),
      { ...good, firstIndex: Number.MAX_SAFE_INTEGER },
    ]
    const peer = join(0)
    have(peer, [[0, 3]], forged)
    await idle()
    t.equal(shared.draft.knownCount, 0)
    t.same(await store.statements(about.id), [])
    have(peer, [], [good])
    await idle()
    t.equal(shared.draft.entry(0)?.hash, hashOf('right'))
    t.equal((await store.statements(about.id)).length, 1)
    exchange.release(shared)
  })

  await t.test('of two that disagree make a dispute, which a third does not end', async (t) => {
    const { about, exchange, have, idle, state, join } = await setUp(t)
    const shared = await exchange.acquire(about)
    have(join(0), [[0, 2]], [state(0, 0, 'a', 'b')])
    have(join(1), [[0, 2]], [state(1, 0, 'a', 'B')])
    have(join(2), [[0, 2]], [state(2, 0, 'a', 'b')])
    await idle()
    t.equal(shared.draft.entry(0)?.hash, hashOf('a'))
    t.equal(shared.draft.entry(1), undefined)
    t.ok(shared.draft.isDisputed(1))
    exchange.release(shared)
  })

  await t.test('outside of the content are left out', async (t) => {
    const { about, exchange, manifest, idle, state, join } = await setUp(t)
    const shared = await exchange.acquire(about)
    manifest(join(0), [state(0, 15, 'last', 'beyond'), state(0, 1_000_000, 'far')], null)
    await idle()
    t.equal(shared.draft.knownCount, 1)
    exchange.release(shared)
  })
})

void t.test('a segment that two members disagree about is fetched from the origin', async (t) => {
  const branch = new FakeBranch()
  const origin = await startTestOrigin()
  t.teardown(async () => {
    await branch.close()
    await origin.close()
  })
  const root = t.testdir()
  const url = origin.serve('/a', { seed: 50, lengthBytes: 3 * 2 ** 20 })
  const content = origin.content('/a')
  const truth = content.read(0, content.lengthBytes)
  const forged = Buffer.from(truth)
  forged[2 ** 20] = (forged[2 ** 20] ?? 0) ^ 1
  const honest = await branch.add(join(root, '1'))
  const liar = await branch.add(join(root, '2'))
  const reader = await branch.add(join(root, '3'))
  await honest.fetch(url, { usePeers: false })
  origin.serve('/a', forged) // under the same validator
  await liar.fetch(url, { usePeers: false })
  origin.serve('/a', truth)
  // The reader heard of both before it starts.
  const [known] = await honest.store.resources()
  if (!known) throw new Error('nothing was stored')
  await reader.store.putResource({ ...known, root: null, sha256: null })
  for (const agent of [honest, liar]) await reader.store.addStatements(known.id, await agent.store.statements(known.id))
  const { path, sources } = await reader.fetch(url)
  t.ok(readFileSync(path).equals(truth), 'the bytes are right')
  t.same(sources, { cache: 0, peer: 2 * 2 ** 20, origin: 2 ** 20 })
})

void t.test('a talk about hashes ends', async (t) => {
  for (const [name, next] of [
    ['the same page', (index: number) => index],
    ['the first page', () => 0],
    ['a page further on', (index: number) => index + 1],
    ['a page beyond the end', () => 4_000_000_000],
  ] as const) {
    await t.test(`with a neighbour that tells nothing and names ${name} as the next`, async (t) => {
      const { about, exchange, wire, have, manifest, idle, join } = await setUp(t)
      const shared = await exchange.acquire(about)
      wire.onSend = (peer, message) => {
        if (message.type === 'manifest-request' && wire.sent.length < 500) manifest(peer, [], next(message.firstIndex))
      }
      have(join(0), [[0, 16]])
      await idle()
      t.ok(wire.of('manifest-request').length <= 2, `${wire.of('manifest-request').length} questions`)
      exchange.release(shared)
    })
  }

  await t.test('with one that sends pages nobody asked for', async (t) => {
    const { about, exchange, wire, have, manifest, idle, state, join } = await setUp(t)
    const shared = await exchange.acquire(about)
    const peer = join(0)
    have(peer, [[0, 1]], [state(0, 0, 'a')])
    await idle()
    for (let page = 0; page < 50; page++) manifest(peer, [], page)
    await idle()
    t.same(wire.of('manifest-request'), [])
    exchange.release(shared)
  })

  await t.test('and a mute holder keeps us from the origin once, however often it announces', async (t) => {
    const { about, clock, exchange, have, manifest, idle, join } = await setUp(t)
    const shared = await exchange.acquire(about)
    const peer = join(0)
    have(peer, [[0, 16]])
    await idle()
    const untilMs = shared.hashesExpectedUntilMs
    t.ok(untilMs > clock.monotonicMs())
    for (let second = 0; second < 120; second++) {
      clock.advance(1000)
      have(peer, [[0, 16]])
      manifest(peer, [], null)
      await new Promise((resolve) => setImmediate(resolve))
    }
    await idle()
    t.equal(shared.hashesExpectedUntilMs, untilMs)
    exchange.release(shared)
  })

  await t.test('with an honest one when all is told, page after page', async (t) => {
    const { about, exchange, wire, have, manifest, idle, state, join } = await setUp(t)
    const shared = await exchange.acquire(about)
    wire.onSend = (peer, message) => {
      if (message.type !== 'manifest-request') return
      const at = message.firstIndex
      manifest(peer, [state(0, at, `${at}`, `${at + 1}`)], at + 2 < 16 ? at + 2 : null)
    }
    have(join(0), [[0, 16]])
    await idle()
    await idle()
    t.ok(shared.draft.isComplete)
    t.equal(wire.of('manifest-request').length, 8)
    exchange.release(shared)
  })

  await t.test('a question that got lost is asked again later, and at once after a new session', async (t) => {
    const { about, clock, exchange, wire, have, idle, join } = await setUp(t)
    const shared = await exchange.acquire(about)
    const peer = join(0)
    const announce = async () => {
      have(peer, [[0, 16]])
      await idle()
      return wire.of('manifest-request').length
    }
    t.equal(await announce(), 1)
    t.equal(await announce(), 1)
    clock.advance(60_000)
    t.equal(await announce(), 2)
    wire.leave(peer)
    join(0)
    t.equal(await announce(), 3)
    exchange.release(shared)
  })
})

void t.test('what neighbours hold', async (t) => {
  await t.test('is clamped to the content', async (t) => {
    const { about, exchange, have, idle, join } = await setUp(t)
    const shared = await exchange.acquire(about)
    const peer = join(0)
    have(peer, [
      [3, 5],
      [14, 4_294_967_295],
      [4_294_967_290, 4_294_967_295],
    ])
    await idle()
    t.same(shared.holders.of(peer.key)?.ranges(), [
      { start: 3, end: 5 },
      { start: 14, end: 16 },
    ])
    exchange.release(shared)
  })

  await t.test('ends with their session, also when what they said is still being written', async (t) => {
    const { about, exchange, wire, have, idle, state, join } = await setUp(t)
    const shared = await exchange.acquire(about)
    const peer = join(0)
    have(peer, [[0, 16]], [state(0, 0, 'a')])
    wire.leave(peer)
    await idle()
    t.equal(shared.holders.available.size, 0)
    exchange.release(shared)
  })

  await t.test('is not remembered for resources that nobody asked about', async (t) => {
    const { about, exchange, wire, catalog, idle, join } = await setUp(t)
    const other = record('b')
    wire.receive(join(0), {
      type: 'have',
      resource: catalog.resourceKey(other),
      ranges: [{ start: 0, end: 1 }],
      statements: [],
    })
    await idle()
    const shared = await exchange.acquire(other)
    t.equal(shared.holders.available.size, 0)
    exchange.release(shared)
    t.equal((await exchange.acquire(about)).holders.available.size, 0)
  })
})

void t.test('an interest in a resource', async (t) => {
  await t.test('is answered in any case, so that nobody waits for silence', async (t) => {
    const { wire, key, catalog, exchange, about, idle, join } = await setUp(t)
    const peer = join(0)
    const unknown = catalog.resourceKey(record('b'))
    for (const resource of [unknown, key]) {
      wire.receive(peer, { type: 'interest', location: null, resource, isWanted: true })
    }
    await idle()
    t.same(
      wire.of('have').map(({ resource, ranges }) => ({ resource, ranges })),
      [
        { resource: unknown, ranges: [] },
        { resource: key, ranges: [] },
      ],
    )
    const shared = await exchange.acquire(about)
    hold(exchange, shared, 3)
    t.same(wire.of('have').at(-1)?.ranges, [{ start: 3, end: 4 }], 'and news follow by themselves')
    wire.receive(peer, { type: 'interest', location: null, resource: key, isWanted: true })
    await idle()
    t.same(wire.of('have').at(-1)?.ranges, [{ start: 3, end: 4 }], 'whoever asks again is told again')
    exchange.release(shared)
  })

  await t.test('ends the news when it is withdrawn', async (t) => {
    const { wire, key, exchange, about, idle, join } = await setUp(t)
    const peer = join(0)
    const shared = await exchange.acquire(about)
    for (const isWanted of [true, false]) {
      wire.receive(peer, { type: 'interest', location: null, resource: key, isWanted })
      await idle()
    }
    const before = wire.of('have').length
    hold(exchange, shared, 3)
    t.equal(wire.of('have').length, before)
    exchange.release(shared)
  })

  await t.test('is answered with what we do, and then with what we have', async (t) => {
    const { wire, key, exchange, about, idle, join } = await setUp(t)
    const peer = join(0)
    const shared = await exchange.acquire(about)
    wire.sent.length = 0
    wire.receive(peer, { type: 'interest', location: null, resource: key, isWanted: true })
    await idle()
    t.same(
      wire.sent.map(({ message }) => message.type),
      ['claim', 'have'],
    )
    exchange.release(shared)
    await idle()
    t.equal(wire.of('claim').at(-1)?.states[0]?.state.condition, 'done', 'who leaves says so')
  })

  await t.test('is told only what it does not have, and again what it lost', async (t) => {
    const { about, clock, wire, key, exchange, have, idle, join } = await setUp(t)
    const shared = await exchange.acquire(about)
    const peer = join(0)
    wire.receive(peer, { type: 'interest', location: null, resource: key, isWanted: true })
    have(peer, [[0, 3]])
    await idle()
    wire.sent.length = 0
    for (const index of [2, 3]) {
      hold(exchange, shared, index)
      clock.advance(1000)
    }
    t.same(
      wire.of('have').map(({ ranges }) => ranges),
      [[{ start: 3, end: 4 }]],
    )
    wire.receive(peer, { type: 'gone', resource: key, ranges: [{ start: 0, end: 3 }] })
    await idle()
    t.same(wire.of('have').at(-1)?.ranges, [{ start: 2, end: 3 }])
    exchange.release(shared)
  })
})

void t.test('what others fetch', async (t) => {
  const claimOf = (peer: PeerLike, resource: ResourceKey, rest: Partial<FetcherState> = {}): Message => ({
    type: 'claim',
    resource,
    states: [
      {
        isDirect: true,
        state: {
          agent: peer.key,
          sequence: 1,
          condition: 'active',
          claimed: [{ start: 4, end: 8 }],
          fetched: [],
          progressBytes: 0,
          bytesPerSec: 0,
          streamCount: 1,
          streamBudget: 6,
          ...rest,
        },
      },
    ],
  })
  const isExpected = (shared: SharedResource, clock: ManualClock) => shared.crowd.isExpected(5, clock.monotonicMs())

  await t.test('is known until they leave', async (t) => {
    const { about, clock, wire, key, exchange, idle, join } = await setUp(t)
    const shared = await exchange.acquire(about)
    const peer = join(0)
    wire.receive(peer, claimOf(peer, key))
    await idle()
    t.ok(isExpected(shared, clock))
    wire.leave(peer)
    t.notOk(isExpected(shared, clock))
    exchange.release(shared)
  })

  await t.test('comes from one that wants to hear of what we get', async (t) => {
    const { about, wire, key, exchange, idle, join } = await setUp(t)
    const shared = await exchange.acquire(about)
    hold(exchange, shared, 3)
    const [peer, done] = [join(0), join(1)]
    wire.sent.length = 0
    wire.receive(peer, claimOf(peer, key))
    wire.receive(done, claimOf(done, key, { condition: 'done', claimed: [] }))
    await idle()
    t.same(
      wire.sent.filter(({ message }) => message.type === 'have').map(({ to }) => to),
      [peer.key],
    )
    hold(exchange, shared, 4)
    t.same(wire.of('have').at(-1)?.ranges, [{ start: 4, end: 5 }])
    exchange.release(shared)
  })

  await t.test('does not count for what is private, or what nobody here ever wanted', async (t) => {
    const about = record('secret', { visibility: 'private' })
    const { clock, wire, key, catalog, exchange, idle, join } = await setUp(t, about)
    const shared = await exchange.acquire(about)
    const peer = join(0)
    wire.receive(peer, claimOf(peer, key))
    wire.receive(peer, claimOf(peer, catalog.resourceKey(record('b'))))
    await idle()
    t.notOk(isExpected(shared, clock))
    t.same(wire.sent, [])
    exchange.release(shared)
  })
})

void t.test('an identification counts only when it is signed for the URL that was asked', async (t) => {
  const { exchange, wire, key, idle, join } = await setUp(t)
  const peers = [join(0), join(1), join(2)]
  const { url } = record('a').resource
  const { inquiry, end } = exchange.ask(url, '')
  const claim = { validator: { kind: 'etag', value: '"1"' }, lengthBytes: 5, seenAtMs: 9, freshUntilMs: 9 } as const
  const sign = (pair: (typeof pairs)[number], forUrl: string) => ({
    ...claim,
    signer: keyOf(pair),
    signature: hypercore.sign(identificationPayload(forUrl, '', claim), pair.secretKey),
  })
  const answers = pairs.map(
    (pair, at) =>
      [
        { ...sign(pair, url), lengthBytes: 6 },
        sign(pair, 'https://elsewhere.example/'),
        { ...sign(pair, url), signature: new Uint8Array(3) },
      ][at],
  )
  for (const [at, identification] of answers.entries()) {
    const peer = peers[at]
    if (!peer || !identification) continue
    wire.receive(peer, { type: 'known', location: inquiry.location, newest: { resource: key, identification } })
  }
  await idle()
  t.equal(inquiry.newest(), null)
  t.ok(inquiry.isAnswered, 'but nobody is waited for any longer')
  const [peer, pair] = [peers[0], pairs[0]]
  if (!peer || !pair) return
  wire.receive(peer, {
    type: 'known',
    location: inquiry.location,
    newest: { resource: key, identification: sign(pair, url) },
  })
  await idle()
  t.equal(inquiry.newest()?.signer, peer.key)
  end()
})

void t.test('10,000 messages at once cost no more than a few, and one line of log', async (t) => {
  const { wire, key, warnings, idle, join } = await setUp(t)
  const [flood, polite] = [join(0), join(1)]
  for (let count = 0; count < 10_000; count++) {
    wire.receive(flood, { type: 'manifest-request', resource: key, firstIndex: 0 })
  }
  wire.receive(polite, { type: 'manifest-request', resource: key, firstIndex: 0 })
  await idle()
  const answered = (peer: PeerLike) => wire.sent.filter(({ to }) => to === peer.key).length
  t.ok(answered(flood) > 0 && answered(flood) <= 64, `${answered(flood)} answers`)
  t.equal(answered(polite), 1, 'others are served')
  t.equal(warnings.length, 1)
  const before = answered(flood)
  wire.receive(flood, { type: 'manifest-request', resource: key, firstIndex: 0 })
  await idle()
  t.equal(answered(flood), before + 1, 'and so is it, once it asks in measure')
})

void t.test('nothing private is told, whatever is asked', async (t) => {
  const about = record('secret', { visibility: 'private' })
  const { exchange, wire, key, catalog, idle, state, store, join } = await setUp(t, about)
  await store.addStatements(about.id, [state(0, 0, 'a')])
  const peer = join(0)
  const shared = await exchange.acquire(about)
  const location = catalog.locationKey(about.resource.url, '')
  wire.receive(peer, { type: 'interest', location, resource: key, isWanted: true })
  wire.receive(peer, { type: 'manifest-request', resource: key, firstIndex: 0 })
  await idle()
  hold(exchange, shared, 0, state(0, 0, 'a'))
  exchange.release(shared)
  await idle()
  t.same(
    wire.sent.map(({ message }) => message),
    [
      { type: 'known', location, newest: null },
      // Also the answer to an interest in what we never heard of.
      { type: 'have', resource: key, ranges: [], statements: [] },
    ],
  )
  t.equal(resourceId(about.resource), about.id)
})

void t.test('what became private is told no longer', async (t) => {
  const { about, exchange, store, wire, key, idle, state, join } = await setUp(t)
  await store.addStatements(about.id, [state(0, 0, 'a')])
  const peer = join(0)
  const ask = async () => {
    wire.sent.length = 0
    wire.receive(peer, { type: 'manifest-request', resource: key, firstIndex: 0 })
    await idle()
    return wire.sent.length
  }
  t.equal(await ask(), 1)
  const nowPrivate: ResourceRecord = { ...about, visibility: 'private' }
  await store.putResource(nowPrivate)
  t.equal(await ask(), 0)
  const shared = await exchange.acquire(nowPrivate)
  hold(exchange, shared, 1, state(0, 1, 'b'))
  exchange.release(shared)
  t.same(wire.sent, [])
})
