/** Starts and commands the lab's origin process (origin-main.ts). */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { TS_IMPORT } from '../support/ts-import.ts'
import { pathOf } from './generated-content.ts'
import type { Lab } from './lab.ts'
import type { LabProcess } from './lab-process.ts'
import { callSocket } from './socket-call.ts'

const ORIGIN_MAIN = fileURLToPath(new URL('origin-main.ts', import.meta.url))
const REPOSITORY = fileURLToPath(new URL('../..', import.meta.url))

export interface OriginTally {
  readonly requests: number
  readonly contentBytes: number
}

export interface OriginTotals extends OriginTally {
  readonly byPath: Readonly<Record<string, OriginTally>>
  readonly byRemote: Readonly<Record<string, OriginTally>>
}

export interface OriginSettings {
  readonly generation?: number
  readonly nextGenerationAfterBytes?: number | null
  readonly cutOnChange?: boolean
  readonly rateBytesPerSec?: number | null
  readonly ranges?: boolean
  readonly head?: boolean
  readonly retryAfterSeconds?: number | null
  readonly generationByPath?: Readonly<Record<string, number>>
  readonly failStatus?: number | null
  readonly cutAfterBytes?: number | null
}

export class OriginHost {
  readonly process: LabProcess
  readonly #lab: Lab
  readonly #controlSocket: string

  private constructor(lab: Lab, process_: LabProcess, controlSocket: string) {
    this.#lab = lab
    this.process = process_
    this.#controlSocket = controlSocket
  }

  /** @param options.timeoutMs default 20,000 */
  static async start(lab: Lab, settings: OriginSettings = {}, { timeoutMs = 20_000 } = {}): Promise<OriginHost> {
    const controlSocket = join(lab.stateDir, 'origin.sock')
    await rm(controlSocket, { force: true }) // of one that was killed
    const args = [TS_IMPORT, ORIGIN_MAIN, lab.originAddress, '80', controlSocket, JSON.stringify(settings)]
    const process_ = lab.spawn('origin', process.execPath, args, { cwd: REPOSITORY })
    await process_.waitForLine((line) => line.includes('"ready"'), { timeoutMs })
    return new OriginHost(lab, process_, controlSocket)
  }

  url(seed: number, bytes: number): string {
    return `http://${this.#lab.originAddress}${pathOf(seed, bytes)}`
  }

  /** What was sent since the start or the last reset, requests that still run included. */
  totals(): Promise<OriginTotals> {
    return this.#control('GET', 'log')
  }

  async reset(): Promise<void> {
    await this.#control('POST', 'reset')
  }

  async set(settings: OriginSettings): Promise<void> {
    await this.#control('POST', 'set', settings)
  }

  #control(method: 'GET' | 'POST', verb: string, body?: unknown): Promise<OriginTotals> {
    return callSocket(this.#controlSocket, { method, path: `/control/${verb}`, body }) as Promise<OriginTotals>
  }
}
