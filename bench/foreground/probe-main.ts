/**
 * node --import=tsx probe-main.ts ADDRESS PORT INTERVAL_MS
 *
 * Sends small datagrams to an echo and tells of each, when it is back or lost: {"sentMs","rttMs"}, of the machine's clock.
 */
import { createSocket } from 'node:dgram'
import { machineMs } from './machine-clock.ts'

const LENGTH_BYTES = 64
/** Longer than any queue that is measured here. */
const LOST_MS = 2000

const [address = '', port = '', intervalMs = ''] = process.argv.slice(2)
const sentMsByNumber = new Map<number, number>()
let count = 0

function tell(number: number, rttMs: number | null): void {
  const sentMs = sentMsByNumber.get(number)
  if (sentMs === undefined) return
  sentMsByNumber.delete(number)
  process.stdout.write(`${JSON.stringify({ sentMs, rttMs })}\n`)
}

const socket = createSocket('udp4')
socket.on('message', (bytes) => {
  const atMs = machineMs()
  const number = bytes.readUInt32BE(0)
  const sentMs = sentMsByNumber.get(number)
  if (sentMs !== undefined) tell(number, atMs - sentMs)
})
setInterval(() => {
  const bytes = Buffer.alloc(LENGTH_BYTES)
  const number = count++
  bytes.writeUInt32BE(number, 0)
  sentMsByNumber.set(number, machineMs())
  socket.send(bytes, Number(port), address)
  setTimeout(() => tell(number, null), LOST_MS)
}, Number(intervalMs))
