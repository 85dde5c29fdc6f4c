/** What a `fetch` was asked for: URLs of the command line and of a list, each with its target. All of it is checked first. */
import { open } from 'node:fs/promises'
import { basename, resolve } from 'node:path'
import { parseRate } from '../config/units.ts'
import { redactUrl, ShorthaulError, systemCode } from '../errors.ts'
import { PRIORITIES, type Priority } from '../throttle/priority.ts'
import type { TransferRequest } from '../transfer/request.ts'
import type { GlobalOptions } from './context.ts'
import { usage } from './output.ts'

export interface FetchOptions extends GlobalOptions {
  readonly output?: string
  readonly directory?: string
  readonly inputFile?: string
  readonly parallel: string
  readonly sha256?: string
  readonly peers: boolean
  readonly origin: boolean
  readonly limitRate?: string
  readonly header: readonly string[]
  readonly priority: string
  readonly daemon: boolean
  /** Hand it to the daemon as a job and end. */
  readonly detach?: boolean
}

export interface FetchOrder {
  readonly request: TransferRequest
  /** Absolute; null: stdout. */
  readonly target: string | null
}

/** A hundred thousand long URLs. */
const MAX_LIST_BYTES = 32 * 1024 * 1024
const MAX_PARALLEL = 64

/**
 * In the order given, those of the command line first. Nothing is opened yet but the list.
 * @throws SHORTHAUL_USAGE, SHORTHAUL_URL_INVALID
 */
export async function ordersOf(
  urls: readonly string[],
  options: Omit<FetchOptions, 'parallel' | 'daemon'>,
): Promise<readonly FetchOrder[]> {
  const { inputFile } = options
  const listed = inputFile === undefined ? [] : parseList(await readList(inputFile), inputFile)
  const wanted = [...urls.map((url) => ({ url, name: null })), ...listed]
  if (wanted.length === 0 && inputFile !== undefined) throw usage(`Cannot fetch: "${inputFile}" names no URL`)
  if (wanted.length === 0) throw usage('Say what to fetch: a URL, or a list with --input-file')
  if (wanted.length > 1) {
    if (options.output !== undefined) throw usage('-o names one target: use it with one URL, or -d with several')
    if (options.sha256 !== undefined) throw usage('--sha256 is of one content: use it with one URL')
  }
  const common = commonOf(options)
  const takenBy = new Map<string, string>()
  return wanted.map(({ url, name }) => {
    if (!URL.canParse(url)) {
      const shown = url.includes('@') || url.includes('?') ? '(invalid URL)' : url // what cannot be parsed cannot be redacted
      throw new ShorthaulError('SHORTHAUL_URL_INVALID', `Cannot fetch "${shown}": it is not an absolute URL`)
    }
    const request = { ...common, url }
    if (options.output === '-') return { request, target: null }
    const target = resolve(options.directory ?? '.', options.output ?? name ?? defaultTarget(url))
    const other = takenBy.get(target)
    if (other !== undefined) {
      const hint = 'give one of them a name in a list: URL, a tab, name'
      throw usage(`Cannot fetch ${redactUrl(other)} and ${redactUrl(url)} both to "${target}": ${hint}`)
    }
    takenBy.set(target, url)
    return { request, target }
  })
}

/** @throws SHORTHAUL_USAGE */
export function parallelOf({ parallel }: FetchOptions): number {
  const count = /^\d{1,3}$/.test(parallel) ? Number(parallel) : 0
  if (count < 1 || count > MAX_PARALLEL) throw usage(`--parallel takes a number from 1 to ${MAX_PARALLEL}`)
  return count
}

function commonOf(options: Omit<FetchOptions, 'parallel' | 'daemon'>): Omit<TransferRequest, 'url'> {
  const sha256 = options.sha256?.toLowerCase() ?? null
  if (sha256 !== null && !/^[0-9a-f]{64}$/.test(sha256)) throw usage('--sha256 takes 64 hex digits')
  if (!PRIORITIES.includes(options.priority as Priority)) throw usage(`--priority takes ${PRIORITIES.join(', ')}`)
  const rate = options.limitRate === undefined ? null : parseRate(options.limitRate)
  if (rate !== null && rate <= 0) throw usage('--limit-rate takes a rate above zero')
  if (!options.origin && !options.peers)
    throw usage('--no-origin and --no-peers together leave the cache of this machine only')
  return {
    headers: options.header.map(parseHeader),
    sha256,
    priority: options.priority as Priority,
    usePeers: options.peers,
    useOrigin: options.origin,
    originMaxBytesPerSec: rate,
  }
}

/** @throws SHORTHAUL_USAGE */
export function parseHeader(text: string): readonly [string, string] {
  const match = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\0]*?)[ \t]*$/.exec(text)
  if (!match?.[1]) throw usage("-H takes 'Name: value'")
  return [match[1], match[2] ?? '']
}

/**
 * The last path segment, made harmless: never a path, never hidden, never empty; nothing that a terminal obeys, that a
 * command takes for an option or a shell for a home.
 */
export function defaultTarget(url: string): string {
  let name = ''
  try {
    name = basename(decodeURIComponent(new URL(url).pathname))
  } catch {
    name = ''
  }
  if (name === '' || name === '.' || name === '..') {
    throw usage(
      `The URL ${redactUrl(url)} names no file: say where to with -o FILE, or in a list with a tab and a name`,
    )
  }
  return name.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}/\\:]/gu, '_').replace(/^[.~-]/, '_')
}

/**
 * A URL for each line, with a name behind a tab where the URL's own will not do; blank lines and comments are skipped.
 * @throws SHORTHAUL_USAGE for a name that is none: a list often comes from elsewhere, and must not reach other directories
 */
export function parseList(text: string, path: string): { readonly url: string; readonly name: string | null }[] {
  const orders: { url: string; name: string | null }[] = []
  for (const [at, raw] of text
    .replace(/^\ufeff/, '')
    .split('\n')
    .entries()) {
    const line = raw.trim()
    if (line === '' || line.startsWith('#')) continue
    const tab = line.indexOf('\t')
    const url = tab === -1 ? line : line.slice(0, tab).trim()
    const name = tab === -1 ? null : line.slice(tab).trim()
    if (name !== null && !isFileName(name)) {
      throw usage(
        `Cannot read line ${at + 1} of "${path}": after the tab stands ${JSON.stringify(name)}, expected a file name`,
      )
    }
    orders.push({ url, name })
  }
  return orders
}

function isFileName(name: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what must not get into a file name
  return !/[\u0000-\u001f\u007f/\\]/.test(name) && name !== '' && name !== '.' && name !== '..'
}

/** @param path `-` for stdin */
async function readList(path: string): Promise<string> {
  const chunks: Buffer[] = []
  let bytes = 0
  try {
    const stream = path === '-' ? process.stdin : (await open(resolve(path))).createReadStream()
    for await (const chunk of stream) {
      bytes += (chunk as Buffer).byteLength
      if (bytes > MAX_LIST_BYTES) break
      chunks.push(chunk as Buffer)
    }
  } catch (cause) {
    throw usage(`Cannot read the list "${path}": ${systemCode(cause) ?? String(cause)}`)
  }
  if (bytes > MAX_LIST_BYTES) throw usage(`Cannot read "${path}": it has more than ${MAX_LIST_BYTES} bytes`)
  return Buffer.concat(chunks).toString('utf8')
}
