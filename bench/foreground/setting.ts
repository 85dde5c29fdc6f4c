/** What the foreground scenarios have in common: the line, and which contenders are measured on it. */
import type { LabOptions } from '../../test/lab/lab.ts'
import { toolVersion } from '../contenders.ts'
import { type BenchOptions, MIB } from '../scenario.ts'

const UP_MBIT = 20
/** Longer than any run: what a background is told to have never ends in it. */
const ENDLESS_SEC = 128

export interface WanSetting {
  readonly wanMbit: number
  readonly lab: Omit<LabOptions, 'hosts'>
  readonly endlessBytes: number
  readonly remarks: readonly string[]
}

export function wanSettingOf({ wanMbit, fifoMs, rttMs }: BenchOptions): WanSetting {
  const line = { downMbit: wanMbit ?? 50, fifoMs: fifoMs ?? 250, rttMs: rttMs ?? 20 }
  const { downMbit } = line
  const endlessBytes = Math.max(1024, Math.ceil((downMbit * ENDLESS_SEC) / 8)) * MIB
  return {
    wanMbit: downMbit,
    lab: { downMbit, upMbit: UP_MBIT, fifoMs: line.fifoMs, delayUs: Math.round(line.rttMs * 500) },
    endlessBytes,
    remarks: [
      `WAN ${downMbit} Mbit/s down, ${UP_MBIT} up, FIFO ${line.fifoMs} ms, round trip ${line.rttMs} ms; LAN unshaped`,
      `content of ${endlessBytes} bytes, which nobody has whole at the end`,
    ],
  }
}

/** By a text in its name, in any case; null: everything. */
export function isChosen(name: string, only: string | null): boolean {
  return only === null || name.toLowerCase().includes(only.toLowerCase())
}

export function isInstalled(tool: string): boolean {
  return toolVersion(tool) !== null
}

export function versionsOf(tools: readonly string[]): readonly string[] {
  return tools.map((tool) => toolVersion(tool) ?? `${tool} is not installed here: left out`)
}
