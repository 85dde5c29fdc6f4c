import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readdir, readFile, rename, rm, stat, unlink, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { systemClock } from '../../src/clock.ts'
import type { SegmentHash } from '../../src/content/ids.ts'
import { del, IndexDb, put } from '../../src/store/index-db.ts'
import { keys, ranges } from '../../src/store/index-keys.ts'
import { Store, type StoreOptions } from '../../src/store/store.ts'
import { TS_IMPORT } from '../support/ts-import.ts'
import { log, ManualClock, never, options, record, segment, segmentFiles, segmentPath, storeRoot } from './fixtures.ts'

const signal = never
const opened: Store[] = []
// Registered before the directory that the stores are in, so that it ends after them.
t.teardown(() => Promise.all(opened.map((store) => store.close().catch(() => undefined))))
const root = t.testdir()
let dirs = 0
function newDir(): string {
  return join(root, String(dirs++))
}

const resource = record('a')

async function openStore(dataDir: string, rest: Partial<StoreOptions> = {}): Promise<Store> {
  const store = await Store.open({ clock: new ManualClock(), log }, options(dataDir, rest))
  opened.push(store)
  return store
}

/** A closed store with segments 0..count-1 of the resource. */
async function filled(count: number): Promise<{ dataDir: string; hashes: SegmentHash[] }> {
  const dataDir = newDir()
  const store = await openStore(dataDir)
  await store.putResource(resource)
  for (let index = 0; index < count; index++)
    await store.commit(segment(index), { resource: resource.id, index }, { signal })
  await store.close()
  return { dataDir, hashes: Array.from({ length: count }, (_, index) => segment(index).hash) }
}

async function editIndex(dataDir: string, edit: (db: IndexDb) => Promise<void>): Promise<void> {
  const db = await IndexDb.open(join(storeRoot(dataDir), 'index'), { onCorrupt: () => undefined })
  await edit(db)
  await db.close()
}

/** As if the process had been killed after the last batch. */
function forgetCleanMark(dataDir: string): Promise<void> {
  return editIndex(dataDir, (db) => db.write([del(keys.meta('clean'))]))
}

function child(dataDir: string, ...args: string[]) {
  const script = fileURLToPath(new URL('./crash-child.ts', import.meta.url))
  return spawn(process.execPath, [TS_IMPORT, script, dataDir, ...args], { stdio: ['ignore', 'pipe', 'inherit'] })
}

t.test('one owner', async (t) => {
  await t.test('a second open in this process fails, names us, and leaves the lock held', async (t) => {
    const dataDir = newDir()
    const store = await openStore(dataDir)
    const owner: unknown = JSON.parse(await readFile(join(storeRoot(dataDir), 'owner.json'), 'utf8'))
    t.match(owner, { pid: process.pid })
    for (const path of [dataDir, join(dataDir, '..', String(dirs - 1))]) {
      await t.rejects(Store.open({ clock: systemClock, log }, options(path)), {
        code: 'SHORTHAUL_DATA_DIR_IN_USE',
        details: { pid: process.pid },
        message: /--data-dir/,
      })
    }
    // The trap: a failed second open in one process drops level's lock. Another process must still be refused.
    const probe = `
      import { IndexDb, classifyIndexError } from './src/store/index-db.ts'
      IndexDb.open(process.argv[1], { onCorrupt() {} }).then(
        () => console.log('opened'), (error) => console.log(classifyIndexError(error)))`
    const run = () =>
      spawnSync(process.execPath, [TS_IMPORT, '--input-type=module', '-e', probe, join(storeRoot(dataDir), 'index')], {
        encoding: 'utf8',
        cwd: fileURLToPath(new URL('../..', import.meta.url)),
      })
    t.equal(run().stdout.trim(), 'locked')
    await store.close()
    await store.close()
    t.equal(run().stdout.trim(), 'opened')
    await t.rejects(store.has(segment(1).hash), { code: 'SHORTHAUL_STORE_IO' })
    await (await openStore(dataDir)).close()
    t.notOk((await readdir(storeRoot(dataDir))).includes('owner.json'))
  })

  await t.test('a store that another process has open is refused with its pid, until that process dies', async (t) => {
    const dataDir = newDir()
    const other = child(dataDir, '0', '1000000')
    t.teardown(() => other.kill('SIGKILL'))
    const lines = createInterface({ input: other.stdout })
    await once(lines, 'line')
    await t.rejects(Store.open({ clock: systemClock, log }, options(dataDir)), {
      code: 'SHORTHAUL_DATA_DIR_IN_USE',
      details: { pid: other.pid },
      message: new RegExp(`process ${other.pid} `),
    })
    other.kill('SIGKILL')
    await once(other, 'exit')
    await (await openStore(dataDir)).close()
  })
})

