/** The progress line of a fetch on a terminal: bar, bytes, rate, time left, share by source. Pure but for `draw`. */
import { formatBytes, formatDuration, formatRate } from '../config/units.ts'
import type { TransferProgress } from '../transfer/request.ts'

const BAR_CELLS = 24
/** Assumed where a terminal does not say, or says 0 as some pseudo-terminals do. */
const DEFAULT_COLUMNS = 80

/** @param columns width of the terminal; the line is shorter by one, because some wrap at the last column */
export function formatProgress(progress: TransferProgress, columns: number): string {
  const { bytesDone, bytesTotal, bytesPerSec, sources } = progress
  const left =
    bytesTotal !== null && bytesPerSec > 0
      ? ` ${formatDuration(((bytesTotal - bytesDone) / bytesPerSec) * 1000)} left`
      : ''
  const total = bytesTotal === null ? '' : ` / ${formatBytes(bytesTotal)}`
  const share = formatShare(sources)
  const text = `${formatBytes(bytesDone)}${total}  ${formatRate(bytesPerSec)}${left}${share ? `  ${share}` : ''}`
  const bar = bytesTotal === null ? '' : `${formatBar(bytesTotal === 0 ? 1 : bytesDone / bytesTotal)}  `
  const line = columns > bar.length + text.length ? bar + text : text
  return line.slice(0, columns - 1)
}

/** "peers 75 %, origin 25 %": only what took part. */
export function formatShare(sources: TransferProgress['sources']): string {
  const total = sources.cache + sources.peer + sources.origin
  if (total === 0) return ''
  const named = [
    ['cache', sources.cache],
    ['peers', sources.peer],
    ['origin', sources.origin],
  ] as const
  return named
    .filter(([, bytes]) => bytes > 0)
    .map(([name, bytes]) => `${name} ${Math.round((bytes / total) * 100)} %`)
    .join(', ')
}

function formatBar(ratio: number): string {
  const full = Math.max(0, Math.min(BAR_CELLS, Math.floor(ratio * BAR_CELLS)))
  const percent = `${Math.floor(Math.min(1, Math.max(0, ratio)) * 100)}`.padStart(3)
  return `${percent} % [${'#'.repeat(full)}${'.'.repeat(BAR_CELLS - full)}]`
}

/** Redraws one line of stderr; does nothing when that is no terminal. */
export class ProgressLine {
  readonly #stream: NodeJS.WriteStream
  #isDrawn = false

  constructor(stream: NodeJS.WriteStream = process.stderr) {
    this.#stream = stream
  }

  /** @param prefix stands before it: how far we are, of several fetches */
  draw(progress: TransferProgress, prefix = ''): void {
    if (!this.#stream.isTTY) return
    const columns = Math.max(1, (this.#stream.columns || DEFAULT_COLUMNS) - prefix.length)
    this.#stream.write(`\r\u001b[2K${prefix}${formatProgress(progress, columns)}`)
    this.#isDrawn = true
  }

  /** Makes room for other lines. */
  clear(): void {
    if (this.#isDrawn) this.#stream.write('\r\u001b[2K')
    this.#isDrawn = false
  }
}
