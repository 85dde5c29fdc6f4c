/** What the user does meanwhile: one TCP flow by iperf3, always of the same congestion control. */
import type { CongestionControl, Lab, LabHost } from '../../test/lab/lab.ts'
import type { LabProcess } from '../../test/lab/lab-process.ts'
import { machineMs } from './machine-clock.ts'
import { type Reader, readBytes } from './traffic.ts'

/** The control connection needs some round trips, which are long behind a full queue. */
const CONNECT_TIMEOUT_MS = 20_000
/** It is stopped before; ends it where nobody does. */
const LIMIT_SEC = 300

export interface ForegroundOptions {
  /** Where the user sits: the flow is begun here. */
  readonly host: number
  readonly server: LabHost
  readonly serverAddress: string
  readonly direction: 'down' | 'up'
  readonly congestionControl: CongestionControl
}

/** As a reader: the user's end. */
export interface ForegroundFlow extends Reader {
  /** When its data connection stood, by the machine's clock. */
  readonly startedMs: number
  /** The user's end is gone at once; what is on its way still comes. Idempotent. */
  readonly stop: () => Promise<void>
}

/** @throws Error when no connection comes about. */
export async function startForeground(lab: Lab, options: ForegroundOptions): Promise<ForegroundFlow> {
  const { host, server, serverAddress, direction, congestionControl } = options
  // iperf3 holds back what it prints until its first report when it writes to a pipe.
  const iperf3 = (where: LabHost, ...args: string[]) => lab.spawn(where, 'stdbuf', ['-oL', 'iperf3', ...args])
  const serving = iperf3(server, '-s', '-1', '-B', serverAddress)
  let user: LabProcess | undefined
  const stop = async () => {
    await user?.kill('SIGKILL')
    await serving.kill('SIGKILL')
  }
  try {
    await serving.waitForLine((line) => line.startsWith('Server listening'), { timeoutMs: CONNECT_TIMEOUT_MS })
    const flags = ['-t', String(LIMIT_SEC), '-C', congestionControl, ...(direction === 'down' ? ['-R'] : [])]
    user = iperf3(host, '-c', serverAddress, ...flags)
    await user.waitForLine((line) => line.includes(' connected to '), { timeoutMs: CONNECT_TIMEOUT_MS })
    const startedMs = machineMs()
    return { pid: user.pid, readBefore: readBytes(user.pid) ?? 0, startedMs, stop }
  } catch (error) {
    await stop()
    throw error
  }
}
