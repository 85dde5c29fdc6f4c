/**
 * Reads one configuration file: YAML 1.2 into plain values, bounded in size and without aliases.
 * Does not know which keys exist; load.ts does.
 */
import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { CST, isMap, isScalar, Lexer, parseDocument, visit } from 'yaml'
import { ShorthaulError, systemCode, throwIfAborted } from '../errors.ts'

/** A thousand times a real one. */
export const MAX_CONFIG_BYTES = 1024 * 1024

/**
 * What the lexer may find before the parser runs. The parser recurses with depth and needs about 1 KiB and 10 µs for a
 * token: 1 MiB of `[` took it 14 s and then the process (yaml 2.9.1, Node 20, 2026-11). A roster of 10,000 keys has
 * 50,000 tokens.
 */
const MAX_TOKENS = 100_000
const MAX_BRACKETS = 32
const MAX_INDENT = 64
const MAX_INDICATORS_PER_LINE = 8

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

function parseYaml(text: string): ConfigFile {
  const excess = findExcess(text)
  if (excess !== null) return { kind: 'invalid', problems: [excess] }
  try {
    // Unique keys are checked below: the parser's own check is quadratic, minutes for 1 MiB of keys.
    const document = parseDocument(text, { schema: 'core', uniqueKeys: false, stringKeys: true, prettyErrors: true })
    const problems = [...document.errors, ...document.warnings].map((problem) => firstLine(problem.message))
    visit(document, {
      Map(_, map) {
        const seen = new Set<string>()
        for (const { key } of map.items) {
          const name = isScalar(key) ? String(key.value) : ''
          if (seen.has(name)) problems.push(`the key ${JSON.stringify(name.slice(0, 80))} stands there twice`)
          seen.add(name)
        }
      },
    })
    if (problems.length > 0) return { kind: 'invalid', problems }
    // An empty file is a file without keys.
    if (document.contents !== null && !isMap(document.contents) && !isEmpty(document.contents)) {
      return { kind: 'invalid', problems: ['the file holds no map of keys'] }
    }
    // No alias at all: nobody needs one here, and a dozen of them can stand for gigabytes.
    return { kind: 'read', root: document.toJS({ maxAliasCount: 0 }) }
  } catch (error: unknown) {
    return { kind: 'invalid', problems: [firstLine(error instanceof Error ? error.message : String(error))] }
  }
}

function isEmpty(node: unknown): boolean {
  return isScalar(node) && node.value === null
}

/** What would overwhelm the parser; null when nothing does. Linear and without recursion. */
function findExcess(text: string): string | null {
  let tokenCount = 0
  let brackets = 0
  let indicators = 0
  let isLineStart = true
  for (const token of new Lexer().lex(text)) {
    if (++tokenCount > MAX_TOKENS) return `more than ${MAX_TOKENS} words and signs`
    switch (CST.tokenType(token)) {
      case 'flow-map-start':
      case 'flow-seq-start':
        if (++brackets > MAX_BRACKETS) return `brackets nested more than ${MAX_BRACKETS} deep`
        break
      case 'flow-map-end':
      case 'flow-seq-end':
        brackets--
        break
      case 'seq-item-ind':
      case 'explicit-key-ind':
      case 'map-value-ind':
      case 'anchor':
      case 'tag':
        if (++indicators > MAX_INDICATORS_PER_LINE && brackets === 0) {
          return `more than ${MAX_INDICATORS_PER_LINE} signs of structure in one line`
        }
        break
      case 'space':
        if (isLineStart && token.length > MAX_INDENT) return `a line indented by more than ${MAX_INDENT}`
        break
      case 'newline':
        indicators = 0
        isLineStart = true
        continue
      default:
        break
    }
    isLineStart = false
  }
  return null
}

function firstLine(message: string): string {
  return (message.split('\n', 1)[0] ?? '').replace(/:$/, '').slice(0, 200)
}
