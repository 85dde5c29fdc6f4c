/**
 * node --import=tsx call-main.ts send ADDRESS PORT
 * node --import=tsx call-main.ts receive ADDRESS PORT
 *
 * One direction of a call of 64 kbit/s: 50 datagrams of 160 bytes a second. The receiver tells of each that comes:
 * {"number","sentMs","delayMs"}. Both are on this machine, so the delay is of one way and needs no synchronised clocks.
 */
import { createSocket } from 'node:dgram'
import { machineMs } from './machine-clock.ts'

const LENGTH_BYTES = 160
const INTERVAL_MS = 20

const [role = '', address = '', port = ''] = process.argv.slice(2)
const socket = createSocket('udp4')
if (role === 'receive') {
  socket.on('message', (bytes) => {
    const sentMs = bytes.readDoubleBE(4)
    const told = { number: bytes.readUInt32BE(0), sentMs, delayMs: machineMs() - sentMs }
    process.stdout.write(`${JSON.stringify(told)}\n`)
  })
  socket.bind(Number(port), address, () => process.stdout.write('ready\n'))
} else {
  let count = 0
  process.stdout.write('ready\n')
  setInterval(() => {
    const bytes = Buffer.alloc(LENGTH_BYTES)
    bytes.writeUInt32BE(count++, 0)
    bytes.writeDoubleBE(machineMs(), 4)
    socket.send(bytes, Number(port), address)
  }, INTERVAL_MS)
}
