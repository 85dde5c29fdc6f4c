/**
 * Publishing a directory: which of its files need a manifest, and each of them through hashing and writing, or through
 * checking. One file at a time: two would only fight for the disk.
 *
 * Invariant: nothing outside the directory is read. A link is followed when it leads to a file inside, since web servers
 * serve such links under their own names; links to directories are not, because what they lead to has its own place.
 */
import type { Stats } from 'node:fs'
import { readdir, realpath, stat } from 'node:fs/promises'
import { isAbsolute, join, relative, sep } from 'node:path'
import { PUBLISHED_MANIFEST_SUFFIX } from '../content/published-manifest.ts'
import { localIoError, ShorthaulError, systemCode, throwIfAborted } from '../errors.ts'
import { hashFile } from './hash-file.ts'
import { readPublishedHead, readPublishedManifest, writePublishedManifest } from './manifest-file.ts'

export interface PublishedFile {
  /** Within the directory, with the separator of the system. */
  readonly name: string
  /** Where its bytes are: absolute, without links. */
  readonly path: string
  /** Where its manifest is, or will be. */
  readonly manifestPath: string
  /** When it was found. */
  readonly bytes: number
}

export interface Plan {
  /** In the order of their names, directory by directory. */
  readonly files: readonly PublishedFile[]
  /** Their manifests are of this size and time already. */
  readonly upToDateCount: number
  /** Links that lead out of the directory, to directories or nowhere; names within the directory. */
  readonly skippedLinks: readonly string[]
  /** Manifests of files that are no more. */
  readonly orphans: readonly string[]
}

export interface PublishOptions {
  /** Where manifests go; null: beside their files. */
  readonly out: string | null
  /** Hash also what seems to be up to date. */
  readonly isForced: boolean
  readonly signal: AbortSignal
}

/** A part of a download of ours, and what we write meanwhile, is no content. */
const OWN_FILE = /\.shorthaul-(?:part|manifest)$|^\..*\.shorthaul-manifest\..*\.tmp$/

/** @throws SHORTHAUL_ORIGIN_NOT_FOUND, SHORTHAUL_ORIGIN_REFUSED: a directory that cannot be read ends it */
export async function planPublishing(directory: string, options: PublishOptions): Promise<Plan> {
  const root = await guard(directory, () => realpath(directory))
  const { out } = options
  const files: PublishedFile[] = []
  const skippedLinks: string[] = []
  const orphans: string[] = []
  let upToDateCount = 0
  const waiting = [root]
  for (let dir = waiting.pop(); dir !== undefined; dir = waiting.pop()) {
    throwIfAborted(options.signal)
    const path = dir
    const entries = await guard(path, () => readdir(path, { withFileTypes: true }))
    entries.sort((one, other) => (one.name < other.name ? -1 : 1))
    const names = new Set(entries.map(({ name }) => name))
    const below: string[] = []
    for (const entry of entries) {
      const own = join(path, entry.name)
      const name = relative(root, own)
      if (entry.isDirectory()) {
        below.push(own)
      } else if (OWN_FILE.test(entry.name)) {
        const of = entry.name.slice(0, -PUBLISHED_MANIFEST_SUFFIX.length)
        if (out === null && entry.name.endsWith(PUBLISHED_MANIFEST_SUFFIX) && !names.has(of)) orphans.push(name)
      } else if (entry.isFile() || entry.isSymbolicLink()) {
        const real = entry.isSymbolicLink() ? await fileWithin(root, own) : own
        if (real === null) {
          skippedLinks.push(name)
          continue
        }
        const manifestPath = join(out ?? root, name) + PUBLISHED_MANIFEST_SUFFIX
        const found = await guard(real, () => stat(real, { bigint: true }))
        const file = { name, path: real, manifestPath, bytes: Number(found.size) }
        if (!options.isForced && (await isUpToDate(file, found.mtimeNs))) upToDateCount++
        else files.push(file)
      }
    }
    waiting.push(...below.reverse())
  }
  return { files, upToDateCount, skippedLinks, orphans }
}

/** Hashes a file and writes its manifest. @returns its SHA-256 */
export async function publishFile(
  file: PublishedFile,
  options: { readonly signal: AbortSignal; readonly onBytes: (bytes: number) => void },
): Promise<string> {
  const { published, mode } = await hashFile(file.path, options)
  throwIfAborted(options.signal)
  await writePublishedManifest(file.manifestPath, published, { mode })
  return published.sha256
}

/**
 * Hashes a file and holds its manifest against it; changes nothing. @returns its SHA-256
 * @throws SHORTHAUL_MANIFEST_INVALID when there is none or it is damaged, SHORTHAUL_DIGEST_MISMATCH when it is of other bytes
 */
export async function checkFile(
  file: PublishedFile,
  options: { readonly signal: AbortSignal; readonly onBytes: (bytes: number) => void },
): Promise<string> {
  const { published: found } = await hashFile(file.path, options)
  const published = await readPublishedManifest(file.manifestPath)
  if (published === null) {
    throw new ShorthaulError(
      'SHORTHAUL_MANIFEST_INVALID',
      `Cannot confirm "${file.name}": it has no manifest, expected one at "${file.manifestPath}"`,
    )
  }
  if (published.sha256 !== found.sha256 || published.manifest.root !== found.manifest.root) {
    throw new ShorthaulError(
      'SHORTHAUL_DIGEST_MISMATCH',
      `Cannot confirm "${file.name}": its SHA-256 is ${found.sha256}, its manifest is of ${published.sha256}`,
    )
  }
  return found.sha256
}

async function isUpToDate(file: PublishedFile, modifiedNs: bigint): Promise<boolean> {
  const head = await readPublishedHead(file.manifestPath)
  return head !== null && head.lengthBytes === file.bytes && head.modifiedNs === modifiedNs
}

/** Where a link leads, when that is a regular file in the directory; else null. */
async function fileWithin(root: string, link: string): Promise<string | null> {
  let real: string
  let found: Stats
  try {
    real = await realpath(link)
    found = await stat(real)
  } catch {
    return null // it leads nowhere, or in a circle
  }
  const way = relative(root, real)
  const isInside = way !== '..' && !way.startsWith(`..${sep}`) && !isAbsolute(way)
  return isInside && found.isFile() ? real : null
}

async function guard<T>(path: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action()
  } catch (error) {
    const isMissing = systemCode(error) === 'ENOENT'
    throw localIoError('read', path, error, isMissing ? 'SHORTHAUL_ORIGIN_NOT_FOUND' : 'SHORTHAUL_ORIGIN_REFUSED')
  }
}
