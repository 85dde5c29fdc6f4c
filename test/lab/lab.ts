/**
 * The lab: a branch of network namespaces on this machine, so that real agents on real addresses run the real protocols.
 *
 * Does not know shorthaul: see agent-host.ts and origin-host.ts. Several labs run side by side: names carry the process id
 * and a number; addresses are the same in each, which is fine because namespaces keep them apart.
 * Invariant: what `up` made is gone after `close`, after the end of this process, and, when it was killed with -9, at the
 * next `up` of anybody.
 */
import { execFile, spawn, spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { LabProcess } from './lab-process.ts'

const run = promisify(execFile)
const BRANCH_SH = fileURLToPath(new URL('branch.sh', import.meta.url))
const NAME = /^(shl(\d+)x\d+)-/

/** Of a test file that uses the lab: just under tap's own limit for a file (.taprc), so that the test says what hung. */
export const LAB_TEST_TIMEOUT_MS = 115_000

export type LabHost = number | 'origin' | 'router' | 'bridge'

export type CongestionControl = 'cubic' | 'bbr' | 'reno'

export interface LabOptions {
  readonly hosts: number
  /** The WAN, towards the branch. Default 50. */
  readonly downMbit?: number
  readonly upMbit?: number
  /** Depth of the bottleneck's FIFO at its rate. Default 100. */
  readonly fifoMs?: number
  /** One way; the round trip is twice that. Default 10,000. */
  readonly delayUs?: number
  /** Rate of each host's LAN link; absent: unshaped. */
  readonly lanMbit?: number
  /** Of the origin. Default cubic. */
  readonly congestionControl?: CongestionControl
}

export interface SpawnOptions {
  readonly env?: NodeJS.ProcessEnv
  readonly cwd?: string
  /** Where stdout goes: read line by line, or thrown away. Default 'lines'. */
  readonly stdout?: 'lines' | 'ignore'
}

export interface ExecResult {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

let problem: string | null | undefined

/** Null when a lab can be made here; else the reason, for `t.plan(0, reason)` and the like. */
export function labProblem(): string | null {
  if (problem === undefined) problem = findProblem()
  return problem
}

function findProblem(): string | null {
  if (process.platform !== 'linux') return 'the lab needs Linux'
  if (process.getuid?.() !== 0) return 'the lab needs root'
  for (const [tool, argument] of [
    ['ip', '-V'],
    ['tc', '-V'],
    ['cc', '--version'],
    ['bash', '--version'],
  ] as const) {
    if (spawnSync(tool, [argument], { stdio: 'ignore' }).status !== 0) return `the lab needs ${tool}`
  }
  if (!existsSync('/dev/net/tun')) return 'the lab needs /dev/net/tun'
  const name = `shl${process.pid}x0-probe`
  const script = `set -e; ip netns add ${name}; trap 'ip netns del ${name}' EXIT; ip -n ${name} link add br0 type bridge
    ip -n ${name} link add probe0 type veth peer name probe1; tc -n ${name} qdisc add dev probe0 root tbf rate 1mbit burst 6000 limit 9000`
  const probe = spawnSync('bash', ['-c', script], { encoding: 'utf8' })
  return probe.status === 0 ? null : `no network namespace can be made: ${probe.stderr.trim().split('\n')[0]}`
}

const openLabs = new Set<Lab>()
let labCount = 0
let hooked = false

function closeAllNow(): void {
  for (const lab of openLabs) lab.closeNow()
}

function hookExit(): void {
  if (hooked) return
  hooked = true
  process.once('exit', closeAllNow)
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => {
      closeAllNow()
      process.kill(process.pid, signal) // the handler is gone: now it ends us
    })
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

function stateDirOf(name: string): string {
  return join(tmpdir(), `shorthaul-lab-${name}`)
}

/** Takes down the labs of processes that ended without doing so. */
async function sweepDeadLabs(): Promise<void> {
  const { stdout } = await run('ip', ['netns', 'list'])
  const dead = new Set<string>()
  for (const line of stdout.split('\n')) {
    const [, name, pid] = NAME.exec(line) ?? []
    if (name && !isAlive(Number(pid))) dead.add(name)
  }
  for (const name of dead) await run(BRANCH_SH, ['down'], { env: branchEnv(name) })
}

function branchEnv(name: string): NodeJS.ProcessEnv {
  return { ...process.env, LAB: name, STATE: stateDirOf(name) }
}

export class Lab {
  readonly name: string
  readonly hosts: number
  /** A folder of this lab, for whatever its users need; removed with it. */
  readonly stateDir: string
  readonly originAddress = '10.88.0.1'
  readonly #processes = new Set<LabProcess>()
  #closing: Promise<void> | undefined

  private constructor(name: string, hosts: number) {
    this.name = name
    this.hosts = hosts
    this.stateDir = stateDirOf(name)
  }

  /** @throws Error with the output of branch.sh when the namespaces cannot be made; nothing is left then. */
  static async up(options: LabOptions): Promise<Lab> {
    hookExit()
    await sweepDeadLabs()
    labCount += 1
    const lab = new Lab(`shl${process.pid}x${labCount}`, options.hosts)
    openLabs.add(lab)
    const flags: readonly (readonly [string, number | string | undefined])[] = [
      ['--down', options.downMbit],
      ['--up', options.upMbit],
      ['--fifo-ms', options.fifoMs],
      ['--delay-us', options.delayUs],
      ['--lan', options.lanMbit],
      ['--cc', options.congestionControl],
    ]
    const given = flags.flatMap(([flag, value]) => (value === undefined ? [] : [flag, String(value)]))
    try {
      await run(BRANCH_SH, ['up', String(options.hosts), ...given], { env: branchEnv(lab.name) })
    } catch (error) {
      lab.closeNow()
      throw error
    }
    return lab
  }

  hostAddress(host: number): string {
    return `10.88.1.${host}`
  }

  namespaceOf(host: LabHost): string {
    return `${this.name}-${host}`
  }

  /** Starts a process in the host; `ip netns exec` becomes the command, so signals reach it. */
  spawn(host: LabHost, command: string, args: readonly string[], options: SpawnOptions = {}): LabProcess {
    const child = spawn('ip', ['netns', 'exec', this.namespaceOf(host), command, ...args], {
      env: options.env ?? process.env,
      cwd: options.cwd ?? this.stateDir,
      stdio: ['ignore', options.stdout === 'ignore' ? 'ignore' : 'pipe', 'pipe'],
    })
    const process_ = new LabProcess(child)
    this.#processes.add(process_)
    void process_.exit.then(() => this.#processes.delete(process_))
    return process_
  }

  /** Runs a command in the host to its end; a code other than 0 is a result, not an error. */
  async exec(host: LabHost, command: string, args: readonly string[], options: SpawnOptions = {}): Promise<ExecResult> {
    const process_ = this.spawn(host, command, args, options)
    const { code } = await process_.exit
    return { code: code ?? -1, stdout: process_.lines.join('\n'), stderr: process_.stderr }
  }

  /** Bytes, IP headers included, that the WAN carried towards the branch since the lab is up. */
  async wanBytesIn(): Promise<number> {
    const { stdout } = await run('ip', ['-n', this.namespaceOf('origin'), '-s', '-j', 'link', 'show', 'dev', 'wan0'])
    const [link] = JSON.parse(stdout) as { stats64: { tx: { bytes: number } } }[]
    if (!link) throw new Error('wan0 is missing in the origin')
    return link.stats64.tx.bytes
  }

  /** Pulls or plugs the cable: the host keeps its addresses and routes. 'router' cuts the branch from the WAN. */
  async setLink(host: number | 'router', state: 'up' | 'down'): Promise<void> {
    await this.#bridgePort(host, [state])
  }

  /** Puts these hosts on a LAN of their own, without WAN; the others and the router stay together. */
  async partition(hosts: readonly number[]): Promise<void> {
    for (const host of hosts) await this.#bridgePort(host, ['master', 'br1'])
  }

  /** Client isolation, as guest Wi-Fi has it: these hosts reach the WAN, and no other isolated host. */
  async isolate(hosts: readonly number[]): Promise<void> {
    for (const host of hosts) await this.#bridgePort(host, ['type', 'bridge_slave', 'isolated', 'on'])
  }

  /** Ends partition and isolation of these hosts. */
  async heal(hosts: readonly number[]): Promise<void> {
    for (const host of hosts) {
      await this.#bridgePort(host, ['master', 'br0'])
      await this.#bridgePort(host, ['type', 'bridge_slave', 'isolated', 'off'])
    }
  }

  /** Of connections that the origin accepts from now on. */
  async setCongestionControl(name: CongestionControl): Promise<void> {
    const route = ['route', 'replace', 'default', 'via', '10.88.0.2', 'congctl', name]
    await run('ip', ['-n', this.namespaceOf('origin'), ...route])
  }

  /** Shapes both directions of the host's LAN link; null removes the shaping. */
  async setLanRate(host: number, mbit: number | null): Promise<void> {
    await run(BRANCH_SH, ['lan-rate', String(host), String(mbit ?? 0)], { env: branchEnv(this.name) })
  }

  /** Of the WAN, from now on. */
  async setWanRate({ downMbit, upMbit }: { readonly downMbit: number; readonly upMbit: number }): Promise<void> {
    await run(BRANCH_SH, ['wan-rate', String(downMbit), String(upMbit)], { env: branchEnv(this.name) })
  }

  async #bridgePort(host: number | 'router', change: readonly string[]): Promise<void> {
    await run('ip', ['-n', this.namespaceOf('bridge'), 'link', 'set', 'dev', `p-${host}`, ...change])
  }

  /** Kills what runs in the lab and removes it. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= (async () => {
      const exits = [...this.#processes].map((process_) => process_.exit)
      await run(BRANCH_SH, ['down'], { env: branchEnv(this.name) }) // kills all that is in the namespaces
      await Promise.all(exits)
      openLabs.delete(this)
    })()
    return this.#closing
  }

  /** The same for the exit handler, where nothing can be awaited. */
  closeNow(): void {
    openLabs.delete(this)
    spawnSync(BRANCH_SH, ['down'], { env: branchEnv(this.name), stdio: 'ignore' })
  }
}
