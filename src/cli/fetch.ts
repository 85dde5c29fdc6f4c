/** `shorthaul fetch`: URLs into targets, a few at a time, through the daemon when there is one. */
import { formatBytes, formatDuration, formatRate } from '../config/units.ts'
import { hasSuccessor } from '../control/handover.ts'
import { abortError, EXIT, type ExitCode, isShorthaulError, redactUrl } from '../errors.ts'
import { PartFile } from '../transfer/part-file.ts'
import { PipeDelivery } from '../transfer/pipe-delivery.ts'
import type { TransferEvent, TransferResult } from '../transfer/request.ts'
import { loadCliConfig } from './context.ts'
import { FetchAgent } from './fetch-agent.ts'
import { type FetchOptions, type FetchOrder, ordersOf, parallelOf } from './fetch-orders.ts'
import { FetchTotals } from './fetch-totals.ts'
import { createOutput, interruptSignal, type Output, reportError, usage } from './output.ts'
import { formatShare, ProgressLine } from './progress.ts'

/** How often another agent is used when the one before goes away. */
const MAX_LOSSES = 2
/** How often a daemon takes the place of one: on a busy host another command may be before it. */
const MAX_HANDOVERS = 20

interface Run {
  readonly agent: FetchAgent
  readonly output: Output
  readonly signal: AbortSignal
  readonly progress: ProgressLine
  readonly totals: FetchTotals
}

export async function fetchVerb(urls: readonly string[], options: FetchOptions): Promise<void> {
  const output = createOutput({ isJson: options.json === true })
  const parallel = parallelOf(options)
  const orders = await ordersOf(urls, options)
  if (output.isJson && orders.some(({ target }) => target === null)) {
    throw usage('--json and -o - both want stdout: choose one')
  }
  const loaded = await loadCliConfig(options)
  const signal = interruptSignal()
  const files = orders.filter(({ request }) => new URL(request.url).protocol === 'file:')
  const agent = new FetchAgent(loaded, {
    ...options,
    hasDaemon: options.daemon,
    // A daemon that serves everybody reads no files for them: they are read with the rights of whoever asks.
    needsOwner: files.length > 0,
    usePeers: options.peers && files.length < orders.length,
    // What stands in a pipe already cannot be begun again.
    mayHandOver: options.daemon && orders.every(({ target }) => target !== null),
    signal,
  })
  const run: Run = { agent, output, signal, progress: new ProgressLine(), totals: new FetchTotals(orders.length) }
  try {
    // A list of one is still a list: who reads the lines of many must not have to know how many there were.
    if (orders.length === 1 && options.inputFile === undefined) for (const order of orders) await fetchOne(order, run)
    else await fetchAll(orders, { ...run, parallel })
  } finally {
    run.progress.clear()
    // What was fetched has been said: whoever waits for it need not wait for this.
    await agent.close()
  }
}

/** Each goes on when others fail. Sets the exit code: that of the first failure. */
async function fetchAll(orders: readonly FetchOrder[], run: Run & { readonly parallel: number }): Promise<void> {
  const { agent, output, signal, progress, totals } = run
  let exit: ExitCode = EXIT.ok
  let next = 0
  const work = async () => {
    for (let order = orders[next++]; order; order = orders[next++]) {
      if (signal.aborted || agent.failure !== null) return
      try {
        await fetchOne(order, run)
      } catch (error) {
        // Said once for all of them, below.
        if (signal.aborted || agent.failure !== null) return
        totals.failed(order.request.url)
        progress.clear()
        const code = reportError(error, { isJson: output.isJson, url: order.request.url })
        if (exit === EXIT.ok) exit = code
      }
    }
  }
  await Promise.all(Array.from({ length: Math.min(run.parallel, orders.length) }, work))
  progress.clear()
  if (signal.aborted) throw abortError(signal)
  if (agent.failure !== null) throw agent.failure
  const summary = totals.summary()
  output.json({ event: 'summary', ...summary, exit })
  const { bytes, durationMs, sources } = summary
  const failed = summary.failed === 0 ? '' : `, ${summary.failed} failed`
  output.remark(`${summary.done} done${failed}: ${formatMoved({ bytes, durationMs, sources })}`)
  process.exitCode = exit
}

async function fetchOne({ request, target }: FetchOrder, run: Run): Promise<void> {
  const { agent, output, signal, progress, totals } = run
  const { url } = request
  const onEvent = (event: TransferEvent) => show(event, { ...run, url })
  const losses = { unexpected: 0, handovers: 0 }
  for (;;) {
    // The target is opened first: a directory that cannot be written is said before any byte crosses the WAN.
    const delivery = target === null ? new PipeDelivery(writeStdout) : await PartFile.open(target)
    try {
      const { fetching, lost } = await agent.use()
      try {
        const result = await fetching.fetch(request, delivery, { signal, onEvent })
        totals.done(url, result)
        progress.clear()
        report(result, { output, url, path: target ?? '-' })
        return
      } catch (error) {
        const isLost = isShorthaulError(error, 'SHORTHAUL_CONTROL_IO')
        if (!isLost || target === null) throw error
        const isHandover = hasSuccessor(error)
        if (isHandover ? ++losses.handovers > MAX_HANDOVERS : ++losses.unexpected > MAX_LOSSES) throw error
        progress.clear()
        output.remark(`shorthaul: ${error.message}; going on ${isHandover ? 'with' : 'without'} it`)
        await lost(error)
      }
    } finally {
      await delivery.abandon()
    }
  }
}

function writeStdout(bytes: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    process.stdout.write(bytes, (error) => (error ? reject(error) : resolve()))
  })
}

function show(event: TransferEvent, run: Run & { readonly url: string }): void {
  const { output, progress, totals, url } = run
  output.json({ ...event, url: redactUrl(url) })
  if (output.isJson) return
  if (event.event === 'progress') {
    progress.draw(totals.progress(url, event), totals.prefix())
    return
  }
  progress.clear()
  const about = totals.count === 1 ? '' : `${redactUrl(url)}: `
  const peer = event.peer ? ` (${event.peer.slice(0, 12)})` : ''
  output.remark(`shorthaul: ${about}${event.message}${peer}`)
}

function report(result: TransferResult, where: { output: Output; url: string; path: string }): void {
  const { output, url, path } = where
  output.json({ event: 'done', url: redactUrl(url), path, ...result })
  output.remark(`${path}: ${formatMoved(result)}, ${result.trust}`)
}

function formatMoved({ bytes, durationMs, sources }: Pick<TransferResult, 'bytes' | 'durationMs' | 'sources'>): string {
  const rate = formatRate((bytes / Math.max(1, durationMs)) * 1000)
  const share = formatShare(sources)
  return `${formatBytes(bytes)} in ${formatDuration(durationMs)}, ${rate}${share ? ` (${share})` : ''}`
}
