/**
 * Opens the index, or starts a new one where it cannot be trusted. A damaged index is moved aside (one is kept, for people
 * who want to know why), never repaired: all that matters can be had again, from the files and from the branch.
 */
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Logger } from 'pino'
import { ShorthaulError } from '../errors.ts'
import { classifyIndexError, IndexDb, ioCodeOf, put } from './index-db.ts'
import { keys } from './index-keys.ts'

/** Of the whole layout: files, keys and values. A newer one is refused, an older one would be converted here. */
export const STORE_VERSION = 1

export interface OpenedIndex {
  readonly db: IndexDb
  /** The index holds nothing and the files must be listed again; `markBuilt` ends that. */
  readonly isNew: boolean
}

/** @param root `<dataDir>/store/v1` @throws SHORTHAUL_STORE_VERSION */
export async function checkVersion(root: string, log: Logger): Promise<void> {
  const path = join(root, 'format.json')
  const text = await readFile(path, 'utf8').catch(() => null)
  if (text !== null) {
    const version = parseVersion(text)
    if (version === STORE_VERSION) return
    if (version !== null) throw versionError(path, version)
    log.warn({ path }, 'store format file unreadable, written again')
  }
  await writeFile(`${path}.new`, `${JSON.stringify({ version: STORE_VERSION })}\n`, { mode: 0o600 })
  await rename(`${path}.new`, path)
}

function parseVersion(text: string): number | null {
  try {
    const parsed: unknown = JSON.parse(text)
    const version = typeof parsed === 'object' && parsed !== null && 'version' in parsed ? parsed.version : null
    return typeof version === 'number' && Number.isInteger(version) ? version : null
  } catch {
    return null
  }
}

function versionError(path: string, version: number): ShorthaulError {
  return new ShorthaulError(
    'SHORTHAUL_STORE_VERSION',
    `Cannot open the store of "${path}": it has version ${version}, expected ${STORE_VERSION}`,
    { details: { path, found: version, expected: STORE_VERSION } },
  )
}

/**
 * @param options.isDistrusted start anew whatever is there
 * @throws SHORTHAUL_DATA_DIR_IN_USE (without the owner's pid: the caller knows where that stands), SHORTHAUL_DISK_FULL,
 *   SHORTHAUL_STORE_IO, SHORTHAUL_STORE_VERSION
 */
export async function openIndex(
  components: { log: Logger },
  options: { root: string; isDistrusted?: boolean },
): Promise<OpenedIndex> {
  const { log } = components
  const { root } = options
  const path = join(root, 'index')
  const rebuildMark = join(root, 'rebuild-index')
  const onCorrupt = once(() => {
    log.error({ path }, 'index damaged, it is rebuilt at the next start')
    // Nobody to wait for it: without the mark, the next start finds the damage by itself as soon as it reads it.
    writeFile(rebuildMark, '', { mode: 0o600 }).catch((err: unknown) => log.warn({ err }, 'rebuild mark not written'))
  })
  const open = async () => {
    // Ours to make, because level would make it readable for others. A file in its place counts as damage.
    await mkdir(path, { recursive: true, mode: 0o700 }).catch(() => undefined)
    return IndexDb.open(path, { onCorrupt })
  }

  const isMarked = (await readFile(rebuildMark).catch(() => null)) !== null
  let db: IndexDb
  try {
    db = await open()
    if (options.isDistrusted === true || isMarked) {
      // Opened all the same, because only the lock proves that nobody else uses it.
      await db.close()
      db = await openAside({ log, root, open })
    }
  } catch (error) {
    if (classifyIndexError(error) !== 'corrupt') throw openError(error, path)
    // Once more, in case another process has just replaced it and now holds the lock.
    db = await open().catch((again: unknown) => {
      if (classifyIndexError(again) !== 'corrupt') throw openError(again, path)
      return openAside({ log, root, open })
    })
  }
  let version: Buffer | undefined
  try {
    version = await db.get(keys.meta('version'))
  } catch (error) {
    await db.close()
    if (classifyIndexError(error) !== 'corrupt') throw error
    db = await openAside({ log, root, open }) // it opened, but its tables cannot be read
  }
  await rm(rebuildMark, { force: true })
  if (version !== undefined && version.toString('latin1') !== String(STORE_VERSION)) {
    await db.close()
    throw versionError(path, Number(version.toString('latin1')))
  }
  return { db, isNew: version === undefined }
}

/** Written when a new index knows all files; until then each start lists them again. */
export async function markBuilt(db: IndexDb): Promise<void> {
  await db.write([put(keys.meta('version'), Buffer.from(String(STORE_VERSION), 'latin1'))], { isDurable: true })
}

async function openAside(context: { log: Logger; root: string; open: () => Promise<IndexDb> }): Promise<IndexDb> {
  const { log, root, open } = context
  const path = join(root, 'index')
  for (const name of await readdir(root)) {
    if (name.startsWith('index.damaged')) await rm(join(root, name), { recursive: true, force: true })
  }
  await rename(path, join(root, 'index.damaged'))
  log.error({ path }, 'index damaged, moved aside and built again from the files')
  try {
    return await open()
  } catch (error) {
    throw openError(error, path)
  }
}

function openError(error: unknown, path: string): unknown {
  if (error instanceof ShorthaulError) return error
  const kind = classifyIndexError(error)
  const code = kind === 'locked' ? 'SHORTHAUL_DATA_DIR_IN_USE' : ioCodeOf(error)
  return new ShorthaulError(code, `Cannot open the index "${path}": ${kind}`, { cause: error, details: { path } })
}

function once(action: () => void): () => void {
  let isDone = false
  return () => {
    if (!isDone) action()
    isDone = true
  }
}