t.test('kill -9 in the middle of commits and evictions leaves an index that tells the truth', async (t) => {
  const dataDir = newDir()
  // 60 segments fit: the second and third life evict with each commit.
  const maxBytes = 60 * 20_000
  let next = 0
  for (const life of [1, 2, 3]) {
    const process_ = child(dataDir, String(next), String(maxBytes))
    const committed: number[] = []
    const lines = createInterface({ input: process_.stdout })
    for await (const line of lines) {
      if (line !== 'open') committed.push(Number(line))
      if (committed.length === 40 + life * 17) process_.kill('SIGKILL')
    }
    next = Math.max(...committed) + 20

    // By the real clock, as the child: reading is using, and must not make old segments younger than new ones.
    const store = await Store.open({ clock: systemClock, log }, options(dataDir, { maxBytes }))
    opened.push(store)
    const files = await segmentFiles(dataDir)
    const { segmentCount, bytes } = await store.stat()
    t.equal(segmentCount, files.length, 'as many rows as files')
    t.equal(bytes, files.length * 20_000)
    t.ok(bytes <= maxBytes + 4 * 20_000, 'the quota, but for files that were adopted')
    t.same(await readdir(join(storeRoot(dataDir), 'temp')), [])
    const here = await store.hasMany(committed.slice(-40).map((number) => segment(number, 20_000).hash))
    t.ok(
      here.every((it) => it),
      'what was confirmed last is here',
    )
    const positions = await store.positions(record('crash', { segments: 100_000 }).id)
    t.ok(positions.length > 0)
    for (const { start, end } of positions) {
      for (let index = start; index < end; index++) {
        if (!(await store.read(segment(index, 20_000).hash, { signal }))) t.fail(`position ${index} cannot be read`)
      }
    }
    const verified = await store.verify({ signal })
    t.same(verified, { checked: files.length, corrupt: 0, missing: 0, recovered: 0 }, 'nothing was left to repair')
    await store.close()
  }
})

t.test('recovery after an unclean stop', async (t) => {
  await t.test(
    'files without rows are adopted or removed, rows without files dropped, only where something changed',
    async (t) => {
      const { dataDir, hashes } = await filled(4)
      const [noRow, noFile, sound] = hashes
      if (!noRow || !noFile || !sound) throw new Error('nothing committed')
      await forgetCleanMark(dataDir)
      await editIndex(dataDir, async (db) => {
        // As a kill between rename and batch leaves it.
        const at = { resource: resource.id, index: 0 }
        await db.write(
          [keys.segment(noRow), keys.journal(noRow), keys.reference(noRow, at), keys.position(at)].map(del),
        )
      })
      await unlink(segmentPath(dataDir, noFile))
      const garbage = segment(100).hash
      await mkdir(join(segmentPath(dataDir, garbage), '..'), { recursive: true })
      await writeFile(segmentPath(dataDir, garbage), 'not what the name says')
      const huge = segment(101).hash
      await mkdir(join(segmentPath(dataDir, huge), '..'), { recursive: true })
      await writeFile(segmentPath(dataDir, huge), Buffer.alloc(2_000_000))
      await writeFile(join(storeRoot(dataDir), 'temp', 'left'), 'x')

      const store = await openStore(dataDir)
      t.same(await store.hasMany([noRow, noFile, sound, garbage, huge]), [true, false, true, false, false])
      t.ok(await store.read(noRow, { signal }))
      t.equal(await store.read(noRow, { signal, expectVisibility: 'branch' }), null, 'adopted for nobody')
      await store.commit(segment(0), { resource: resource.id, index: 0 }, { signal })
      t.ok(await store.read(noRow, { signal, expectVisibility: 'branch' }), 'a commit claims it')
      t.same(await store.positions(resource.id), [
        { start: 0, end: 1 },
        { start: 2, end: 4 },
      ])
      t.same((await segmentFiles(dataDir)).length, 3)
      t.same(await readdir(join(storeRoot(dataDir), 'temp')), [])
    },
  )

  await t.test('what was committed since the last checkpoint is re-hashed, older content is not', async (t) => {
    const { dataDir, hashes } = await filled(3)
    const [old, fresh] = hashes
    if (!old || !fresh) throw new Error('nothing committed')
    const before = await openStore(dataDir)
    await before.maintain({ signal })
    await before.maintain({ signal }) // the second checkpoint makes durable what the first one saw
    await before.commit(segment(50), { resource: resource.id, index: 5 }, { signal })
    await before.close()
    const young = segment(50).hash
    await forgetCleanMark(dataDir)
    // Same size, wrong bytes: what a power cut leaves. The directories do not change.
    for (const hash of [old, young]) await writeFile(segmentPath(dataDir, hash), Buffer.alloc(1000))
    const store = await openStore(dataDir)
    t.same(await store.hasMany([old, young]), [true, false])
    t.equal(await store.read(old, { signal }), null, 'found when it is read')
  })

  await t.test('a shard that did not change since the mark is not listed', async (t) => {
    const { dataDir } = await filled(1)
    const stray = segment(200)
    await mkdir(join(segmentPath(dataDir, stray.hash), '..'), { recursive: true })
    await writeFile(segmentPath(dataDir, stray.hash), stray.bytes)
    const longAgo = new Date(Date.parse('2020-01-01'))
    await utimes(join(segmentPath(dataDir, stray.hash), '..'), longAgo, longAgo)
    await forgetCleanMark(dataDir)
    const store = await openStore(dataDir)
    t.equal(await store.has(stray.hash), false)
    t.match(await store.verify({ signal }), { recovered: 1 }, 'verify looks everywhere')
    t.equal(await store.has(stray.hash), true)
  })

  await t.test('after a clean stop nothing is examined', async (t) => {
    const { dataDir, hashes } = await filled(1)
    const stray = segment(200)
    await mkdir(join(segmentPath(dataDir, stray.hash), '..'), { recursive: true })
    await writeFile(segmentPath(dataDir, stray.hash), stray.bytes)
    const store = await openStore(dataDir)
    t.same(await store.hasMany([hashes[0] ?? stray.hash, stray.hash]), [true, false])
  })
})

