/**
 * The byte counters of one network interface: everything that passed it, whoever sent it.
 *
 * Linux reads two files; macOS and Windows have one child that prints once a second and lives as long as somebody reads.
 * Does not choose the interface. What cannot be read is null, and said once in the log.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import type { Logger } from 'pino'
import { killChild } from '../child-signal.ts'
import type { Clock } from '../clock.ts'

export interface NicTotals {
  /** Monotonic, of the reading. */
  readonly atMs: number
  /** From an arbitrary start; they go back when the interface is made anew. */
  readonly receivedBytes: number
  readonly sentBytes: number
}

export interface NicCounters {
  /** A reading takes next to no time, and is of now. */
  readonly isPrompt: boolean
  /** The counters now, or when the child next prints them. One reading at a time. */
  read(): Promise<NicTotals | null>
  /** Nominal, of the link; null when the system does not say: Wi-Fi, most virtual ones, all but Linux. */
  linkBytesPerSec(): Promise<number | null>
  /** Ends the child and waits for that. Idempotent. */
  close(): Promise<void>
}

export interface NicOptions {
  /** As os.networkInterfaces() names it. */
  readonly interfaceName: string
  /** Default: this machine's. */
  readonly platform?: NodeJS.Platform
  /** Default: /sys/class/net */
  readonly directory?: string
}

interface Counted {
  readonly receivedBytes: number
  readonly sentBytes: number
}

/** Opens nothing before the first reading. */
export function openNic(components: { clock: Clock; log: Logger }, options: NicOptions): NicCounters {
  const { interfaceName, platform = process.platform, directory = '/sys/class/net' } = options
  // The name becomes a path and an argument.
  if (!/^[^/\\\0-]([^/\\\0]{0,254})$/.test(interfaceName) || interfaceName === '..') return new NoCounters()
  if (platform === 'linux') return new SysCounters(components, `${directory}/${interfaceName}`)
  if (platform === 'darwin') {
    const parse = netstatTotals()
    return new ChildCounters(components, { command: 'netstat', args: ['-n', '-w', '1', '-I', interfaceName], parse })
  }
  if (platform === 'win32') {
    const args = ['-NoProfile', '-NonInteractive', '-Command', POWERSHELL_LOOP]
    const env = { [POWERSHELL_NAME]: interfaceName } // and not in the text: a name can be any text
    return new ChildCounters(components, { command: 'powershell.exe', args, env, parse: parsePairLine })
  }
  return new NoCounters()
}

const POWERSHELL_NAME = 'SHORTHAUL_NIC'
/** .NET and not typeperf: its counters have other names in every language of Windows. */
const POWERSHELL_LOOP =
  `$name = $env:${POWERSHELL_NAME}; while ($true) { ` +
  '$nic = [Net.NetworkInformation.NetworkInterface]::GetAllNetworkInterfaces() | ' +
  'Where-Object { $_.Name -eq $name } | Select-Object -First 1; if (-not $nic) { exit 1 }; ' +
  '$seen = $nic.GetIPStatistics(); [Console]::Out.WriteLine("$($seen.BytesReceived) $($seen.BytesSent)"); ' +
  'Start-Sleep -Milliseconds 1000 }'

/** A line of what is ours to print: `received sent`. Null for every other line. */
export function parsePairLine(line: string): Counted | null {
  const [, received, sent] = /^\s*(\d{1,19})\s+(\d{1,19})\s*$/.exec(line) ?? []
  return received === undefined || sent === undefined
    ? null
    : { receivedBytes: Number(received), sentBytes: Number(sent) }
}

/**
 * Sums the lines of `netstat -w 1 -I <interface>`: packets errs bytes, the same outwards, colls, and on some versions
 * drops. Each line is of the second before it; the first is left out, because on some systems it is since boot.
 */
export function netstatTotals(): (line: string) => Counted | null {
  let isFirst = true
  let receivedBytes = 0
  let sentBytes = 0
  return (line) => {
    const [, received, sent] =
      /^\s*\d+\s+\d+\s+(\d{1,15})\s+\d+\s+\d+\s+(\d{1,15})\s+\d+(?:\s+\d+)?\s*$/.exec(line) ?? []
    if (received === undefined || sent === undefined) return null
    if (!isFirst) {
      receivedBytes += Number(received)
      sentBytes += Number(sent)
    }
    isFirst = false
    return { receivedBytes, sentBytes }
  }
}

class NoCounters implements NicCounters {
  readonly isPrompt = true
  async read(): Promise<null> {
    return null
  }
  async linkBytesPerSec(): Promise<null> {
    return null
  }
  async close(): Promise<void> {}
}

class SysCounters implements NicCounters {
  readonly isPrompt = true
  readonly #clock: Clock
  readonly #log: Logger
  readonly #directory: string
  #hasFailed = false

