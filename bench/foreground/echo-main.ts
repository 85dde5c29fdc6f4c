/**
 * node --import=tsx echo-main.ts ADDRESS PORT
 *
 * Sends every datagram back to where it came from.
 */
import { createSocket } from 'node:dgram'

const [address = '', port = ''] = process.argv.slice(2)
const socket = createSocket('udp4')
socket.on('message', (bytes, from) => socket.send(bytes, from.port, from.address))
socket.bind(Number(port), address, () => process.stdout.write('ready\n'))
