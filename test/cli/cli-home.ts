/**
 * The command line as a user has it: a home of its own with one configuration file, and processes of the built command.
 * Everything that an agent would share with others of this machine is moved into the home: as root the control socket
 * would else be /run/shorthaul, and the data directory /var/lib/shorthaul.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { stringify } from 'yaml'
import { cleanEnvironment } from '../support/clean-environment.ts'

/** The build, as in test/lab, because that is what users run and starts in a tenth of the time; `npm test` makes it. */
export const CLI_PATH = process.env.SHORTHAUL_CLI ?? fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))
/** Only against a test that would hang for ever. */
const DEADLINE_MS = 180_000
/** For `t.setTimeout` of the files here: dozens of processes each. */
export const CLI_TEST_TIMEOUT_MS = 300_000

export type Json = Readonly<Record<string, unknown>>

export interface Run {
  readonly code: number | null
  readonly stdout: Buffer
  readonly text: string
  readonly stderr: string
  /** Of stdout, each line parsed; throws when one is no JSON. */
  lines(): Json[]
  /** The result line of --json. */
  last(): Json
}

export interface Started {
  readonly child: ChildProcess
  readonly done: Promise<Run>
  /** The first line of stdout; rejects when the process ends before it. */
  firstLine(): Promise<string>
}

export class CliHome {
  readonly dir: string
  readonly configFile: string
  readonly dataDir: string
  readonly #env: NodeJS.ProcessEnv
  readonly #running = new Set<Started>()

  /**
   * @param config merged over what keeps the agent to itself
   */
  constructor(config: Readonly<Record<string, Json>> = {}) {
    // Not t.testdir: below it the control sockets' paths are longer than a system allows.
    this.dir = mkdtempSync(join(tmpdir(), 'shorthaul-cli-'))
    this.dataDir = join(this.dir, 'data')
    this.configFile = join(this.dir, 'config.yaml')
    for (const name of ['run', 'work']) mkdirSync(join(this.dir, name), { mode: 0o700 })
    this.#env = {
      ...cleanEnvironment(),
      HOME: this.dir,
      XDG_RUNTIME_DIR: join(this.dir, 'run'),
      XDG_CONFIG_HOME: join(this.dir, 'config'),
      XDG_DATA_HOME: join(this.dir, 'share'),
    }
    const defaults: Record<string, Json> = {
      network: { interface: 'lo', dhtPort: 0, lanePort: 0 },
      control: { socket: 'run/control.sock' },
      cache: { minFreeBytes: 0 },
    }
    const merged: Record<string, unknown> = { dataDir: 'data' }
    for (const section of new Set([...Object.keys(defaults), ...Object.keys(config)])) {
      merged[section] = { ...defaults[section], ...config[section] }
    }
    writeFileSync(this.configFile, stringify(merged))
  }

  /** The working directory of commands. */
  path(...names: string[]): string {
    return join(this.dir, 'work', ...names)
  }

  start(
    args: readonly string[],
    options: { readonly env?: NodeJS.ProcessEnv; readonly config?: false; readonly stdin?: string } = {},
  ): Started {
    const config = options.config === false ? [] : ['--config', this.configFile]
    const child = spawn(process.execPath, [CLI_PATH, ...args, ...config], {
      cwd: this.path(),
      env: { ...this.#env, ...options.env },
      stdio: ['pipe', 'pipe', 'pipe'],
    })
    child.stdin.end(options.stdin)
    const stdout: Buffer[] = []
    const stderr: Buffer[] = []
    let onLine: (line: string) => void = () => {}
    child.stdout.on('data', (chunk: Buffer) => {
      stdout.push(chunk)
      const text = Buffer.concat(stdout).toString()
      if (text.includes('\n')) onLine(text.slice(0, text.indexOf('\n')))
    })
    child.stderr.on('data', (chunk: Buffer) => stderr.push(chunk))
    // A daemon lives as long as its test.
    const deadlineMs = args[0] === 'daemon' ? CLI_TEST_TIMEOUT_MS : DEADLINE_MS
    const deadline = setTimeout(() => child.kill('SIGKILL'), deadlineMs)
    const done = new Promise<Run>((resolve, reject) => {
      child.once('error', reject)
      child.once('close', (code) => {
        clearTimeout(deadline)
        this.#running.delete(started)
        resolve(runOf(code, Buffer.concat(stdout), Buffer.concat(stderr).toString()))
      })
    })
    const first = new Promise<string>((resolve, reject) => {
      onLine = resolve
      done.then(
        (run) => reject(new Error(`ended with ${run.code} before its first line: ${run.stderr}`)),
        (error: unknown) => reject(error),
      )
    })
    first.catch(() => {}) // most tests look at the end only
    const started: Started = { child, done, firstLine: () => first }
    this.#running.add(started)
    return started
  }

  run(args: readonly string[], options: Parameters<CliHome['start']>[1] = {}): Promise<Run> {
    return this.start(args, options).done
  }

  /** Starts the daemon and waits until it serves. */
  async daemon(): Promise<Started & { readonly ready: Json }> {
    const started = this.start(['daemon'])
    return { ...started, ready: JSON.parse(await started.firstLine()) as Json }
  }

  /** Ends what still runs and removes the home. */
  async close(): Promise<void> {
    for (const started of [...this.#running]) {
      started.child.kill('SIGTERM')
      await started.done
    }
    rmSync(this.dir, { recursive: true, force: true })
  }
}

function runOf(code: number | null, stdout: Buffer, stderr: string): Run {
  const lines = () =>
    stdout
      .toString()
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as Json)
  return { code, stdout, text: stdout.toString(), stderr, lines, last: () => lines().at(-1) ?? {} }
}
