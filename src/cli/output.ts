/** What commands print: results to stdout, all else to stderr, errors in one line, or everything as JSON lines. */
import { EXIT, type ExitCode, isShorthaulError, redactUrl, ShorthaulError } from '../errors.ts'

export interface Output {
  readonly isJson: boolean
  /** One JSON object on a line of its own; only with --json. */
  json(event: object): void
  /** Text for people on stdout; not with --json. */
  text(line: string): void
  /** Remarks for people on stderr; not with --json. */
  remark(line: string): void
}

export function createOutput(options: { readonly isJson: boolean }): Output {
  const { isJson } = options
  return {
    isJson,
    json: (event) => {
      if (isJson) process.stdout.write(`${JSON.stringify(event)}\n`)
    },
    text: (line) => {
      if (!isJson) process.stdout.write(`${printable(line)}\n`)
    },
    remark: (line) => {
      if (!isJson) process.stderr.write(`${printable(line)}\n`)
    },
  }
}

/** Terminals obey control characters and marks of direction, and names of files, hosts and users come from anywhere. */
export function printable(text: string): string {
  return text.replace(/(?![\n\t])[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '?')
}

/**
 * Prints the failure in the form that was asked for.
 * @param options.url which of several fetches failed
 * @param options.job which of several jobs, as the caller named it
 * @param options.file which of several local files
 * @returns the exit code that the CLI contract gives it
 */
export function reportError(
  error: unknown,
  options: { readonly isJson: boolean; readonly url?: string; readonly job?: string; readonly file?: string },
): ExitCode {
  const { url, job, file } = options
  const known = isShorthaulError(error) ? error : null
  const shownUrl = url === undefined ? undefined : redactUrl(url)
  const message = error instanceof Error ? error.message : String(error)
  const code = known?.code ?? 'SHORTHAUL_BUG'
  const exit = known?.exit ?? EXIT.local
  if (options.isJson) {
    const retryable = known?.retryable ?? false
    process.stdout.write(
      `${JSON.stringify({ event: 'error', url: shownUrl, job, file, code, message, retryable, exit })}\n`,
    )
  } else {
    process.stderr.write(`shorthaul: ${shownUrl === undefined ? '' : `${shownUrl}: `}${printable(message)} (${code})\n`)
  }
  // An error without a code is a bug of ours: the stack is what its report needs.
  if (!known && error instanceof Error) process.stderr.write(`${error.stack ?? ''}\n`)
  return exit
}

export function usage(message: string): ShorthaulError {
  return new ShorthaulError('SHORTHAUL_USAGE', message)
}

/** Columns padded to their widest cell; numbers are the caller's to right-align. */
export function formatTable(rows: readonly (readonly string[])[]): string {
  const widths: number[] = []
  for (const row of rows)
    for (const [column, cell] of row.entries()) widths[column] = Math.max(widths[column] ?? 0, cell.length)
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

/** As 2026-11-26 09:00 UTC. @param timeMs wall clock */
export function minuteOf(timeMs: number): string {
  return `${new Date(timeMs).toISOString().slice(0, 16).replace('T', ' ')} UTC`
}

/** The first column left, all others right, for `formatTable`-like tables of numbers. */
export function alignRight(rows: readonly (readonly string[])[]): string {
  const columns = Math.max(0, ...rows.map((row) => row.length))
  const widths = Array.from({ length: columns }, (_, column) =>
    Math.max(...rows.map((row) => row[column]?.length ?? 0)),
  )
  return formatTable(
    rows.map((row) => row.map((cell, column) => (column === 0 ? cell : cell.padStart(widths[column] ?? 0)))),
  )
}

/**
 * Aborted by the first Ctrl-C or SIGTERM, so that the command can leave in order; a second one ends the process at once.
 */
export function interruptSignal(): AbortSignal {
  const controller = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM'] as const) {
    process.on(name, () => {
      if (controller.signal.aborted) process.exit(EXIT.interrupted)
      controller.abort(new ShorthaulError('SHORTHAUL_ABORTED', `Interrupted by ${name}; the same command resumes`))
    })
  }
  return controller.signal
}
