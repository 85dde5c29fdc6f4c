/** The demo's origin: a plain HTTP server with ETag and Range, and an honest count of the content that it sent. */
import { createHash, randomBytes } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface DemoOrigin {
  readonly url: string
  readonly sha256: string
  /** Bytes of content written so far, over all requests. */
  sentBytes(): number
  close(): Promise<void>
}

export async function startDemoOrigin(lengthBytes: number): Promise<DemoOrigin> {
  const content = randomBytes(lengthBytes)
  const etag = `"${createHash('sha256').update(content).digest('hex').slice(0, 16)}"`
  let sentBytes = 0
  const server = createServer((request, response) => {
    const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '')
    const start = range?.[1] ? Number(range[1]) : 0
    const end = range?.[2] ? Math.min(Number(range[2]) + 1, lengthBytes) : lengthBytes
    response.writeHead(range ? 206 : 200, {
      etag,
      'accept-ranges': 'bytes',
      'content-length': end - start,
      'content-type': 'application/octet-stream',
      ...(range ? { 'content-range': `bytes ${start}-${end - 1}/${lengthBytes}` } : {}),
    })
    if (request.method === 'HEAD') {
      response.end()
      return
    }
    // What was buffered for the socket but never left it did not cross the line. The head counts too: some 200 bytes.
    const { socket } = request
    const before = socket.bytesWritten
    response.on('close', () => {
      sentBytes += Math.min(end - start, socket.bytesWritten - before)
    })
    response.end(content.subarray(start, end))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}/update-64MiB.bin`,
    sha256: createHash('sha256').update(content).digest('hex'),
    sentBytes: () => sentBytes,
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections()
        server.close(() => resolve())
      }),
  }
}