t.test('a damaged index is built again from the files', async (t) => {
  const damages: [string, (index: string) => Promise<void>][] = [
    ['deleted', (index) => rm(index, { recursive: true })],
    ['without CURRENT', (index) => unlink(join(index, 'CURRENT'))],
    ['with a garbled CURRENT', (index) => writeFile(join(index, 'CURRENT'), 'x')],
    ['with a garbled manifest', async (index) => overwrite(index, 'MANIFEST')],
    ['with garbled tables', async (index) => overwrite(index, '.ldb')],
    ['a file', async (index) => rename(index, `${index}.gone`).then(() => writeFile(index, 'x'))],
    ['marked for rebuilding', (index) => writeFile(join(index, '..', 'rebuild-index'), '')],
  ]
  async function overwrite(index: string, kind: string): Promise<void> {
    const names = (await readdir(index)).filter((name) => name.includes(kind))
    if (names.length === 0) throw new Error(`no ${kind} to garble`)
    for (const name of names) await writeFile(join(index, name), Buffer.alloc(600, 7))
  }
  for (const [name, damage] of damages) {
    await t.test(`the index is ${name}`, async (t) => {
      const { dataDir, hashes } = await filled(3)
      const index = join(storeRoot(dataDir), 'index')
      // Opening twice more moves the log into tables, so that there are some to garble.
      for (let round = 0; round < 2; round++) await (await openStore(dataDir)).close()
      await damage(index)
      for (let start = 0; start < 2; start++) {
        const store = await openStore(dataDir)
        t.match(await store.stat(), { segmentCount: 3, bytes: 3000, resourceCount: 0 }, `start ${start}`)
        t.ok(await store.read(hashes[0] ?? segment(0).hash, { signal }))
        t.equal(await store.read(hashes[0] ?? segment(0).hash, { signal, expectVisibility: 'branch' }), null)
        await store.close()
      }
      const store = await openStore(dataDir, { maxBytes: 3000 })
      await store.putResource(resource)
      t.equal(await store.commit(segment(9), { resource: resource.id, index: 0 }, { signal }), true)
      t.match(await store.stat(), { segmentCount: 3 }, 'and goes by the quota')
    })
  }

  await t.test('damage that shows only after opening is noticed, and at a start repaired at once', async (t) => {
    const { dataDir } = await filled(1)
    const index = join(storeRoot(dataDir), 'index')
    for (let round = 0; round < 2; round++) await (await openStore(dataDir)).close()
    await overwrite(index, '.ldb')
    // In the log, so that the index opens and says its version.
    await editIndex(dataDir, (db) => db.write([put(keys.meta('version'), Buffer.from('1'))]))
    let noticed = 0
    const db = await IndexDb.open(index, { onCorrupt: () => noticed++ })
    t.equal(String(await db.get(keys.meta('version'))), '1')
    await t.rejects(db.entries(ranges.pins), { code: 'SHORTHAUL_STORE_IO', details: { failure: 'corrupt' } })
    t.equal(noticed, 1)
    await db.close()
    const store = await openStore(dataDir)
    t.match(await store.stat(), { segmentCount: 1, resourceCount: 0 })
  })
})

