/**
 * file: URLs as an origin: a mounted share, or a local file for the sake of one interface.
 *
 * Generation: `"file-<mtimeNs>-<size>"`, only when the file was last changed at least 60 s ago (younger, it may be in the
 * middle of being written within the same tick of its clock). The inode is left out on purpose: machines that mount the
 * same share see different ones.
 *
 * Sharing: a file: URL names a path on *one* machine, and two machines' local files of one path, size and time may well
 * differ (images with clamped timestamps). So only files on a network file system, where the path names the same thing
 * elsewhere, are for the branch, and of those only what everybody may read: we run as somebody, and must not lend out
 * their rights. Local files gain nothing from peers anyway. Where the system does not tell (macOS), they are private.
 */
import { constants } from 'node:fs'
import { type FileHandle, open, stat, statfs } from 'node:fs/promises'
import { platform } from 'node:process'
import { fileURLToPath } from 'node:url'
import type { Clock } from '../clock.ts'
import { PUBLISHED_MANIFEST_SUFFIX } from '../content/published-manifest.ts'
import type { Validator } from '../content/resource.ts'
import { type ByteRange, isContentLength } from '../content/segmentation.ts'
import { redactUrl, ShorthaulError, systemCode, throwIfAborted } from '../errors.ts'
import { changedError, protocolError } from './http-errors.ts'
import { isRange } from './http-range.ts'
import type {
  OpenOptions,
  Origin,
  OriginDocument,
  OriginFacts,
  OriginRequest,
  OriginStream,
  ReadOptions,
} from './origin.ts'

const SETTLED_MS = 60_000
/** One read, and all that is ever buffered for one stream. */
const READ_BYTES = 256 * 1024
const WORLD_READABLE = 0o004

/** statfs(2) f_type on Linux: NFS, SMB, SMB2/3, CIFS, Ceph, AFS, Lustre. FUSE is left out: it may be anything. */
const NETWORK_FILE_SYSTEMS: ReadonlySet<number> = new Set([
  0x6969, 0x517b, 0xfe534d42, 0xff534d42, 0x00c36400, 0x5346414f, 0x0bd00bd0,
])

interface Facts {
  readonly lengthBytes: number
  readonly mtimeNs: bigint
  readonly facts: OriginFacts
}

export class FileOrigin implements Origin {
  readonly #clock: Clock
  readonly #streams = new Set<FileStream>()

  constructor(components: { clock: Clock }) {
    this.#clock = components.clock
  }

  /** Whose rights a file needs is seen when it is opened. */
  carriesCredentials(): boolean {
    return false
  }

