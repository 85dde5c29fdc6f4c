/**
 * The branch of a chaos run: hosts, origin, what the origin had when, and the notes of what happened. Does nothing by
 * itself: loads and faults are driven from outside.
 */
import { execFile } from 'node:child_process'
import { createWriteStream, type WriteStream } from 'node:fs'
import { rm, statfs, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { systemClock } from '../../src/clock.ts'
import { writeBranchSecret } from '../lab/agent-host.ts'
import { pathOf, sha256Of } from '../lab/generated-content.ts'
import { Lab } from '../lab/lab.ts'
import { OriginHost, type OriginSettings } from '../lab/origin-host.ts'
import { modeFileOf } from './bad-agent.ts'
import { ChaosHost } from './chaos-host.ts'
import { FairTime } from './fair-time.ts'
import type { TaskRecord } from './figures.ts'
import { OriginTruth } from './origin-truth.ts'
import type { BadMode, ChaosResource } from './schedule.ts'

const run = promisify(execFile)
export const WAN = { downMbit: 50, upMbit: 20 } as const
const LAN_MBIT = 1000
const ONE_WAY_DELAY_US = 10_000
/** On a machine that has no time for it. */
const ORIGIN_TIMEOUT_MS = 120_000
/** Hosts whose data directory, and whose targets, are on a file system of their own. */
const DISKS = { data: { host: 1, mib: 192 }, targets: { host: 2, mib: 192 } } as const

export class ChaosWorld {
  readonly lab: Lab
  readonly hosts: readonly ChaosHost[]
  readonly truth = new OriginTruth()
  readonly tasks: TaskRecord[] = []
  readonly crashes: string[]
  readonly badLines: string[]
  /** Disks that could not be made, and why. */
  readonly missingDisks = new Map<keyof typeof DISKS, string>()
  origin: OriginHost
  #settings: OriginSettings = {}
  #originBytesBefore = 0
  readonly #notes: WriteStream
  readonly #startedMs = systemClock.monotonicMs()
  readonly #fairTime = new FairTime(0)
  readonly #sha256s = new Map<string, string>()
  readonly #got = new Map<string, number>()

  private constructor(parts: {
    lab: Lab
    hosts: readonly ChaosHost[]
    origin: OriginHost
    notes: WriteStream
    crashes: string[]
    badLines: string[]
  }) {
    this.lab = parts.lab
    this.hosts = parts.hosts
    this.origin = parts.origin
    this.crashes = parts.crashes
    this.badLines = parts.badLines
    this.#notes = parts.notes
  }

  /** Daemons do not run yet. Whoever opens it closes it. */
  static async open(options: { readonly hosts: number; readonly logsDir: string }): Promise<ChaosWorld> {
    const { logsDir } = options
    const notes = createWriteStream(join(logsDir, 'run.jsonl'))
    const lab = await Lab.up({ ...WAN, hosts: options.hosts, lanMbit: LAN_MBIT, delayUs: ONE_WAY_DELAY_US })
    try {
      const [origin, secretFile] = await Promise.all([
        OriginHost.start(lab, {}, { timeoutMs: ORIGIN_TIMEOUT_MS }),
        writeBranchSecret(lab, 'branch'),
      ])
      const crashes: string[] = []
      const badLines: string[] = []
      const holder: { world?: ChaosWorld } = {}
      const hosts = await Promise.all(
        Array.from({ length: options.hosts }, (_, at) =>
          ChaosHost.create(lab, at + 1, {
            secretFile,
            canMisbehave: at + 1 === options.hosts,
            logsDir,
            onCrash: (text) => crashes.push(text),
            onBadLine: (text) => badLines.push(text),
            note: (text, fields) => holder.world?.note(text, fields),
          }),
        ),
      )
      const world = new ChaosWorld({ lab, hosts, origin, notes, crashes, badLines })
      holder.world = world
      await world.#mountDisks()
      return world
    } catch (error) {
      await lab.close()
      throw error
    }
  }

  /** Since the world is open. */
  nowMs(): number {
    return systemClock.monotonicMs() - this.#startedMs
  }

  /** The same, slower where the machine has not enough processors for what wants to run. */
  fairMs(): number {
    return this.#fairTime.at(this.nowMs())
  }

  machineIs(now: { readonly runnable: number; readonly processors: number }): void {
    this.#fairTime.machineIs({ ...now, nowMs: this.nowMs() })
  }

  note(text: string, fields: Readonly<Record<string, unknown>> = {}): void {
    this.#notes.write(`${JSON.stringify({ atMs: Math.round(this.nowMs()), what: text, ...fields })}\n`)
  }

  /** What all daemons say of themselves while something is stuck: whoever keeps it may be another one. */
  async noteStuck(): Promise<void> {
    for (const host of this.hosts) {
      const status = await host.call('GET', '/v1/status').catch(String)
      this.note('status while something is stuck', { host: host.host, status })
    }
  }

  host(number: number): ChaosHost {
    const found = this.hosts[number - 1]
    if (!found) throw new RangeError(`There is no host ${number}`)
    return found
  }

  url({ seed, bytes }: ChaosResource): string {
    return this.origin.url(seed, bytes)
  }

  sha256({ seed, bytes }: ChaosResource, generation: number): string {
    const key = `${seed} ${bytes} ${generation}`
    const known = this.#sha256s.get(key) ?? sha256Of(seed, bytes, generation)
    this.#sha256s.set(key, known)
    return known
  }

  /** Digests that a target may have that was fetched in this span. */
  allowed(resource: ChaosResource, span: { readonly fromMs: number; readonly untilMs: number }): readonly string[] {
    const generations = this.truth.currentDuring(pathOf(resource.seed, resource.bytes), span)
    return generations.map((generation) => this.sha256(resource, generation))
  }

  /** Somebody has what the resource is now, or was a moment ago. */
  got(resource: ChaosResource, sha256: string): void {
    this.#got.set(`${resource.seed} ${sha256}`, resource.bytes)
  }

  /** Of the generations that somebody has got, each once. */
  get distinctBytes(): number {
    return [...this.#got.values()].reduce((total, bytes) => total + bytes, 0)
  }

  async setOrigin(settings: OriginSettings): Promise<void> {
    this.#settings = { ...this.#settings, ...settings }
    await this.origin.set(settings)
  }

  async changeGeneration(resource: ChaosResource, { isCut }: { readonly isCut: boolean }): Promise<void> {
    const path = pathOf(resource.seed, resource.bytes)
    const generation = this.truth.generationOf(path) + 1
    const orderedMs = this.nowMs()
    const generationByPath = { ...this.truth.byPath(), [path]: generation }
    await this.setOrigin({ generationByPath, cutOnChange: isCut })
    this.truth.changed(path, { generation, orderedMs, confirmedMs: this.nowMs() })
  }

  async killOrigin(): Promise<void> {
    this.#originBytesBefore += (await this.origin.totals()).contentBytes
    await this.origin.process.kill('SIGKILL')
  }

  async restartOrigin(): Promise<void> {
    // Before it listens nobody may see another generation: its first answers are of what is set here.
    const settings = { ...this.#settings, generationByPath: this.truth.byPath() }
    this.origin = await OriginHost.start(this.lab, settings, { timeoutMs: ORIGIN_TIMEOUT_MS })
  }

  async originBytes(): Promise<number> {
    return this.#originBytesBefore + (await this.origin.totals()).contentBytes
  }

  /** Null: the last host behaves again. */
  async setBadMode(mode: BadMode | null): Promise<void> {
    const path = modeFileOf(this.host(this.hosts.length).agent.configFile)
    if (mode === null) await rm(path, { force: true })
    else await writeFile(path, mode)
  }

  async fillDisk(disk: keyof typeof DISKS): Promise<void> {
    const directory = this.#diskOf(disk)
    const { bavail, bsize } = await statfs(directory)
    await writeFile(join(directory, 'filler'), Buffer.alloc(Math.max(0, bavail * bsize))).catch(() => {})
  }

  async freeDisk(disk: keyof typeof DISKS): Promise<void> {
    await rm(join(this.#diskOf(disk), 'filler'), { force: true })
  }

  async close(): Promise<void> {
    await this.lab.close()
    await new Promise<void>((resolve) => this.#notes.end(() => resolve()))
  }

  #diskOf(disk: keyof typeof DISKS): string {
    const host = this.host(DISKS[disk].host)
    return disk === 'data' ? host.agent.dataDir : host.targetsDir
  }

  /** Before the daemons are there: a process has the mounts of when it was started. The lab unmounts what is in it. */
  async #mountDisks(): Promise<void> {
    for (const disk of ['data', 'targets'] as const) {
      const directory = this.#diskOf(disk)
      try {
        await run('mount', ['-t', 'tmpfs', '-o', `size=${DISKS[disk].mib}m,mode=0700`, 'tmpfs', directory])
      } catch (error) {
        this.missingDisks.set(disk, `no tmpfs: ${error instanceof Error ? error.message : String(error)}`)
      }
    }
  }
}