t.test('verify re-reads everything', async (t) => {
  const { dataDir, hashes } = await filled(5)
  const [corrupt, missing] = hashes
  if (!corrupt || !missing) throw new Error('nothing committed')
  const store = await openStore(dataDir)
  const lost: number[] = []
  store.on('lost', (events) => lost.push(...events.map((it) => it.index)))
  await writeFile(segmentPath(dataDir, corrupt), 'x')
  await unlink(segmentPath(dataDir, missing))
  const extra = segment(77)
  await mkdir(join(segmentPath(dataDir, extra.hash), '..'), { recursive: true })
  await writeFile(segmentPath(dataDir, extra.hash), extra.bytes)
  await writeFile(join(storeRoot(dataDir), 'temp', 'left'), 'x')
  const progress: [number, number][] = []
  const result = await store.verify({ signal, onProgress: (done, total) => progress.push([done, total]) })
  t.same(result, { checked: 6, corrupt: 1, missing: 1, recovered: 1 })
  t.same(lost.sort(), [0, 1])
  t.same(progress.at(-1), [6, 6])
  t.match(await store.stat(), { segmentCount: 4, bytes: 4000 })
  t.same(await readdir(join(storeRoot(dataDir), 'temp')), [])
  await t.rejects(store.verify({ signal: AbortSignal.abort() }), { code: 'SHORTHAUL_ABORTED' })
})

t.test('a store of a newer version is refused and left as it is; an unreadable version is written again', async (t) => {
  const { dataDir } = await filled(1)
  const path = join(storeRoot(dataDir), 'format.json')
  await writeFile(path, '{"version":2}')
  await t.rejects(Store.open({ clock: systemClock, log }, options(dataDir)), {
    code: 'SHORTHAUL_STORE_VERSION',
    details: { found: 2, expected: 1 },
  })
  await writeFile(path, '')
  await (await openStore(dataDir)).close()
  t.match(await readFile(path, 'utf8'), /"version":1/)
  await editIndex(dataDir, (db) => db.write([put(keys.meta('version'), Buffer.from('9'))]))
  await t.rejects(Store.open({ clock: systemClock, log }, options(dataDir)), { code: 'SHORTHAUL_STORE_VERSION' })
})

t.test('a data directory that cannot be made is an error that names it', async (t) => {
  const file = join(root, 'a-file')
  await writeFile(file, '')
  await t.rejects(Store.open({ clock: systemClock, log }, options(join(file, 'x'))), {
    code: 'SHORTHAUL_STORE_IO',
    message: /a-file/,
  })
})

t.test('a full disk: commits answer false, and the store opens again', async (t) => {
  const mount = join(root, 'tmpfs')
  await mkdir(mount)
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=6m', 'tmpfs', mount])
  if (mounted.status !== 0) {
    t.comment('skipped: needs root and mount')
    return
  }
  t.teardown(() => spawnSync('umount', ['-l', mount]))
  const store = await openStore(mount)
  await store.putResource(record('big', { segments: 100 }))
  const release = store.hold(record('big', { segments: 100 }).id)
  const results: boolean[] = []
  for (let index = 0; index < 12; index++) {
    const at = { resource: record('big', { segments: 100 }).id, index }
    results.push(await store.commit(segment(index, 1_000_000), at, { signal }))
  }
  const cached = results.filter((it) => it).length
  t.ok(cached >= 3 && cached < 7, `${cached} of 12 fit`)
  t.equal(results.at(-1), false)
  release()
  await store.close()
  t.same(await readdir(join(storeRoot(mount), 'temp')), [])
  const again = await openStore(mount, { maxBytes: 2_000_000 })
  t.equal((await again.stat()).segmentCount, cached)
  await again.maintain({ signal })
  t.equal((await again.stat()).segmentCount, 2, 'a smaller quota is kept')
  t.ok((await stat(mount)).isDirectory())
  await again.close()

  await writeFile(join(mount, 'filler'), Buffer.alloc(6_000_000)).catch(() => {})
  await t.rejects(openStore(mount), { code: 'SHORTHAUL_DISK_FULL' }, 'one that is full at the start is called so')
})
