/**
 * A BitTorrent tracker for the lab, a process of its own: `node --import=tsx tracker-main.ts ADDRESS PORT`
 *
 * One JSON line on stdout when it is ready and for each announcement. IPv4 only, no scraping.
 */
import { once } from 'node:events'
import { createServer } from 'node:http'
import { parseAnnouncement, Swarms } from './announce.ts'

const swarms = new Swarms()
const [address = '127.0.0.1', port = '6969'] = process.argv.slice(2)
const server = createServer((request, response) => {
  const query = request.url?.split('?')[1] ?? ''
  const announcement = parseAnnouncement(query, request.socket.remoteAddress ?? '')
  if (!announcement) {
    response.writeHead(400).end()
    return
  }
  response.writeHead(200, { 'content-type': 'text/plain' }).end(swarms.announce(announcement))
  process.stdout.write(`${JSON.stringify({ ...announcement, phase: announcement.event, event: 'announce' })}\n`)
})
await once(server.listen(Number(port), address), 'listening')
process.stdout.write(`${JSON.stringify({ event: 'ready' })}\n`)
