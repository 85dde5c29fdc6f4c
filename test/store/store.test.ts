import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { appendFile, readdir, stat, symlink, truncate, unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { type AgentKey, idFromBytes } from '../../src/content/ids.ts'
import { createManifest } from '../../src/content/manifest.ts'
import { signStatement } from '../../src/content/statement.ts'
import { type Disk, systemDisk } from '../../src/store/disk.ts'
import { decodeRecord, decodeSegmentRow, encodeRecord, encodeSegmentRow } from '../../src/store/index-codec.ts'
import { IndexDb, put } from '../../src/store/index-db.ts'
import { keys } from '../../src/store/index-keys.ts'
import { Store, type StoreOptions } from '../../src/store/store.ts'
import type { SegmentGone, StoreEvent } from '../../src/store/store-events.ts'
import {
  keyPair,
  log,
  ManualClock,
  MiB,
  never,
  options,
  otherKeyPair,
  record,
  segment,
  segmentFiles,
  segmentPath,
  storeRoot,
} from './fixtures.ts'

const signal = never

// Of the whole file: a subtest's own testdir is removed before its teardown closes the store in it.
const root = t.testdir()
let dirs = 0
function newDir(): string {
  return join(root, String(dirs++))
}

async function setUp(
  test: Pick<typeof t, 'teardown' | 'equal'>,
  rest: Partial<StoreOptions> & { disk?: Disk; dataDir?: string } = {},
) {
  const { disk, dataDir = newDir(), ...limits } = rest
  const clock = new ManualClock()
  const store = await Store.open({ clock, log, disk }, options(dataDir, limits))
  test.teardown(() => store.close())
  const gone: [StoreEvent, SegmentGone][] = []
  store.on('lost', (events) => gone.push(...events.map((it): [StoreEvent, SegmentGone] => ['lost', it])))
  store.on('evicted', (events) => gone.push(...events.map((it): [StoreEvent, SegmentGone] => ['evicted', it])))
  const resource = record('a')
  await store.putResource(resource)
  /** Commits segments 0..count-1 of the resource, a second apart. */
  async function fill(count: number, of = resource) {
    const segments = Array.from({ length: count }, (_, index) => segment(index))
    for (const [index, it] of segments.entries()) {
      clock.advance(1000)
      test.equal(await store.commit(it, { resource: of.id, index }, { signal }), true, `segment ${index} is cached`)
    }
    return segments
  }
  return { dataDir, clock, store, gone, resource, fill }
}

t.test('segments', async (t) => {
  await t.test('a committed segment can be read, with the same bytes, also after reopening', async (t) => {
    const { dataDir, store, resource } = await setUp(t)
    const one = segment(1, MiB)
    t.equal(await store.has(one.hash), false)
    t.equal(await store.read(one.hash, { signal }), null)
    t.equal(await store.commit(one, { resource: resource.id, index: 3 }, { signal }), true)
    t.same(await store.hasMany([segment(2).hash, one.hash]), [false, true])
    t.ok(Buffer.from(one.bytes).equals((await store.read(one.hash, { signal }))?.bytes ?? Buffer.alloc(0)))
    t.same(await store.positions(resource.id), [{ start: 3, end: 4 }])
    t.match(await store.stat(), { segmentCount: 1, bytes: MiB, resourceCount: 1, maxBytes: 100 * MiB })
    await store.close()

    const again = await setUp(t, { dataDir })
    t.ok(await again.store.read(one.hash, { signal }))
    t.match(await again.store.stat(), { segmentCount: 1, bytes: MiB, resourceCount: 1 })
    t.same(await again.store.positions(resource.id), [{ start: 3, end: 4 }])
  })

  await t.test('files are private, and no temp file stays', async (t) => {
    const { dataDir, fill } = await setUp(t)
    const [one] = await fill(2)
    if (!one) throw new Error('nothing committed')
    const mode = async (path: string) => (await stat(path)).mode & 0o777
    if (process.platform !== 'win32') {
      t.equal(await mode(segmentPath(dataDir, one.hash)), 0o600)
      t.equal(await mode(join(segmentPath(dataDir, one.hash), '..')), 0o700)
      t.equal(await mode(storeRoot(dataDir)), 0o700)
      t.equal(await mode(join(storeRoot(dataDir), 'index')), 0o700)
    }
    t.same(await readdir(join(storeRoot(dataDir), 'temp')), [])
  })

  await t.test('of two writers of one hash the first copy stays, and both are referenced', async (t) => {
    const { store, resource, dataDir } = await setUp(t)
    const other = record('b')
    await store.putResource(other)
    const one = segment(1)
    const results = await Promise.all(
      [resource, resource, other, other].map((it, index) => store.commit(one, { resource: it.id, index }, { signal })),
    )
    t.same(results, [true, true, true, true])
    t.match(await store.stat(), { segmentCount: 1, bytes: 1000 })
    t.same(await segmentFiles(dataDir), [one.hash])
    t.same(await store.positions(resource.id), [{ start: 0, end: 2 }])
    t.same(await store.positions(other.id), [{ start: 2, end: 4 }])
  })

  await t.test('a corrupt, shortened or missing file is dropped, told and answered with null', async (t) => {
    const { store, fill, dataDir, gone, resource } = await setUp(t)
    const [corrupt, short, missing, sound] = await fill(4)
    if (!corrupt || !short || !missing || !sound) throw new Error('nothing committed')
    await writeFile(segmentPath(dataDir, corrupt.hash), Buffer.alloc(1000, 'x'))
    await truncate(segmentPath(dataDir, short.hash), 10)
    await unlink(segmentPath(dataDir, missing.hash))
    for (const [index, it] of [corrupt, short, missing].entries()) {
      t.equal(await store.has(it.hash), true, 'the index is believed until somebody reads')
      t.equal(await store.read(it.hash, { signal }), null)
      t.equal(await store.has(it.hash), false)
      t.same(gone.at(-1), ['lost', { resource: resource.id, index, hash: it.hash }])
    }
    t.equal(gone.length, 3)
    t.same(await segmentFiles(dataDir), [sound.hash])
    t.match(await store.stat(), { segmentCount: 1, bytes: 1000 })
    t.same(await store.positions(resource.id), [{ start: 3, end: 4 }])
    t.equal(await store.commit(corrupt, { resource: resource.id, index: 0 }, { signal }), true)
    t.ok(await store.read(corrupt.hash, { signal }), 'it can be committed anew')
    await appendFile(segmentPath(dataDir, sound.hash), 'x')
    t.equal(await store.read(sound.hash, { signal }), null, 'a file that is longer than its segment is not sound')
  })

  await t.test('reads at the same time share one buffer; an aborted one does not disturb the others', async (t) => {
    const { store, fill } = await setUp(t)
    const [one] = await fill(1)
    if (!one) throw new Error('nothing committed')
    const aborted = new AbortController()
    const reads = [
      store.read(one.hash, { signal }),
      store.read(one.hash, { signal }),
      store.read(one.hash, { signal: aborted.signal }),
    ] as const
    aborted.abort()
    await t.rejects(reads[2], { code: 'SHORTHAUL_ABORTED' })
    t.equal((await reads[0])?.bytes, (await reads[1])?.bytes)
    await t.rejects(store.commit(segment(9), { resource: record('a').id, index: 9 }, { signal: aborted.signal }), {
      code: 'SHORTHAUL_ABORTED',
    })
  })

  await t.test('the branch is given a segment only if some reference permits it', async (t) => {
    const { store, resource } = await setUp(t)
    const secret = record('secret', { visibility: 'private' })
    await store.putResource(secret)
    const one = segment(1)
    const forBranch = () => store.read(one.hash, { signal, expectVisibility: 'branch' })
    await store.commit(one, { resource: secret.id, index: 0 }, { signal })
    t.equal(await forBranch(), null)
    t.ok(await store.read(one.hash, { signal }), 'but this machine is')
    await store.commit(one, { resource: resource.id, index: 0 }, { signal })
    t.ok(await forBranch())
    await store.removeResource(resource.id)
    t.ok(await store.has(one.hash), 'still referenced')
    t.equal(await forBranch(), null, 'the permission went with the resource that gave it')
    await store.putResource({ ...secret, visibility: 'branch' })
    t.ok(await forBranch())
    await store.commit(segment(2), { resource: record('unknown').id, index: 0 }, { signal })
    t.equal(await store.read(segment(2).hash, { signal, expectVisibility: 'branch' }), null, 'nobody permits it')
  })

  await t.test('permission follows visibility and references, whoever gave it first', async (t) => {
    const { store, resource, dataDir } = await setUp(t)
    const other = record('b')
    await store.putResource(other)
    const [one, two] = [segment(1), segment(2)]
    const forBranch = async (of = one) =>
      (await store.read(of.hash, { signal, expectVisibility: 'branch' })) === null ? 'refused' : 'given'
    await store.commit(one, { resource: resource.id, index: 0 }, { signal })
    await store.commit(one, { resource: other.id, index: 0 }, { signal })
    await store.commit(two, { resource: other.id, index: 1 }, { signal })
    t.equal(await forBranch(), 'given')
    await store.putResource({ ...resource, visibility: 'private' })
    t.equal(await forBranch(), 'given', 'the other resource permits it')
    await store.putResource({ ...other, visibility: 'private' })
    t.same(
      [await forBranch(), await forBranch(two)],
      ['refused', 'refused'],
      'at once, for segments committed long ago',
    )
    await store.putResource({ ...other, visibility: 'branch' })
    t.same([await forBranch(), await forBranch(two)], ['given', 'given'])

    await store.removeResource(other.id)
    t.equal(await forBranch(), 'refused')
    await store.putResource(other)
    t.equal(await forBranch(), 'refused', 'known again, but it references nothing')
    await store.commit(one, { resource: other.id, index: 5 }, { signal })
    t.equal(await forBranch(), 'given', 'a claim gives the permission back')
    await store.commit(two, { resource: other.id, index: 5 }, { signal })
    t.equal(await forBranch(), 'refused', 'its position has another segment now')

    await store.commit(one, { resource: other.id, index: 6 }, { signal })
    await store.close()
    const again = await setUp(t, { dataDir })
    t.ok(await again.store.read(one.hash, { signal, expectVisibility: 'branch' }), 'also after reopening')
  })

  await t.test('a row that names no grantor is served by its references', async (t) => {
    const { store, fill, dataDir } = await setUp(t)
    const [one] = await fill(1)
    if (!one) throw new Error('nothing committed')
    await store.close()
    const db = await IndexDb.open(join(storeRoot(dataDir), 'index'), { onCorrupt: () => undefined })
    const row = decodeSegmentRow(await db.get(keys.segment(one.hash)))
    if (row === null) throw new Error('no row')
    await db.write([put(keys.segment(one.hash), encodeSegmentRow({ ...row, grantor: null }))])
    await db.close()
    const again = await setUp(t, { dataDir })
    t.ok(await again.store.read(one.hash, { signal, expectVisibility: 'branch' }))
  })

  await t.test('a commit asks the index once and writes one batch; a read asks once', async (t) => {
    const { store, resource } = await setUp(t)
    const calls: string[] = []
    for (const name of ['get', 'getMany', 'has', 'pages', 'write'] as const) {
      const original: (...args: never[]) => unknown = IndexDb.prototype[name]
      const counted = function (this: IndexDb, ...args: never[]): unknown {
        calls.push(name)
        return original.apply(this, args)
      }
      Object.defineProperty(IndexDb.prototype, name, { value: counted, configurable: true, writable: true })
      t.teardown(() => Object.defineProperty(IndexDb.prototype, name, { value: original }))
    }
    const commit = (number: number) => {
      const it = segment(number)
      const statement = signStatement(keyPair, resource.id, number, [it.hash])
      return store.commit(it, { resource: resource.id, index: number, statement }, { signal })
    }
    await commit(0) // the first one also learns the resource's visibility and length
    calls.length = 0
    await commit(1)
    t.same(calls, ['getMany', 'write'])
    calls.length = 0
    await store.read(segment(1).hash, { signal })
    t.same(calls, ['get'])
    calls.length = 0
    await store.read(segment(1).hash, { signal, expectVisibility: 'branch' })
    t.same(calls, ['get'])
  })

  await t.test('a position that gets another segment loses the old reference', async (t) => {
    const { store, resource } = await setUp(t)
    await store.commit(segment(1), { resource: resource.id, index: 0 }, { signal })
    await store.commit(segment(2), { resource: resource.id, index: 0 }, { signal })
    t.equal(await store.read(segment(1).hash, { signal, expectVisibility: 'branch' }), null)
    t.ok(await store.read(segment(2).hash, { signal, expectVisibility: 'branch' }))
    t.same(await store.positions(resource.id), [{ start: 0, end: 1 }])
  })
})

t.test('part files as locations', async (t) => {
  const { store, resource, dataDir, gone } = await setUp(t, { maxBytes: 0 })
  const [one, two] = [segment(1), segment(2)]
  t.equal(await store.commit(one, { resource: resource.id, index: 0 }, { signal }), false, 'a cache of 0 bytes')
  const path = join(root, '.x.shorthaul-part')
  await writeFile(path, Buffer.concat([one.bytes, two.bytes]))
  const statement = signStatement(keyPair, resource.id, 0, [one.hash])
  for (const [index, { hash }] of [one, two].entries()) {
    const at = { resource: resource.id, index, path, offset: index * 1000 }
    await store.commitLocated({ hash, lengthBytes: 1000 }, index === 0 ? { ...at, statement } : at)
  }
  t.same(await store.hasMany([one.hash, two.hash]), [true, true])
  t.same(await store.positions(resource.id), [{ start: 0, end: 2 }])
  t.ok(Buffer.from(two.bytes).equals((await store.read(two.hash, { signal }))?.bytes ?? Buffer.alloc(0)))
  t.ok(await store.read(one.hash, { signal, expectVisibility: 'branch' }))
  t.same(await store.statements(resource.id), [statement])

  await writeFile(path, Buffer.concat([one.bytes, Buffer.alloc(1000, 'x')]))
  t.equal(await store.read(two.hash, { signal }), null, 'read again and hashed each time')
  t.same(gone, [['lost', { resource: resource.id, index: 1, hash: two.hash }]])
  t.equal(await store.has(two.hash), false)

  await store.forgetLocated(path)
  t.equal(await store.has(one.hash), false)
  t.same(gone.at(-1), ['evicted', { resource: resource.id, index: 0, hash: one.hash }])
  t.same(await store.positions(resource.id), [])

  if (process.platform !== 'win32') {
    const link = join(dataDir, 'link')
    await symlink(path, link)
    await store.commitLocated(
      { hash: one.hash, lengthBytes: 1000 },
      { resource: resource.id, index: 0, path: link, offset: 0 },
    )
    t.equal(await store.read(one.hash, { signal }), null, 'links are not followed')
    spawnSync('mkfifo', [join(dataDir, 'fifo')])
    const fifo = join(dataDir, 'fifo')
    await store.commitLocated(
      { hash: one.hash, lengthBytes: 1000 },
      { resource: resource.id, index: 0, path: fifo, offset: 0 },
    )
    t.equal(await store.read(one.hash, { signal }), null, 'a FIFO does not hang us')
  }
})

t.test('resources', async (t) => {
  await t.test('a record comes back as it was put, and stale copies do not undo newer facts', async (t) => {
    const { store, clock } = await setUp(t)
    const sha256 = createHash('sha256').update('x').digest('hex')
    const identification = {
      validator: { kind: 'etag', value: '"b"' },
      lengthBytes: 16 * MiB,
      seenAtMs: 20,
      freshUntilMs: 30,
      signer: idFromBytes<AgentKey>(keyPair.publicKey),
      signature: Buffer.alloc(64, 1),
    } as const
    const given = record('b', { sha256, identification, visibility: 'private' })
    await store.putResource(given)
    t.same(await store.resource(given.id), given)
    t.same(await store.resourceBySha256(sha256), given)
    t.equal(await store.resourceBySha256('f'.repeat(64)), null)
    t.equal(await store.resourceBySha256('zz'), null)
    await store.pin(given.id)
    await store.putResource({ ...given, sha256: null, identification: { ...identification, seenAtMs: 10 } })
    t.same(await store.resource(given.id), { ...given, isPinned: true })
    clock.advance(5)
    await store.touchResource(given.id)
    await store.maintain({ signal })
    await store.close()
  })

  await t.test('last use of a resource is written by closing', async (t) => {
    const { store, clock, dataDir, resource } = await setUp(t)
    clock.advance(77)
    await store.touchResource(resource.id)
    await store.close()
    const again = await setUp(t, { dataDir })
    t.equal((await again.store.resource(resource.id))?.lastUsedAtMs, clock.nowMs())
  })

  await t.test('the newest generation of a location is the one whose identification was seen last', async (t) => {
    const { store } = await setUp(t)
    const url = 'https://example.org/same'
    const generation = (name: string, createdAtMs: number) => {
      const base = record(name, { createdAtMs })
      return { ...base, resource: { ...base.resource, url } }
    }
    const generations = [generation('g1', 10), generation('g3', 30), generation('g2', 20)]
    for (const it of generations) await store.putResource(it)
    t.equal((await store.newestAt(url, ''))?.id, record('g3').id)
    t.equal(await store.newestAt(url, 'accept-language: de'), null)
    await store.removeResource(record('g3').id)
    t.equal((await store.newestAt(url, ''))?.id, record('g2').id)
  })

  await t.test('removing a resource deletes what nobody else references, and tells', async (t) => {
    const { store, resource, gone, dataDir } = await setUp(t)
    const other = record('b')
    await store.putResource(other)
    const [shared, own] = [segment(1), segment(2)]
    await store.commit(shared, { resource: resource.id, index: 0 }, { signal })
    await store.commit(shared, { resource: resource.id, index: 7 }, { signal })
    await store.commit(own, { resource: resource.id, index: 1 }, { signal })
    await store.commit(shared, { resource: other.id, index: 0 }, { signal })
    await store.addStatements(resource.id, [signStatement(keyPair, resource.id, 0, [shared.hash, own.hash])])
    await store.removeResource(resource.id)
    t.same(await segmentFiles(dataDir), [shared.hash])
    t.equal(await store.resource(resource.id), null)
    t.same(await store.statements(resource.id), [])
    t.same(
      gone.map(([event, it]) => [event, it.index]),
      [
        ['evicted', 0],
        ['evicted', 1],
        ['evicted', 7],
      ],
    )
    t.match(await store.stat(), { segmentCount: 1, bytes: 1000, resourceCount: 1 })
    t.same(await store.positions(other.id), [{ start: 0, end: 1 }])
    await store.removeResource(other.id)
    t.same(await segmentFiles(dataDir), [])
    t.match(await store.stat(), { segmentCount: 0, bytes: 0, resourceCount: 0 })
  })

  await t.test('a manifest is stored once for its root and lives as long as somebody uses it', async (t) => {
    const { store, resource, dataDir } = await setUp(t)
    const other = record('b', { segments: 16 })
    await store.putResource(other)
    const manifest = createManifest(2 * MiB, [segment(0, MiB).hash, segment(1, MiB).hash])
    t.equal(await store.manifest(resource.id), null)
    await store.sealManifest(resource.id, manifest)
    await store.sealManifest(other.id, manifest)
    t.equal((await store.resource(resource.id))?.root, manifest.root)
    await store.putResource(resource)
    t.equal((await store.resource(resource.id))?.root, manifest.root, 'a stale record does not unseal')
    await store.removeResource(resource.id)
    t.same(await store.manifest(other.id), manifest)
    await store.close()
    const again = await setUp(t, { dataDir })
    t.same(await again.store.manifest(other.id), manifest)
    await again.store.sealManifest(record('nobody').id, manifest)
    t.equal(await again.store.resource(record('nobody').id), null, 'what was removed stays removed')
  })

  await t.test('statements: longer replaces what it covers, contradiction replaces, others stay', async (t) => {
    const { store, resource } = await setUp(t)
    const hashes = [0, 1, 2, 3].map((number) => segment(number).hash)
    const own = hashes.map((hash, index) => signStatement(keyPair, resource.id, index, [hash]))
    const theirs = signStatement(otherKeyPair, resource.id, 0, hashes.slice(0, 1))
    const beyond = signStatement(keyPair, resource.id, 16, hashes.slice(0, 1))
    await store.commit(
      segment(0),
      { resource: resource.id, index: 0, ...(own[0] && { statement: own[0] }) },
      { signal },
    )
    await store.addStatements(resource.id, [...own, theirs, beyond])
    t.equal((await store.statements(resource.id)).length, 5, 'one beyond the end was left out')
    const long = signStatement(keyPair, resource.id, 0, hashes.slice(0, 3))
    await store.replaceStatements(resource.id, [long])
    const left = await store.statements(resource.id)
    t.same(
      left.filter((it) => it.signer === long.signer),
      [long, own[3]],
    )
    t.equal(left.length, 3)
    await store.addStatements(resource.id, own.slice(0, 1))
    t.equal((await store.statements(resource.id)).length, 3, 'a shorter one that agrees adds nothing')
    const contradiction = signStatement(keyPair, resource.id, 0, hashes.slice(3, 4))
    await store.addStatements(resource.id, [contradiction])
    t.same(
      (await store.statements(resource.id)).filter((it) => it.firstIndex === 0 && it.signer === long.signer),
      [contradiction],
    )
    await store.addStatements(record('nobody').id, own)
    t.same(await store.statements(record('nobody').id), [])
  })
})

t.test('eviction', async (t) => {
  await t.test('the least recently used goes first, and reading is using', async (t) => {
    const { store, fill, clock, gone, resource, dataDir } = await setUp(t, { maxBytes: 4000 })
    const [a, b, c, d] = await fill(4)
    if (!a || !b || !c || !d) throw new Error('nothing committed')
    clock.advance(1000)
    await store.read(a.hash, { signal })
    clock.advance(1000)
    t.equal(await store.commit(segment(10, 1500), { resource: resource.id, index: 10 }, { signal }), true)
    t.same(
      gone.map(([event, it]) => [event, it.hash]),
      [
        ['evicted', b.hash],
        ['evicted', c.hash],
      ],
    )
    t.same(await store.hasMany([a, b, c, d].map((it) => it.hash)), [true, false, false, true])
    t.equal((await segmentFiles(dataDir)).length, 3)
    t.match(await store.stat(), { segmentCount: 3, bytes: 3500 })
    t.same(await store.positions(resource.id), [
      { start: 0, end: 1 },
      { start: 3, end: 4 },
      { start: 10, end: 11 },
    ])
    t.ok(await store.resource(resource.id), 'the resource stays known, with holes')
    t.equal(await store.commit(segment(11, 5000), { resource: resource.id, index: 11 }, { signal }), false)
    t.match(await store.stat(), { segmentCount: 3 }, 'nothing is evicted for what can never fit')
  })

  await t.test('pinned and held resources stay; a full cache answers false until they are released', async (t) => {
    const { store, resource, fill, clock } = await setUp(t, { maxBytes: 3000 })
    const [a, b] = await fill(2)
    const held = record('held')
    await store.putResource(held)
    const releases = [store.hold(held.id), store.hold(held.id)] as const
    clock.advance(1000)
    const third = segment(20)
    t.equal(await store.commit(third, { resource: held.id, index: 0 }, { signal }), true)
    await store.pin(resource.id)
    t.equal((await store.stat()).pinnedBytes, 2 * MiB)
    const wanted = segment(30)
    const commit = () => store.commit(wanted, { resource: record('c').id, index: 0 }, { signal })
    t.equal(await commit(), false)
    releases[0]()
    releases[0]()
    t.equal(await commit(), false, 'held twice, released once')
    releases[1]()
    t.equal(await commit(), true, 'the held one went, though used later than the pinned ones')
    t.same(await store.hasMany([a, b, third, wanted].map((it) => it?.hash ?? wanted.hash)), [true, true, false, true])
    clock.advance(1000)
    await store.unpin(resource.id)
    const last = segment(31)
    t.equal(await store.commit(last, { resource: record('c').id, index: 1 }, { signal }), true)
    t.same(await store.hasMany([a, b, wanted].map((it) => it?.hash ?? wanted.hash)), [false, true, true])
  })

  await t.test('pins outlive the process', async (t) => {
    const { store, resource, fill, dataDir } = await setUp(t, { maxBytes: 2000 })
    await fill(2)
    await store.pin(resource.id)
    await store.close()
    const again = await setUp(t, { dataDir, maxBytes: 2000 })
    t.equal(await again.store.commit(segment(5), { resource: resource.id, index: 5 }, { signal }), false)
    await again.store.unpin(resource.id)
    t.equal(await again.store.commit(segment(5), { resource: resource.id, index: 5 }, { signal }), true)
  })

  await t.test('a segment shared with a pinned resource stays; many protected ones are passed over', async (t) => {
    const { store, resource, clock } = await setUp(t, { maxBytes: 200 * 20 })
    const pinned = record('pinned', { isPinned: true, segments: 500 })
    await store.putResource(pinned)
    for (let index = 0; index < 199; index++) {
      clock.advance(1)
      await store.commit(segment(index, 20), { resource: resource.id, index }, { signal })
      await store.commit(segment(index, 20), { resource: pinned.id, index }, { signal })
    }
    for (let number = 1000; number < 1100; number++) {
      clock.advance(1)
      t.equal(await store.commit(segment(number, 20), { resource: resource.id, index: number }, { signal }), true)
    }
    t.same(await store.positions(pinned.id), [{ start: 0, end: 199 }])
    t.match(await store.stat(), { segmentCount: 200, bytes: 4000 })
  })

  await t.test('a step back of the wall clock does not hide segments from eviction', async (t) => {
    const { store, resource, fill, clock } = await setUp(t, { maxBytes: 3000 })
    await store.pin(resource.id)
    await fill(2)
    const other = record('b')
    await store.putResource(other)
    for (let number = 10; number < 15; number++) {
      clock.advance(1000)
      t.equal(await store.commit(segment(number), { resource: other.id, index: number }, { signal }), true)
    }
    clock.advance(-1_000_000)
    for (let number = 20; number < 25; number++) {
      clock.advance(10)
      t.equal(await store.commit(segment(number), { resource: other.id, index: number }, { signal }), true)
    }
    t.match(await store.stat(), { segmentCount: 3 })
  })

  await t.test('age: what nobody used for too long goes, and its empty resource with it', async (t) => {
    const { store, fill, clock, resource, gone } = await setUp(t, { maxAgeMs: 100_000 })
    const [a, b] = await fill(2)
    clock.advance(60_000)
    await store.read(b?.hash ?? segment(0).hash, { signal })
    clock.advance(60_000)
    await store.maintain({ signal })
    t.same(await store.hasMany([a, b].map((it) => it?.hash ?? segment(9).hash)), [false, true])
    t.equal(gone.length, 1)
    t.ok(await store.resource(resource.id))
    clock.advance(120_000)
    await store.maintain({ signal })
    t.match(await store.stat(), { segmentCount: 0, bytes: 0, resourceCount: 0 })
  })

  await t.test('the floor of free disk is kept, with one question to the disk in a second', async (t) => {
    let questions = 0
    let freeBytes = 10_000
    const disk: Disk = {
      ...systemDisk,
      async freeBytes() {
        questions++
        return freeBytes
      },
    }
    const { store, fill, clock, gone, resource } = await setUp(t, { disk, minFreeBytes: 7000 })
    await fill(3) // a second apart: each asks again, and is told 10,000
    t.equal(questions, 3)
    for (let index = 3; index < 6; index++) {
      t.equal(await store.commit(segment(index), { resource: resource.id, index }, { signal }), true)
    }
    t.equal(questions, 3, 'what was written since is accounted for without asking')
    t.equal(gone.length, 1, 'three fit above the floor, counting the one written in this second')
    clock.advance(1000)
    freeBytes = 5000
    await store.maintain({ signal })
    t.equal(gone.length, 3, 'space is given back when others fill the disk')
    freeBytes = 0
    clock.advance(1000)
    t.equal(await store.commit(segment(9), { resource: resource.id, index: 9 }, { signal }), false)
  })

  await t.test('ENOSPC: room is made once, else the answer is false, and nothing stays behind', async (t) => {
    let fullFor = 0
    const disk: Disk = {
      ...systemDisk,
      async writeNew(path, bytes) {
        await systemDisk.writeNew(path, bytes.subarray(0, fullFor > 0 ? 10 : bytes.byteLength))
        if (fullFor-- > 0) throw Object.assign(new Error('ENOSPC: no space left'), { code: 'ENOSPC' })
      },
    }
    const { store, fill, resource, dataDir, gone } = await setUp(t, { disk, minFreeBytes: 3000 })
    const [a] = await fill(3)
    fullFor = 1
    t.equal(await store.commit(segment(8), { resource: resource.id, index: 8 }, { signal }), true)
    t.same(
      gone.map(([, it]) => it.hash),
      [a?.hash],
      'no more was evicted than needed',
    )
    fullFor = 2
    t.equal(await store.commit(segment(9), { resource: resource.id, index: 9 }, { signal }), false)
    t.same(await readdir(join(storeRoot(dataDir), 'temp')), [])
    t.equal(await store.has(segment(9).hash), false)
    t.equal((await store.stat()).segmentCount, (await segmentFiles(dataDir)).length)
    fullFor = 0
    t.equal(await store.commit(segment(9), { resource: resource.id, index: 9 }, { signal }), true)
  })

  await t.test('another failure of the disk is an error, not a full cache', async (t) => {
    const disk: Disk = {
      ...systemDisk,
      async writeNew() {
        throw Object.assign(new Error('EROFS: read-only file system'), { code: 'EROFS' })
      },
    }
    const { store, resource } = await setUp(t, { disk })
    await t.rejects(store.commit(segment(8), { resource: resource.id, index: 8 }, { signal }), {
      code: 'SHORTHAUL_STORE_IO',
    })
  })

  await t.test('commits, reads, removals and evictions at the same time leave totals that are true', async (t) => {
    const { store, clock, dataDir } = await setUp(t, { maxBytes: 20_000 })
    const records = [1, 2, 3].map((number) => record(`r${number}`, { segments: 200 }))
    for (const it of records) await store.putResource(it)
    const work: Promise<unknown>[] = []
    for (let number = 0; number < 300; number++) {
      clock.advance(1)
      const resource = records[number % 3]
      if (!resource) continue
      const it = segment(number % 60)
      work.push(store.commit(it, { resource: resource.id, index: number % 200 }, { signal }))
      work.push(store.read(segment((number * 7) % 60).hash, { signal }))
      if (number === 200) work.push(store.removeResource(record('r2').id))
    }
    await Promise.all(work)
    const files = await segmentFiles(dataDir)
    const { segmentCount, bytes } = await store.stat()
    t.equal(segmentCount, files.length)
    t.equal(bytes, files.length * 1000)
    t.ok(bytes <= 20_000)
    t.same(await store.verify({ signal }), { checked: files.length, corrupt: 0, missing: 0, recovered: 0 })
  })
})

void t.test('what is known of digests survives, and its absence in older records is no damage', async (t) => {
  const digests = { sha256: 'a'.repeat(64), pinnedSha256: 'b'.repeat(64), declaredSha256: 'c'.repeat(64) }
  const given = record('digests', digests)
  t.strictSame(decodeRecord(encodeRecord(given)), given)
  const { pinnedSha256: _pinned, declaredSha256: _declared, ...old } = given
  t.strictSame(decodeRecord(Buffer.from(JSON.stringify(old))), { ...given, pinnedSha256: null, declaredSha256: null })
})