  constructor(components: { clock: Clock; log: Logger }, directory: string) {
    this.#clock = components.clock
    this.#log = components.log.child({ module: 'throttle.nic' })
    this.#directory = directory
  }

  async read(): Promise<NicTotals | null> {
    try {
      return { atMs: this.#clock.monotonicMs(), receivedBytes: this.#number('rx'), sentBytes: this.#number('tx') }
    } catch (error) {
      if (!this.#hasFailed) this.#log.info({ err: error }, 'the interface counters cannot be read')
      this.#hasFailed = true
      return null
    }
  }

  async linkBytesPerSec(): Promise<number | null> {
    const text = await readFile(`${this.#directory}/speed`, 'latin1').catch(() => '') // EINVAL on Wi-Fi
    const mbitPerSec = Number(text.trim() || '0')
    return mbitPerSec > 0 ? mbitPerSec * 125_000 : null // -1 when nobody knows
  }

  async close(): Promise<void> {}

  /**
   * Not asynchronous: it takes 20 µs, no disk is asked, and on a busy event loop our own totals, taken when the promise
   * has settled, would be of another moment; 50 ms at 100 Mbit/s look like a stranger.
   */
  #number(direction: 'rx' | 'tx'): number {
    const text = readFileSync(`${this.#directory}/statistics/${direction}_bytes`, 'latin1')
    const bytes = Number(text.trim())
    if (!Number.isFinite(bytes) || text.trim() === '')
      throw new RangeError(`Cannot read a counter: "${text.slice(0, 40)}"`)
    return bytes
  }
}

const MAX_LINE_CHARS = 4096
/** Without a line for so long the child is of no use; PowerShell needs some seconds to start on a busy machine. */
const LINE_TIMEOUT_MS = 10_000

interface Printer {
  readonly command: string
  readonly args: readonly string[]
  readonly env?: Readonly<Record<string, string>>
  readonly parse: (line: string) => Counted | null
}

/** Exported for tests, which have other commands print. */
export class ChildCounters implements NicCounters {
  readonly isPrompt = false
  readonly #clock: Clock
  readonly #log: Logger
  readonly #printer: Printer
  #child: ChildProcess | null = null
  #closed: Promise<void> = Promise.resolve()
  #text = ''
  #onTotals: (totals: NicTotals | null) => void = () => {}
  /** Once it ended by itself it is not started again: it would end again. */
  #hasEnded = false

  constructor(components: { clock: Clock; log: Logger }, printer: Printer) {
    this.#clock = components.clock
    this.#log = components.log.child({ module: 'throttle.nic' })
    this.#printer = printer
  }

  async read(): Promise<NicTotals | null> {
    if (this.#hasEnded) return null
    const next = new Promise<NicTotals | null>((resolve) => {
      this.#onTotals = resolve
    })
    if (this.#child === null) this.#start()
    const late = new AbortController()
    const timeout = this.#clock.sleep(LINE_TIMEOUT_MS, { signal: late.signal }).then(
      () => null,
      () => null, // a line came
    )
    try {
      return await Promise.race([next, timeout])
    } finally {
      late.abort(NO_LONGER)
    }
  }

  async linkBytesPerSec(): Promise<null> {
    return null
  }

  async close(): Promise<void> {
    this.#hasEnded = true
    if (this.#child) killChild(this.#child)
    await this.#closed
  }

  #start(): void {
    const { command, args, env } = this.#printer
    const child = spawn(command, args, {
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'ignore'],
      windowsHide: true,
    })
    this.#child = child
    child.stdout?.setEncoding('latin1').on('data', (text: string) => this.#onText(text))
    this.#closed = new Promise((resolve) => {
      child.once('error', (error) => this.#onEnd({ err: error }))
      child.once('close', (code) => {
        this.#onEnd({ code })
        resolve()
      })
    })
  }

  #onText(text: string): void {
    this.#text += text
    for (let end = this.#text.indexOf('\n'); end !== -1; end = this.#text.indexOf('\n')) {
      const counted = this.#printer.parse(this.#text.slice(0, end).trimEnd())
      this.#text = this.#text.slice(end + 1)
      if (counted) this.#onTotals({ atMs: this.#clock.monotonicMs(), ...counted })
    }
    if (this.#text.length > MAX_LINE_CHARS) this.#text = ''
  }

  #onEnd(why: Record<string, unknown>): void {
    if (!this.#hasEnded) this.#log.info(why, 'the interface counters cannot be read')
    this.#hasEnded = true
    this.#onTotals(null)
  }
}

/** Given, because the DOMException that stands in for none costs a stack. */
const NO_LONGER = new Error('A line came')
