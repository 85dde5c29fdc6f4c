/**
 * Reads one configuration file, bounded in size; yaml-text.ts turns its text into values.
 * Does not know which keys exist; load.ts does.
 */
import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { ShorthaulError, systemCode, throwIfAborted } from '../errors.ts'

/** A thousand times a real one. */
export const MAX_CONFIG_BYTES = 1024 * 1024

export type ConfigFile =
  | { readonly kind: 'missing' }
  | { readonly kind: 'invalid'; readonly problems: readonly string[] }
  | { readonly kind: 'read'; readonly root: unknown }

/** @throws SHORTHAUL_CONFIG_INVALID when it exists and cannot be read, SHORTHAUL_ABORTED */
export async function readConfigFile(path: string, options: { signal?: AbortSignal | undefined }): Promise<ConfigFile> {
  throwIfAborted(options.signal)
  let handle: FileHandle
  try {
    // Non-blocking, so that a FIFO without a writer is refused below and not waited for.
    handle = await open(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0))
  } catch (error: unknown) {
    const system = systemCode(error)
    if (system === 'ENOENT' || system === 'ENOTDIR') return { kind: 'missing' }
    throw unreadable(path, { found: system ?? String(error), cause: error })
  }
  try {
    const text = await readBounded(handle, path)
    throwIfAborted(options.signal)
    // Loaded only here: most machines have no file, and the parser takes as long to load as the rest of a command.
    const { parseYaml } = await import('./yaml-text.ts')
    return parseYaml(text)
  } finally {
    await handle.close()
  }
}

function unreadable(path: string, { found, cause }: { found: string; cause?: unknown }): ShorthaulError {
  return new ShorthaulError('SHORTHAUL_CONFIG_INVALID', `Cannot read the configuration "${path}": ${found}`, {
    cause,
    details: { path, found },
  })
}

async function readBounded(handle: FileHandle, path: string): Promise<string> {
  const stats = await handle.stat()
  if (!stats.isFile()) throw unreadable(path, { found: 'it is not a regular file' })
  // One byte more than allowed: the file may grow between stat and read, and /proc reports no size at all.
  const buffer = Buffer.alloc(Math.min(Math.max(stats.size, 64 * 1024), MAX_CONFIG_BYTES) + 1)
  let length = 0
  while (length < buffer.byteLength) {
    const { bytesRead } = await handle.read(buffer, length, buffer.byteLength - length, null)
    if (bytesRead === 0) break
    length += bytesRead
  }
  if (length === buffer.byteLength) {
    throw unreadable(path, {
      found: `it has more than ${buffer.byteLength - 1} bytes, expected at most ${MAX_CONFIG_BYTES}`,
    })
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(buffer.subarray(0, length))
  } catch (error: unknown) {
    throw unreadable(path, { found: 'it is not UTF-8', cause: error })
  }
}
