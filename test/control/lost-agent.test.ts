import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { ControlClient } from '../../src/control/client.ts'
import { encodeFrame } from '../../src/control/frames.ts'
import type { Delivery, TransferRequest } from '../../src/transfer/request.ts'

/** Takes everything, and has the digest at once. */
const delivery = {
  leftOver: async () => [],
  windowEnd: () => Number.POSITIVE_INFINITY,
  begin: async () => {},
  digest: async () => 'ab'.repeat(32),
  abandon: async () => {},
} as unknown as Delivery

t.test(
  'an agent that knows nothing of our fetch is another one: ours is lost, and the command may go on',
  async (t) => {
    const dir = mkdtempSync(join(tmpdir(), 'shorthaul-lost-'))
    t.teardown(() => rmSync(dir, { recursive: true }))
    const server = createServer((request, response) => {
      if (request.url === '/v1/fetch') {
        response.writeHead(200)
        response.write(encodeFrame({ frame: 'accepted', id: 'a-fetch' }))
        response.write(encodeFrame({ frame: 'digest', lengthBytes: 10 }))
        return
      }
      const problem = { code: 'SHORTHAUL_USAGE', detail: 'Cannot take the digest: there is no such fetch', status: 400 }
      const isStatus = request.url === '/v1/status'
      response.writeHead(isStatus ? 200 : 400, { 'content-type': 'application/json' })
      response.end(JSON.stringify(isStatus ? {} : problem))
    })
    const path = join(dir, 'control.sock')
    await new Promise<void>((resolve) => server.listen(path, resolve))
    t.teardown(() => {
      server.close()
      server.closeAllConnections()
    })
    const client = await ControlClient.connect(path)
    if (client === null) throw new Error('nobody answers')
    t.teardown(() => client.close())
    const request = { url: 'http://origin.example/file' } as unknown as TransferRequest
    await t.rejects(client.fetch(request, delivery), { code: 'SHORTHAUL_CONTROL_IO' })
  },
)
