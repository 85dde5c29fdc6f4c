/** A proxy on 127.0.0.1 that tunnels every CONNECT to one place, whatever it asks for, and remembers what it was asked. */
import { createServer, type IncomingMessage } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'

export class TestProxy {
  readonly port: number
  /** Every CONNECT. */
  readonly asked: IncomingMessage[] = []
  /** The next CONNECTs are answered so; a tunnel only comes of `200 OK`. */
  status = '200 OK'
  readonly #server: ReturnType<typeof createServer>
  readonly #sockets: ReadonlySet<Socket>

  private constructor(server: ReturnType<typeof createServer>, sockets: Set<Socket>, upstreamPort: number) {
    this.#server = server
    this.#sockets = sockets
    this.port = (server.address() as AddressInfo).port
    server.on('connect', (request: IncomingMessage, socket: Socket) => {
      this.asked.push(request)
      sockets.add(socket.on('error', () => {}))
      socket.write(`HTTP/1.1 ${this.status}\r\n\r\n`)
      if (this.status !== '200 OK') {
        socket.end()
        return
      }
      const upstream = connect(upstreamPort, '127.0.0.1')
      sockets.add(upstream.on('error', () => {}))
      socket.on('data', (chunk: Buffer) => upstream.write(chunk)).on('close', () => upstream.destroy())
      upstream.on('data', (chunk: Buffer) => socket.write(chunk)).on('close', () => socket.destroy())
    })
  }

  /** @param upstream the URL of the server that all tunnels lead to */
  static async start(upstream: string): Promise<TestProxy> {
    const server = createServer()
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(0, '127.0.0.1', resolve)
    })
    return new TestProxy(server, new Set(), Number(new URL(upstream).port))
  }

  /** @param login `user:password` */
  url(login?: string): string {
    return `http://${login === undefined ? '' : `${login}@`}127.0.0.1:${this.port}`
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    await new Promise((resolve) => this.#server.close(resolve))
  }
}