  async probe(request: OriginRequest, options: { readonly signal: AbortSignal }): Promise<OriginFacts> {
    throwIfAborted(options.signal)
    const file = await openFile(request.url)
    try {
      return (await this.#examine(file, request.url)).facts
    } finally {
      await file.close()
    }
  }

  async open(request: OriginRequest, options: OpenOptions): Promise<OriginStream> {
    const { range, expected, signal } = options
    if (range && !isRange(range)) throw new RangeError(`Cannot open [${range.start}, ${range.end})`)
    throwIfAborted(signal)
    const file = await openFile(request.url)
    try {
      const found = await this.#examine(file, request.url)
      const { lengthBytes, facts } = found
      if (expected && !isExpected(found, expected)) {
        throw changedError(request.url, 'the file is another generation than expected')
      }
      if (range && range.start >= lengthBytes) throw changedError(request.url, 'the file is shorter than expected')
      const wanted = range
        ? { start: range.start, end: Math.min(range.end, lengthBytes) }
        : { start: 0, end: lengthBytes }
      const stream = new FileStream(file, { url: request.url, range: wanted, found, signal })
      this.#streams.add(stream)
      void stream.ended.then(() => this.#streams.delete(stream))
      return { facts, offset: wanted.start, body: stream, cancel: () => stream.cancel() }
    } catch (error) {
      await file.close()
      throw error
    }
  }

  async read(request: OriginRequest, { maxBytes, signal }: ReadOptions): Promise<OriginDocument> {
    throwIfAborted(signal)
    const { url } = request
    const file = await openFile(url)
    try {
      const { size, mtimeMs } = await guard(url, () => file.stat())
      if (size > maxBytes) throw protocolError(new URL(url), `it is longer than ${maxBytes} bytes`, 'length')
      const buffer = Buffer.alloc(size)
      const { bytesRead } = await guard(url, () => file.read(buffer, 0, size, 0))
      return { bytes: buffer.subarray(0, bytesRead), lastModifiedMs: mtimeMs }
    } finally {
      await file.close()
    }
  }

  async close(): Promise<void> {
    await Promise.all([...this.#streams].map((stream) => stream.cancel()))
  }

  async #examine(file: FileHandle, url: string): Promise<Facts> {
    const { size, mtimeNs, mode } = await guard(url, () => file.stat({ bigint: true }))
    const lengthBytes = Number(size)
    if (!isContentLength(lengthBytes)) throw refused(url, 'it is larger than 1 TiB')
    const nowMs = this.#clock.nowMs()
    const isSettled = BigInt(Math.floor(nowMs)) * 1_000_000n - mtimeNs >= BigInt(SETTLED_MS) * 1_000_000n
    const validator: Validator | null = isSettled ? { kind: 'etag', value: `"file-${mtimeNs}-${size}"` } : null
    const privateReason = fileSharing({
      isWorldReadable: (Number(mode) & WORLD_READABLE) !== 0,
      isOnShare: await isOnShare(url),
    })
    const facts: OriginFacts = {
      finalUrl: url,
      redirects: [],
      lengthBytes,
      validator,
      acceptsRanges: true,
      visibility: privateReason === null ? 'branch' : 'private',
      privateReason,
      selection: '',
      freshUntilMs: nowMs, // nothing promises that the file stays as it is
      declaredSha256: null,
      declaredConflict: null,
      manifestUrl: await manifestBeside(url),
      lastModifiedMs: Number(mtimeNs / 1_000_000n),
      isTlsOnly: true,
      degradations: validator === null ? ['no-validator'] : [],
    }
    return { lengthBytes, mtimeNs, facts }
  }
}

/** Where `shorthaul publish` puts it, when there is something. */
async function manifestBeside(url: string): Promise<string | null> {
  const beside = `${url}${PUBLISHED_MANIFEST_SUFFIX}`
  return stat(fileURLToPath(beside)).then(
    (stats) => (stats.isFile() ? beside : null),
    () => null,
  )
}

/** Why a file is private, or null; see the head of this file. */
export function fileSharing(file: { readonly isWorldReadable: boolean; readonly isOnShare: boolean }): string | null {
  if (!file.isOnShare) return 'the file is on this machine'
  return file.isWorldReadable ? null : 'the file is not readable by everybody'
}

/** @param type f_type as Node gives it: signed on some systems */
export function isNetworkFileSystem(type: number): boolean {
  return NETWORK_FILE_SYSTEMS.has(type >>> 0)
}

async function isOnShare(url: string): Promise<boolean> {
  if (platform === 'win32') return new URL(url).host !== '' // \\server\share
  if (platform !== 'linux') return false // f_type is no stable number there
  try {
    return isNetworkFileSystem((await statfs(fileURLToPath(url))).type)
  } catch {
    return false
  }
}

function isExpected(found: Facts, expected: NonNullable<OpenOptions['expected']>): boolean {
  if (found.lengthBytes !== expected.lengthBytes) return false
  if (expected.validator.kind === 'sha256') return true // only the bytes can tell
  const { validator } = found.facts
  return validator?.kind === expected.validator.kind && validator.value === expected.validator.value
}

/** Without waiting for the other end of a FIFO, and refusing everything that is not a regular file. */
async function openFile(url: string): Promise<FileHandle> {
  // O_NONBLOCK does not exist on Windows, where opening a pipe does not block either.
  const flags = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0)
  const file = await guard(url, () => open(fileURLToPath(url), flags))
  try {
    const stats = await guard(url, () => file.stat())
    if (!stats.isFile()) throw refused(url, stats.isDirectory() ? 'it is a directory' : 'it is not a regular file')
    return file
  } catch (error) {
    await file.close()
    throw error
  }
}

class FileStream implements AsyncIterable<Uint8Array> {
  readonly #file: FileHandle
  readonly #options: { url: string; range: ByteRange; found: Facts; signal: AbortSignal }
  readonly ended: Promise<void>
  #resolveEnded: () => void = () => {}
  #closing: Promise<void> | null = null
  #isTaken = false

  constructor(file: FileHandle, options: { url: string; range: ByteRange; found: Facts; signal: AbortSignal }) {
    this.#file = file
    this.#options = options
    this.ended = new Promise((resolve) => {
      this.#resolveEnded = resolve
    })
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    if (this.#isTaken) throw new TypeError('A body can be read once')
    this.#isTaken = true
    const { url, range, signal } = this.#options
    try {
      for (let offset = range.start; offset < range.end; ) {
        this.#check()
        const buffer = Buffer.allocUnsafeSlow(Math.min(READ_BYTES, range.end - offset)) // fresh: the reader keeps it
        const { bytesRead } = await guard(url, () => this.#file.read(buffer, 0, buffer.byteLength, offset))
        throwIfAborted(signal)
        if (bytesRead === 0) throw changedError(url, 'the file became shorter while it was read')
        offset += bytesRead
        // Before the last bytes go out, so that a reader who counts bytes and stops has been told too.
        if (offset === range.end) await this.#checkUnchanged()
        yield buffer.subarray(0, bytesRead)
      }
    } finally {
      await this.cancel()
    }
  }

  cancel(): Promise<void> {
    // A read that runs delays close() until it is done; FileHandle sees to that.
    this.#closing ??= this.#file.close().finally(() => this.#resolveEnded())
    return this.#closing
  }

  #check(): void {
    throwIfAborted(this.#options.signal)
    if (this.#closing) throw new ShorthaulError('SHORTHAUL_ABORTED', 'The body was cancelled')
  }

  /** A file replaced by rename keeps its old bytes for us; one written in place shows here. */
  async #checkUnchanged(): Promise<void> {
    this.#check()
    const { url, found } = this.#options
    const { size, mtimeNs } = await guard(url, () => this.#file.stat({ bigint: true }))
    if (Number(size) !== found.lengthBytes || mtimeNs !== found.mtimeNs) {
      throw changedError(url, 'the file changed while it was read')
    }
  }
}

function refused(url: string, found: string): ShorthaulError {
  const redacted = redactUrl(url)
  return new ShorthaulError('SHORTHAUL_ORIGIN_REFUSED', `Cannot read "${redacted}": ${found}`, {
    details: { url: redacted },
  })
}

async function guard<T>(url: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action()
  } catch (error) {
    const system = systemCode(error)
    const redacted = redactUrl(url)
    const code =
      system === 'ENOENT' || system === 'ENOTDIR'
        ? 'SHORTHAUL_ORIGIN_NOT_FOUND'
        : system === 'EACCES' || system === 'EPERM' || system === 'ELOOP' || system === 'ENXIO'
          ? 'SHORTHAUL_ORIGIN_REFUSED'
          : 'SHORTHAUL_ORIGIN_UNREACHABLE' // EIO, ESTALE, EHOSTDOWN: the share's trouble, may pass
    throw new ShorthaulError(code, `Cannot read "${redacted}": ${system ?? String(error)}`, {
      cause: error,
      details: { url: redacted, system },
    })
  }
}
