/**
 * Cost and power of Windows by one PowerShell, because starting it takes about a second of processor time. Not run on
 * Windows yet: written after the documentation of NetworkCostType and Win32_Battery.
 */
import type { CostState, PowerState } from './cost.ts'
import type { Reading, ReadOptions } from './host-cost.ts'

const DEADLINE_MS = 20_000

/** Windows PowerShell 5: later ones cannot reach WinRT. Its whole path, because a bare name is first looked for in the working directory. */
const POWERSHELL = 'C:\\Windows\\System32\\WindowsPowerShell\\v1.0\\powershell.exe'

/** No double quotes, which the command line of Windows would need escaped. */
const SCRIPT = [
  "$ErrorActionPreference = 'Stop'",
  '[void][Windows.Networking.Connectivity.NetworkInformation, Windows.Networking.Connectivity, ContentType = WindowsRuntime]',
  '$line = [Windows.Networking.Connectivity.NetworkInformation]::GetInternetConnectionProfile()',
  '$cost = if ($line) { $line.GetConnectionCost() }',
  '$batteries = @(Get-CimInstance Win32_Battery | ForEach-Object { [int]$_.BatteryStatus })',
  '$found = @{ batteries = $batteries; type = 0; isRoaming = $false; isOver = $false; isNear = $false }',
  'if ($cost) { $found.type = [int]$cost.NetworkCostType; $found.isRoaming = $cost.Roaming; ' +
    '$found.isOver = $cost.OverDataLimit; $found.isNear = $cost.ApproachingDataLimit }',
  'ConvertTo-Json -Compress $found',
].join('; ')

export interface WindowsConditions {
  readonly cost: CostState
  readonly power: PowerState
}

export async function readWindows({ run, signal }: ReadOptions): Promise<Reading<WindowsConditions>> {
  const args = ['-NoLogo', '-NoProfile', '-NonInteractive', '-Command', SCRIPT]
  const answer = await run(POWERSHELL, args, { signal, deadlineMs: DEADLINE_MS })
  if (answer.kind === 'missing') return { state: { cost: 'unknown', power: 'unknown' }, failure: null }
  if (answer.kind === 'failed') return { state: null, failure: `powershell: ${answer.message}` }
  const state = parseWindows(answer.stdout)
  if (state !== null) return { state, failure: null }
  return { state: null, failure: `powershell: ${answer.stdout.slice(0, 100)}, expected what the script prints` }
}

/** What SCRIPT prints. null: something else. */
export function parseWindows(stdout: string): WindowsConditions | null {
  let value: unknown
  try {
    value = JSON.parse(stdout)
  } catch {
    return null
  }
  if (typeof value !== 'object' || value === null) return null
  const { type, isRoaming, isOver, isNear, batteries }: Record<string, unknown> = { ...value }
  if (typeof type !== 'number' || !Array.isArray(batteries)) return null
  const cost = isRoaming === true ? 'roaming' : isOver === true ? 'overCap' : isNear === true ? 'nearCap' : costOf(type)
  return { cost, power: powerOf(batteries) }
}

/** NetworkCostType: 0 unknown, 1 unrestricted, 2 fixed (a quota), 3 variable (by volume). */
function costOf(type: number): CostState {
  if (type === 1) return 'unrestricted'
  return type === 2 || type === 3 ? 'capped' : 'unknown'
}

/**
 * Win32_Battery.BatteryStatus, one for each battery: 1 discharging, 2 on mains, 3 full, 4 low, 5 critical, 6 to 9
 * charging, 10 undefined, 11 partly charged. Of two batteries one may rest while the other discharges.
 */
function powerOf(statuses: readonly unknown[]): PowerState {
  const has = (known: readonly number[]) =>
    statuses.some((status) => typeof status === 'number' && known.includes(status))
  if (has([2, 6, 7, 8, 9])) return 'mains'
  return has([1, 4, 5]) ? 'battery' : 'mains'
}
