/** Pairs of swarm connections in memory. */
import { EventEmitter } from 'node:events'
import crypto, { type KeyPair } from 'hypercore-crypto'
import type { SwarmConnection } from 'hyperswarm'

export class MemoryConnection extends EventEmitter implements SwarmConnection {
  readonly isInitiator: boolean
  readonly publicKey: Buffer
  readonly remotePublicKey: Buffer
  readonly handshakeHash: Buffer
  readonly rawStream: EventEmitter & { remoteHost: string; remotePort: number }
  userData: unknown = null
  destroyed = false
  destroying = false
  /** Frames that were written here, in order. */
  readonly written: Buffer[] = []
  /** When false, writes report a full buffer. */
  isDrained = true
  other: MemoryConnection | null = null

  constructor(options: { isInitiator: boolean; own: Buffer; remote: Buffer; hash: Buffer; host?: string }) {
    super()
    this.isInitiator = options.isInitiator
    this.publicKey = options.own
    this.remotePublicKey = options.remote
    this.handshakeHash = options.hash
    const remote = { remoteHost: options.host ?? '127.0.0.1', remotePort: 1 }
    this.rawStream = Object.assign(new EventEmitter(), remote)
  }

  alloc(lengthBytes: number): Buffer {
    return Buffer.allocUnsafe(lengthBytes)
  }

  write(bytes: Uint8Array): boolean {
    const frame = Buffer.from(bytes)
    this.written.push(frame)
    queueMicrotask(() => {
      if (this.other?.destroyed === false) this.other.emit('data', frame)
    })
    return this.isDrained
  }

  end(): void {
    this.destroy()
  }

  pause(): void {}

  resume(): void {}

  destroy(error?: Error): void {
    if (this.destroyed) return
    this.destroyed = true
    this.destroying = true
    queueMicrotask(() => {
      if (error) this.emit('error', error)
      this.emit('close')
      this.other?.destroy()
    })
  }
}

export function connectionPair(
  keyPairs: { initiator?: KeyPair; responder?: KeyPair; host?: string } = {},
): [initiator: MemoryConnection, responder: MemoryConnection] {
  const a = (keyPairs.initiator ?? crypto.keyPair()).publicKey
  const b = (keyPairs.responder ?? crypto.keyPair()).publicKey
  const hash = crypto.randomBytes(64)
  const { host = '127.0.0.1' } = keyPairs
  const initiator = new MemoryConnection({ isInitiator: true, own: a, remote: b, hash, host })
  const responder = new MemoryConnection({ isInitiator: false, own: b, remote: a, hash, host })
  initiator.other = responder
  responder.other = initiator
  return [initiator, responder]
}
