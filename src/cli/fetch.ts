/** `shorthaul fetch URL`: one resource into one target, through the daemon when there is one. */
import { basename, resolve } from 'node:path'
import { formatBytes, formatDuration, formatRate, parseRate } from '../config/units.ts'
import { isShorthaulError, redactUrl, ShorthaulError } from '../errors.ts'
import { PartFile } from '../transfer/part-file.ts'
import { PipeDelivery } from '../transfer/pipe-delivery.ts'
import {
  type Delivery,
  PRIORITIES,
  type Priority,
  type TransferEvent,
  type TransferRequest,
  type TransferResult,
} from '../transfer/request.ts'
import { acquireAgent, type GlobalOptions, loadCliConfig } from './context.ts'
import { createOutput, interruptSignal, type Output, usage } from './output.ts'
import { formatShare, ProgressLine } from './progress.ts'

export interface FetchOptions extends GlobalOptions {
  readonly output?: string
  readonly sha256?: string
  readonly peers: boolean
  readonly origin: boolean
  readonly limitRate?: string
  readonly header: readonly string[]
  readonly priority: string
  readonly daemon: boolean
}

/** Attempts with another agent when the daemon that we used goes away. */
const MAX_AGENTS = 3

export async function fetchVerb(url: string, options: FetchOptions): Promise<void> {
  const output = createOutput({ isJson: options.json === true })
  const request = requestOf(url, options)
  const loaded = await loadCliConfig(options)
  const signal = interruptSignal()
  const isPipe = options.output === '-'
  if (isPipe && output.isJson) throw usage('--json and -o - both want stdout: choose one')
  const target = isPipe ? null : resolve(options.output ?? defaultTarget(url))
  const progress = new ProgressLine()
  const onEvent = (event: TransferEvent) => show(event, output, progress)

  for (let attempt = 1; ; attempt++) {
    // The target is opened first: a directory that cannot be written is said before any byte crosses the WAN.
    const delivery = target === null ? new PipeDelivery(writeStdout) : await PartFile.open(target)
    try {
      const onDone = (result: TransferResult) => {
        progress.clear()
        report(result, { output, url, path: target ?? '-' })
      }
      await fetchOnce(request, delivery, { options, loaded, signal, onEvent, onDone })
      return
    } catch (error) {
      progress.clear()
      if (!isShorthaulError(error, 'SHORTHAUL_CONTROL_IO') || attempt >= MAX_AGENTS || isPipe) throw error
      output.remark(`shorthaul: ${error.message}; going on without it`)
    } finally {
      await delivery.abandon()
    }
  }
}

async function fetchOnce(
  request: TransferRequest,
  delivery: Delivery,
  run: {
    readonly options: FetchOptions
    readonly loaded: Awaited<ReturnType<typeof loadCliConfig>>
    readonly signal: AbortSignal
    readonly onEvent: (event: TransferEvent) => void
    /** Called before the agent is left: who waits for the target need not wait for that. */
    readonly onDone: (result: TransferResult) => void
  },
): Promise<void> {
  const { options, loaded, signal, onEvent, onDone } = run
  const isFile = new URL(request.url).protocol === 'file:'
  const acquired = await acquireAgent(loaded, {
    ...options,
    hasDaemon: options.daemon,
    // A daemon that serves everybody reads no files for them: they are read with the rights of whoever asks.
    needsOwner: isFile,
    usePeers: options.peers && !isFile,
    signal,
  })
  if ('client' in acquired) {
    try {
      onDone(await acquired.client.fetch(request, delivery, { signal, onEvent }))
    } finally {
      await acquired.client.close()
    }
    return
  }
  try {
    onDone(await acquired.embedded.agent.fetch(request, delivery, { signal, onEvent }))
  } finally {
    await acquired.embedded.close()
  }
}

function requestOf(url: string, options: FetchOptions): TransferRequest {
  if (!URL.canParse(url))
    throw new ShorthaulError('SHORTHAUL_URL_INVALID', `Cannot fetch "${url}": it is not an absolute URL`)
  const sha256 = options.sha256?.toLowerCase() ?? null
  if (sha256 !== null && !/^[0-9a-f]{64}$/.test(sha256)) throw usage('--sha256 takes 64 hex digits')
  if (!PRIORITIES.includes(options.priority as Priority)) throw usage(`--priority takes ${PRIORITIES.join(', ')}`)
  const rate = options.limitRate === undefined ? null : parseRate(options.limitRate)
  if (rate !== null && rate <= 0) throw usage('--limit-rate takes a rate above zero')
  if (!options.origin && !options.peers)
    throw usage('--no-origin and --no-peers together leave the cache of this machine only')
  return {
    url,
    headers: options.header.map(parseHeader),
    sha256,
    priority: options.priority as Priority,
    usePeers: options.peers,
    useOrigin: options.origin,
    originMaxBytesPerSec: rate,
  }
}

function parseHeader(text: string): readonly [string, string] {
  const match = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\0]*?)[ \t]*$/.exec(text)
  if (!match?.[1]) throw usage("-H takes 'Name: value'")
  return [match[1], match[2] ?? '']
}

/** The last path segment, made harmless: never a path, never hidden, never empty. */
export function defaultTarget(url: string): string {
  let name = ''
  try {
    name = basename(decodeURIComponent(new URL(url).pathname))
  } catch {
    name = ''
  }
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what must not get into a file name
  name = name.replace(/[\u0000-\u001f\u007f/\\:]/g, '_')
  if (name === '' || name === '.' || name === '..') {
    throw usage(`The URL ${redactUrl(url)} names no file: say where to with -o FILE`)
  }
  return name
}

function writeStdout(bytes: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    process.stdout.write(bytes, (error) => (error ? reject(error) : resolve()))
  })
}

function show(event: TransferEvent, output: Output, progress: ProgressLine): void {
  output.json(event)
  if (output.isJson) return
  if (event.event === 'progress') {
    progress.draw(event)
    return
  }
  progress.clear()
  const peer = event.peer ? ` (${event.peer.slice(0, 12)})` : ''
  output.remark(`shorthaul: ${event.message}${peer}`)
}

function report(result: TransferResult, where: { output: Output; url: string; path: string }): void {
  const { output, url, path } = where
  output.json({ event: 'done', url, path, ...result })
  const rate = formatRate((result.bytes / Math.max(1, result.durationMs)) * 1000)
  const share = formatShare(result.sources)
  output.remark(
    `${path}: ${formatBytes(result.bytes)} in ${formatDuration(result.durationMs)}, ${rate}${share ? ` (${share})` : ''}`,
  )
}
