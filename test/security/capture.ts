/** What somebody records who has a cable in the switch of a lab's branch: capture.c on its bridge. */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Lab } from '../lab/lab.ts'

export interface Packet {
  readonly protocol: 'tcp' | 'udp'
  readonly from: string
  readonly to: string
  readonly toPort: number
  readonly payload: Buffer
}

export interface Capture {
  /** Ends it. @throws Error when frames were missed */
  stop(): Promise<readonly Packet[]>
}

const ETHERNET_BYTES = 14
const IPV4 = 0x0800
const TCP = 6
const UDP = 17

export async function startCapture(lab: Lab): Promise<Capture> {
  const program = join(lab.stateDir, 'capture')
  execFileSync('cc', ['-O2', '-o', program, fileURLToPath(new URL('capture.c', import.meta.url))], { stdio: 'pipe' })
  const file = join(lab.stateDir, 'frames')
  const running = lab.spawn('bridge', program, [file])
  await running.waitForLine((line) => line === 'ready', { timeoutMs: 10_000 })
  return {
    stop: async () => {
      await running.kill('SIGTERM')
      const missed = running.lines.at(-1)
      if (missed !== 'dropped 0') throw new Error(`The capture is not whole: ${missed} ${running.stderr}`)
      return packetsOf(readFileSync(file))
    },
  }
}

function packetsOf(frames: Buffer): Packet[] {
  const packets: Packet[] = []
  for (let offset = 0; offset + 4 <= frames.byteLength; ) {
    const end = offset + 4 + frames.readUInt32LE(offset)
    const packet = packetOf(frames.subarray(offset + 4, end))
    if (packet !== null) packets.push(packet)
    offset = end
  }
  return packets
}

/** Null for what is not TCP or UDP over IPv4. */
function packetOf(frame: Buffer): Packet | null {
  if (frame.byteLength < ETHERNET_BYTES + 20 || frame.readUInt16BE(12) !== IPV4) return null
  const ip = frame.subarray(ETHERNET_BYTES)
  const ipBytes = (ip.readUInt8(0) & 15) * 4
  const protocol = ip.readUInt8(9)
  if (protocol !== TCP && protocol !== UDP) return null
  const segment = ip.subarray(ipBytes)
  const headBytes = protocol === UDP ? 8 : ((segment[12] ?? 0) >> 4) * 4
  return {
    protocol: protocol === TCP ? 'tcp' : 'udp',
    from: ip.subarray(12, 16).join('.'),
    to: ip.subarray(16, 20).join('.'),
    toPort: segment.readUInt16BE(2),
    payload: segment.subarray(headBytes),
  }
}
