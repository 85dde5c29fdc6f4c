/**
 * aria2c as a BitTorrent client on lab hosts, with a tracker on the LAN side of the router. Unencrypted, as aria2c does by
 * default. Every download ends with an fsync of the file, like a fetch of ours.
 */
import { chmod, mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { GeneratedContent } from '../../test/lab/generated-content.ts'
import type { Lab } from '../../test/lab/lab.ts'
import type { LabProcess } from '../../test/lab/lab-process.ts'
import { torrentOf } from './torrent.ts'

const TRACKER_MAIN = fileURLToPath(new URL('tracker-main.ts', import.meta.url))
const REPOSITORY = fileURLToPath(new URL('../..', import.meta.url))
const TRACKER_ADDRESS = '10.88.1.254'
const TRACKER_PORT = 6969
const COMPLETE_LINE = 'download complete'
const LISTEN_PORT = 6881

export interface TorrentPeer {
  readonly process: LabProcess
  readonly path: string
  /** Resolves when the file is whole and synced; the peer goes on seeding. */
  complete(options: { timeoutMs: number }): Promise<void>
}

export interface Torrent {
  readonly file: string
  readonly fileName: string
}

export class BitTorrent {
  readonly #lab: Lab
  readonly #dir: string
  readonly #tracker: LabProcess
  readonly #hookFile: string
  #count = 0

  private constructor(lab: Lab, options: { dir: string; tracker: LabProcess; hookFile: string }) {
    this.#lab = lab
    this.#dir = options.dir
    this.#tracker = options.tracker
    this.#hookFile = options.hookFile
  }

  static async start(lab: Lab): Promise<BitTorrent> {
    const dir = join(lab.stateDir, 'bittorrent')
    await mkdir(dir)
    const args = ['--import=tsx', TRACKER_MAIN, TRACKER_ADDRESS, String(TRACKER_PORT)]
    const tracker = lab.spawn('router', process.execPath, args, { cwd: REPOSITORY })
    // aria2c calls it with the id, the number of files and the path of the first one.
    const hookFile = join(dir, 'complete.sh')
    await writeFile(hookFile, `#!/bin/sh\nsync "$3" && echo '${COMPLETE_LINE}'\n`)
    await chmod(hookFile, 0o755)
    await tracker.waitForLine((line) => line.includes('"ready"'), { timeoutMs: 20_000 })
    return new BitTorrent(lab, { dir, tracker, hookFile })
  }

  async torrent(content: GeneratedContent, options: { fileName: string; webSeedUrl: string | null }): Promise<Torrent> {
    this.#count += 1
    const file = join(this.#dir, `${this.#count}.torrent`)
    const trackerUrl = `http://${TRACKER_ADDRESS}:${TRACKER_PORT}/announce`
    await writeFile(file, torrentOf(content, { ...options, trackerUrl }))
    return { file, fileName: options.fileName }
  }

  /** Downloads into a folder of that host, and seeds until it is killed; `rm` of `dir` is the caller's. */
  async download(host: number, torrent: Torrent): Promise<TorrentPeer & { readonly dir: string }> {
    const dir = join(this.#dir, `h${host}-${torrent.fileName}`)
    await rm(dir, { recursive: true, force: true })
    await mkdir(dir)
    const process_ = this.#aria2c(host, torrent, ['-d', dir, `--on-bt-download-complete=${this.#hookFile}`])
    const complete = async (options: { timeoutMs: number }) => {
      await process_.waitForLine((line) => line.includes(COMPLETE_LINE), options)
    }
    return { process: process_, path: join(dir, torrent.fileName), dir, complete }
  }

  /** Seeds a file that is there already; resolves once the tracker knows it. */
  async seed(host: number, torrent: Torrent, options: { dir: string }): Promise<LabProcess> {
    const seeder = this.#aria2c(host, torrent, ['-d', options.dir, '--bt-seed-unverified=true'])
    const isItsAnnouncement = (line: string) => {
      const { event, address, leftBytes } = JSON.parse(line) as Readonly<Record<string, unknown>>
      return event === 'announce' && address === this.#lab.hostAddress(host) && leftBytes === 0
    }
    await this.#tracker.waitForLine(isItsAnnouncement, { timeoutMs: 20_000 })
    return seeder
  }

  #aria2c(host: number, torrent: Torrent, args: readonly string[]): LabProcess {
    const flags = [
      '--quiet=true',
      '--no-conf=true',
      '--file-allocation=none',
      '--seed-time=1000',
      '--seed-ratio=0',
      '--enable-dht=false',
      '--enable-dht6=false',
      `--listen-port=${LISTEN_PORT}-${LISTEN_PORT + 8}`,
      '--bt-tracker-interval=5',
      // What it takes from the web seed; by default in order, so that a crowd takes the same pieces and has none to give:
      // 4 hosts, 32 MiB, an origin that gives each connection a fifth of the line: 1.3 copies instead of 4.0.
      '--stream-piece-selector=random',
    ]
    return this.#lab.spawn(host, 'aria2c', [...flags, ...args, `--torrent-file=${torrent.file}`], { cwd: this.#dir })
  }
}
