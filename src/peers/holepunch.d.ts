/** The parts of hyperdht 6, hyperswarm 4 and protomux 3 that peers/ uses; the packages ship no types. */

declare module 'hyperdht' {
  import type { EventEmitter } from 'node:events'

  interface DhtAddress {
    readonly host: string
    readonly port: number
  }
  interface DhtOptions {
    readonly bootstrap?: readonly (string | DhtAddress)[]
    /** Local address to bind. */
    readonly host?: string
    /** One port, or a half-open range of ports to try; [0, 0] is any. */
    readonly port?: number | readonly [number, number]
    readonly anyPort?: boolean
    readonly firewalled?: boolean
    readonly connectionKeepAlive?: number
    /** Entries of each of its caches: records, routes, and half as many values. Default: 65,536. */
    readonly maxSize?: number
  }
  /** What another node asks of ours. */
  interface DhtRequest {
    readonly command: number
    readonly from: DhtAddress
    readonly value: Buffer | null
  }
  class DHT extends EventEmitter {
    static bootstrapper(port: number, host: string, options?: DhtOptions): DHT
    constructor(options?: DhtOptions)
    readonly destroyed: boolean
    readonly io: { readonly networkInterfaces: { destroy(): void } }
    fullyBootstrapped(): Promise<void>
    address(): DhtAddress | null
    addNode(node: DhtAddress): void
    toArray(): DhtAddress[]
    /** `retry: false` sends one datagram and waits one second. */
    ping(node: DhtAddress, options?: { retry?: boolean }): Promise<unknown>
    /** Called for each request of others; false: answered as an unknown command. */
    onrequest(request: DhtRequest): boolean
    destroy(options?: { force?: boolean }): Promise<void>
  }
  export default DHT
  export type { DhtAddress, DhtOptions, DhtRequest }
}

declare module 'hyperswarm' {
  import type { EventEmitter } from 'node:events'
  import type { KeyPair } from 'hypercore-crypto'
  import type DHT from 'hyperdht'

  /** @hyperswarm/secret-stream over UDX: a streamx Duplex. */
  interface SwarmConnection extends EventEmitter {
    readonly isInitiator: boolean
    readonly publicKey: Buffer
    readonly remotePublicKey: Buffer
    readonly handshakeHash: Buffer | null
    readonly destroyed: boolean
    readonly destroying: boolean
    /** Below the encryption; emits 'data' with what came, of frames that are not whole too. */
    readonly rawStream: (EventEmitter & { readonly remoteHost: string | null; readonly remotePort: number }) | null
    userData: unknown
    alloc(lengthBytes: number): Buffer
    write(bytes: Uint8Array): boolean
    end(): void
    pause(): unknown
    resume(): unknown
    destroy(error?: Error): unknown
  }
  interface SwarmDiscovery {
    /** False when the query that it started failed; rejects when it joined a running one that failed. */
    refresh(): Promise<boolean | undefined>
    /** When the running query ends; false when it failed. */
    flushed(): Promise<boolean>
  }
  class Hyperswarm extends EventEmitter {
    constructor(options: { dht: DHT; keyPair: KeyPair; maxPeers?: number; maxParallel?: number })
    readonly server: { refresh(): void }
    readonly connections: ReadonlySet<SwarmConnection>
    join(topic: Buffer, options?: { server?: boolean; client?: boolean }): SwarmDiscovery
    leave(topic: Buffer): Promise<void>
    destroy(options?: { force?: boolean }): Promise<void>
    on(event: 'connection', listener: (connection: SwarmConnection) => void): this
    on(event: 'update', listener: () => void): this
  }
  export default Hyperswarm
  export type { SwarmConnection, SwarmDiscovery }
}

declare module 'protomux' {
  import type { EventEmitter } from 'node:events'

  interface CodecState {
    buffer: Uint8Array | null
    start: number
    end: number
  }
  interface Codec<T> {
    preencode(state: CodecState, value: T): void
    encode(state: CodecState, value: T): void
    decode(state: CodecState): T
  }
  /** What Protomux asks of the stream below it. */
  interface MuxStream extends EventEmitter {
    userData: unknown
    readonly destroyed: boolean
    alloc(lengthBytes: number): Uint8Array
    write(bytes: Uint8Array): boolean
    end(): void
    pause(): void
    resume(): void
    destroy(error?: Error): void
  }
  interface MuxMessage {
    /** False when the stream is not drained. */
    send(bytes: Uint8Array): boolean
  }
  interface Channel<Handshake> {
    readonly messages: readonly MuxMessage[]
    open(handshake: Handshake): void
  }
  class Protomux {
    constructor(stream: MuxStream)
    createChannel<Handshake>(options: {
      protocol: string
      handshake: Codec<Handshake>
      /** The default encoding is the bytes as they are; what is received aliases pooled memory. */
      messages: readonly { onmessage(bytes: Uint8Array): void }[]
      onopen(handshake: Handshake): void
      onclose?(isRemote: boolean): void
      ondrain?(): void
    }): Channel<Handshake> | null
  }
  export default Protomux
  export type { Channel, Codec, CodecState, MuxStream }
}
