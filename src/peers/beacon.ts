/**
 * The beacon's socket: says on the local network that a member listens here, and hears others say so.
 *
 * UDP multicast to 239.255.77.36 (site-local scope, RFC 2365 §6.1), TTL 1: it does not leave the network segment.
 * Several agents on one host share the port; the socket is bound to 0.0.0.0, because one bound to a unicast address is
 * deaf to multicast. Where multicast is blocked nothing fails: static peers serve there.
 *
 * Does not connect to anybody: what it hears goes to `onHeard`.
 */
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram'
import { once } from 'node:events'
import type { Logger } from 'pino'
import type { Clock, Random } from '../clock.ts'
import { systemCode } from '../errors.ts'
import { BeaconBook, FIRST_DELAYS_MS, type HeardAgent } from './beacon-book.ts'
import { type Beacon, decodeBeacon, encodeBeacon } from './beacon-codec.ts'

export const BEACON_GROUP = '239.255.77.36'
/** Whoever asks in a loop gets no more than 10 answers a second from one agent. */
const MIN_ANSWER_GAP_MS = 100

export interface BeaconOptions {
  readonly address: string
  readonly port: number
  readonly bootstrapPort: number
  /** Of the secrets in force, newest first: it speaks under each, and hears each. */
  readonly beaconKeys: readonly Buffer[]
  readonly instance: Buffer
  /** The first sequence number; one run counts on across restarts of its sockets. */
  readonly firstSequence: number
  readonly onHeard: (agent: HeardAgent) => void
}

export class BeaconSender {
  readonly #clock: Clock
  readonly #random: Random
  readonly #log: Logger
  readonly #options: BeaconOptions
  readonly #socket: Socket
  readonly #stop = new AbortController()
  readonly book = new BeaconBook()
  #beaconKeys: readonly Buffer[]
  #sequence: number
  #sentCount = 0
  #heardCount = 0
  #strangerCount = 0
  #lastHeardAtMs: number | null = null
  #hasHeardOwn = false
  #isAnswering = false
  #answeredAtMs = Number.NEGATIVE_INFINITY
  #running: Promise<void> = Promise.resolve()

  private constructor(
    components: { clock: Clock; random: Random; log: Logger; socket: Socket },
    options: BeaconOptions,
  ) {
    this.#clock = components.clock
    this.#random = components.random
    this.#log = components.log
    this.#socket = components.socket
    this.#options = options
    this.#beaconKeys = options.beaconKeys
    this.#sequence = options.firstSequence
    this.#socket.on('message', (bytes, from) => this.#onDatagram(bytes, from))
    this.#socket.on('error', (error) => this.#log.debug({ err: error }, 'beacon socket failed'))
  }

  /** @returns null when this interface does not do multicast, which is logged */
  static async open(
    components: { clock: Clock; random: Random; log: Logger },
    options: BeaconOptions,
  ): Promise<BeaconSender | null> {
    const socket = createSocket({ type: 'udp4', reuseAddr: true })
    try {
      socket.bind({ port: options.port, address: '0.0.0.0' })
      await once(socket, 'listening')
      // Per interface: without a default route the kernel would not know where a group is.
      socket.setMulticastInterface(options.address)
      socket.addMembership(BEACON_GROUP, options.address)
      socket.setMulticastTTL(1)
      socket.setMulticastLoopback(true)
    } catch (error) {
      socket.close()
      const fields = { system: systemCode(error), address: options.address, port: options.port }
      components.log.warn(fields, 'no beacon: multicast cannot be used here')
      return null
    }
    const sender = new BeaconSender({ ...components, socket }, options)
    sender.#running = sender.#run().catch(() => {}) // ends by the abort of close()
    return sender
  }

  get sequence(): number {
    return this.#sequence
  }

  stats(): { sent: number; heard: number; strangers: number; lastHeardMsAgo: number | null; heardOwn: boolean } {
    return {
      sent: this.#sentCount,
      heard: this.#heardCount,
      strangers: this.#strangerCount,
      lastHeardMsAgo: this.#lastHeardAtMs === null ? null : this.#clock.monotonicMs() - this.#lastHeardAtMs,
      heardOwn: this.#hasHeardOwn,
    }
  }

  setKeys(beaconKeys: readonly Buffer[]): void {
    this.#beaconKeys = beaconKeys
  }

  /** Sends one now. @param wantsAnswer asks those who hear it to send theirs */
  send(wantsAnswer: boolean): void {
    if (this.#stop.signal.aborted) return
    const { address, bootstrapPort, instance, port } = this.#options
    // One sequence for all: who understands more than one of them takes the others for replays.
    const sequence = ++this.#sequence
    for (const beaconKey of this.#beaconKeys) {
      const bytes = encodeBeacon(beaconKey, { address, bootstrapPort, instance, sequence, wantsAnswer })
      this.#socket.send(bytes, port, BEACON_GROUP, (error) => {
        if (error === null) this.#sentCount++
        else this.#log.debug({ err: error }, 'beacon not sent')
      })
    }
  }

  /** Idempotent. */
  async close(): Promise<void> {
    if (this.#stop.signal.aborted) return
    this.#stop.abort()
    await this.#running
    await new Promise<void>((resolve) => this.#socket.close(() => resolve()))
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop
    let sinceStartMs = 0
    for (const atMs of FIRST_DELAYS_MS) {
      if (atMs > sinceStartMs) await this.#clock.sleep(atMs - sinceStartMs, { signal })
      sinceStartMs = atMs
      this.send(true)
    }
    for (;;) {
      await this.#clock.sleep(this.book.nextIntervalMs(this.#random), { signal })
      // Alone, it goes on asking: perhaps nobody heard it so far.
      this.send(this.book.agents(this.#clock.monotonicMs()).length === 0)
    }
  }

  #onDatagram(bytes: Buffer, from: RemoteInfo): void {
    const beacon = this.#decode(bytes)
    if (beacon === null || beacon.address !== from.address) {
      this.#strangerCount++
      return
    }
    if (beacon.instance.equals(this.#options.instance)) {
      this.#hasHeardOwn = true
      return
    }
    const nowMs = this.#clock.monotonicMs()
    const news = this.book.hear(beacon, nowMs)
    if (news === 'replay') return
    this.#heardCount++
    this.#lastHeardAtMs = nowMs
    if (beacon.wantsAnswer) this.#answerLater(nowMs)
    if (news === 'new') {
      const { address, bootstrapPort: port } = beacon
      this.#options.onHeard({ instance: beacon.instance.toString('hex'), address, port })
    }
  }

  #decode(bytes: Buffer): Beacon | null {
    for (const beaconKey of this.#beaconKeys) {
      const beacon = decodeBeacon(beaconKey, bytes)
      if (beacon !== null) return beacon
    }
    return null
  }

  #answerLater(nowMs: number): void {
    if (this.#isAnswering || nowMs - this.#answeredAtMs < MIN_ANSWER_GAP_MS) return
    const delayMs = this.book.answerDelayMs(this.#random)
    if (delayMs === null) return
    this.#isAnswering = true
    this.#clock.sleep(delayMs, { signal: this.#stop.signal }).then(
      () => {
        this.#isAnswering = false
        this.#answeredAtMs = this.#clock.monotonicMs()
        this.send(false)
      },
      () => {}, // closed
    )
  }
}
