/** Whether the machine runs on its battery. Linux: sysfs. macOS: pmset. Windows: host-windows.ts. */
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { systemCode } from '../errors.ts'
import type { PowerState } from './cost.ts'
import type { Reading, ReadOptions } from './host-cost.ts'

const DEADLINE_MS = 3000
const MAX_SUPPLIES = 64

/** One folder of /sys/class/power_supply; null: it has no such file. */
export interface PowerSupply {
  /** `Battery`, `Mains`, `USB`, `UPS`, `Wireless`. */
  readonly type: string | null
  /** `System`, or `Device`: the battery of a mouse. */
  readonly scope: string | null
  /** `1`: plugged in. Of a battery it says that there is one. */
  readonly online: string | null
  /** Of a battery: `Charging`, `Discharging`, `Not charging`, `Full`, `Unknown`. */
  readonly status: string | null
}

/** As systemd's on_ac_power: plugged in, or nothing that discharges. A desktop has no supply at all. */
export function powerOf(supplies: readonly PowerSupply[]): PowerState {
  const own = supplies.filter(({ scope }) => scope !== 'Device')
  if (own.some(({ type, online }) => type !== 'Battery' && online === '1')) return 'mains'
  return own.some(({ type, status }) => type === 'Battery' && status === 'Discharging') ? 'battery' : 'mains'
}

/** @param dir /sys/class/power_supply, outside of tests */
export async function readLinuxPower(dir: string): Promise<Reading<PowerState>> {
  try {
    const names = (await readdir(dir)).slice(0, MAX_SUPPLIES)
    return { state: powerOf(await Promise.all(names.map((name) => readSupply(join(dir, name))))), failure: null }
  } catch (error: unknown) {
    const system = systemCode(error)
    if (system === 'ENOENT') return { state: 'unknown', failure: null }
    return { state: null, failure: `${dir}: ${system ?? String(error)}` }
  }
}

async function readSupply(dir: string): Promise<PowerSupply> {
  // A driver answers ENODEV and others for what its hardware does not tell, and folders vanish when unplugged.
  const read = (name: string) =>
    readFile(join(dir, name), 'latin1').then(
      (text) => text.trim(),
      () => null,
    )
  const [type, scope, online, status] = await Promise.all(['type', 'scope', 'online', 'status'].map(read))
  return { type: type ?? null, scope: scope ?? null, online: online ?? null, status: status ?? null }
}

export async function readMacPower({ run, signal }: ReadOptions): Promise<Reading<PowerState>> {
  const answer = await run('/usr/bin/pmset', ['-g', 'batt'], { signal, deadlineMs: DEADLINE_MS })
  if (answer.kind === 'missing') return { state: 'unknown', failure: null }
  if (answer.kind === 'failed') return { state: null, failure: `pmset: ${answer.message}` }
  const state = parsePmset(answer.stdout)
  if (state !== null) return { state, failure: null }
  return { state: null, failure: `pmset: ${answer.stdout.slice(0, 100)}, expected a power source` }
}

/** `Now drawing from 'Battery Power'`, then the batteries. null: something else. */
export function parsePmset(stdout: string): PowerState | null {
  const source = /drawing from '(AC|Battery|UPS) Power'/.exec(stdout)?.[1]
  if (source === undefined) return null
  return source === 'AC' ? 'mains' : 'battery'
}
