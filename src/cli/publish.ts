/** `shorthaul publish`: manifests for the files of a directory, for a web server to name beside them. */
import { resolve } from 'node:path'
import { formatBytes, formatDuration, formatRate } from '../config/units.ts'
import { EXIT, type ExitCode, throwIfAborted } from '../errors.ts'
import { checkFile, type Plan, type PublishedFile, planPublishing, publishFile } from '../publish/publisher.ts'
import { WEB_SERVER_SNIPPETS } from '../publish/web-servers.ts'
import type { GlobalOptions } from './context.ts'
import { createOutput, interruptSignal, type Output, reportError } from './output.ts'
import { ProgressLine } from './progress.ts'

export interface PublishVerbOptions extends GlobalOptions {
  readonly out?: string
  readonly force?: boolean
  readonly check?: boolean
}

const PROGRESS_INTERVAL_MS = 200

export async function publishVerb(directory: string, options: PublishVerbOptions): Promise<void> {
  const output = createOutput({ isJson: options.json === true })
  const signal = interruptSignal()
  const isCheck = options.check === true
  const plan = await planPublishing(resolve(directory), {
    out: options.out === undefined ? null : resolve(options.out),
    isForced: isCheck || options.force === true,
    signal,
  })
  for (const name of plan.skippedLinks) {
    output.json({ event: 'skipped', name, reason: 'link' })
    output.remark(`shorthaul: ${name}: a link that leads out of the directory, or to no file; left out`)
  }
  const progress = new Progress(plan, output)
  let exit: ExitCode = EXIT.ok
  for (const file of plan.files) {
    try {
      const onBytes = (bytes: number) => progress.moved(bytes)
      const sha256 = await (isCheck ? checkFile : publishFile)(file, { signal, onBytes })
      progress.done()
      tell(file, { output, sha256, isCheck })
    } catch (error) {
      throwIfAborted(signal)
      progress.failed()
      const code = reportError(error, { isJson: output.isJson, file: file.name })
      if (exit === EXIT.ok) exit = code
    }
  }
  if (isCheck) exit = tellOrphans(plan, { output, exit })
  progress.summarise({ isCheck, exit })
  if (!isCheck && !output.isJson) {
    const snippets = Object.values(WEB_SERVER_SNIPPETS)
    output.text(['', 'Have the web server name them (docs/manifest.md says more):', ...snippets].join('\n\n'))
  }
  process.exitCode = exit
}

function tell(
  { name, bytes, manifestPath }: PublishedFile,
  about: { readonly output: Output; readonly sha256: string; readonly isCheck: boolean },
): void {
  const { output, sha256, isCheck } = about
  output.json({ event: isCheck ? 'checked' : 'published', name, bytes, sha256, manifest: manifestPath })
  output.text(`${sha256}  ${name}`)
}

function tellOrphans({ orphans }: Plan, { output, exit }: { output: Output; exit: ExitCode }): ExitCode {
  for (const name of orphans) {
    output.json({ event: 'orphan', name })
    output.remark(`shorthaul: ${name}: the file that it is of is gone; remove it`)
  }
  return orphans.length > 0 && exit === EXIT.ok ? EXIT.verification : exit
}

/** How far it is: a line on a terminal, events for programs, and the sum in the end. */
class Progress {
  readonly #plan: Plan
  readonly #output: Output
  readonly #line = new ProgressLine()
  readonly #bytesTotal: number
  readonly #startedAtMs = performance.now()
  #bytesDone = 0
  #doneCount = 0
  #failedCount = 0
  #shownAtMs = performance.now()

  constructor(plan: Plan, output: Output) {
    this.#plan = plan
    this.#output = output
    this.#bytesTotal = plan.files.reduce((sum, { bytes }) => sum + bytes, 0)
  }

  moved(bytes: number): void {
    this.#bytesDone += bytes
    const nowMs = performance.now()
    if (nowMs - this.#shownAtMs < PROGRESS_INTERVAL_MS) return
    this.#shownAtMs = nowMs
    const state = { bytesDone: this.#bytesDone, bytesTotal: this.#bytesTotal, bytesPerSec: this.#bytesPerSec() }
    this.#output.json({ event: 'progress', ...state })
    const { length } = this.#plan.files
    const prefix = length > 1 ? `${this.#doneCount + this.#failedCount}/${length}  ` : ''
    const sources = { cache: 0, peer: 0, origin: 0 }
    if (!this.#output.isJson) this.#line.draw({ event: 'progress', ...state, sources }, prefix)
  }

  done(): void {
    this.#doneCount++
    this.#line.clear()
  }

  failed(): void {
    this.#failedCount++
    this.#line.clear()
  }

  summarise({ isCheck, exit }: { readonly isCheck: boolean; readonly exit: ExitCode }): void {
    const { upToDateCount, skippedLinks } = this.#plan
    const durationMs = Math.round(performance.now() - this.#startedAtMs)
    const [done, failed] = [this.#doneCount, this.#failedCount]
    const counts = { done, failed, upToDate: upToDateCount, skipped: skippedLinks.length }
    const bytes = this.#bytesDone
    const bytesPerSec = Math.round(this.#bytesPerSec())
    this.#output.json({ event: 'summary', ...counts, bytes, durationMs, bytesPerSec, exit })
    const parts = [
      `${done} ${isCheck ? 'right' : 'published'}`,
      ...(failed === 0 ? [] : [`${failed} failed`]),
      ...(upToDateCount === 0 ? [] : [`${upToDateCount} up to date`]),
    ]
    const rate =
      bytes === 0 ? '' : `: ${formatBytes(bytes)} in ${formatDuration(durationMs)}, ${formatRate(bytesPerSec)}`
    this.#output.remark(parts.join(', ') + rate)
  }

  #bytesPerSec(): number {
    return (this.#bytesDone / Math.max(1, performance.now() - this.#startedAtMs)) * 1000
  }
}
