/**
 * The small question of a delay probe for an https origin that speaks HTTP/2: PING, which no log sees and no application
 * answers. Bulk stays on HTTP/1.1 (http-connections.ts says why); only the probe's own connection is HTTP/2.
 */
import { type ClientHttp2Session, connect } from 'node:http2'
import type { ConnectionOptions } from 'node:tls'
import { abortError } from '../errors.ts'
import type { DelayProbe, ProbeAnswer } from '../throttle/delay-monitor.ts'

export class H2DelayProbe implements DelayProbe {
  readonly #origin: string
  readonly #tls: ConnectionOptions
  #session: ClientHttp2Session | null = null

  constructor(origin: string, tls: ConnectionOptions) {
    this.#origin = origin
    this.#tls = tls
  }

  /** @throws also when the origin does not speak HTTP/2 */
  async roundTrip({ signal }: { readonly signal: AbortSignal }): Promise<ProbeAnswer> {
    const answer = this.#session === null ? 'with-connection' : 'round-trip'
    const session = this.#session ?? (await this.#connect(signal))
    await new Promise<void>((resolve, reject) => {
      const onAbort = () => {
        // Its answer would be taken for that of the next question.
        session.destroy()
        reject(abortError(signal))
      }
      signal.addEventListener('abort', onAbort, { once: true })
      session.ping((error) => {
        signal.removeEventListener('abort', onAbort)
        if (error) reject(error)
        else resolve()
      })
    })
    return answer
  }

  async close(): Promise<void> {
    this.#session?.destroy()
    this.#session = null
  }

  async #connect(signal: AbortSignal): Promise<ClientHttp2Session> {
    const session = connect(this.#origin, { ...this.#tls, ALPNProtocols: ['h2'] })
    session.on('error', () => {}) // 'close' follows; who waits hears of it by its own callback
    session.once('close', () => {
      if (this.#session === session) this.#session = null
    })
    session.unref()
    await new Promise<void>((resolve, reject) => {
      const onAbort = () => {
        session.destroy()
        reject(abortError(signal))
      }
      signal.addEventListener('abort', onAbort, { once: true })
      session.once('connect', () => {
        signal.removeEventListener('abort', onAbort)
        resolve()
      })
      session.once('error', reject)
      session.once('close', () => reject(new Error('The connection of the probe was closed')))
    })
    this.#session = session
    return session
  }
}

/** The better probe where it works, else the other, and from then on only that. */
export class FirstThatAnswers implements DelayProbe {
  readonly #fallback: DelayProbe
  #first: DelayProbe | null

  constructor(first: DelayProbe, fallback: DelayProbe) {
    this.#first = first
    this.#fallback = fallback
  }

  async roundTrip(options: { readonly signal: AbortSignal }): Promise<ProbeAnswer> {
    const first = this.#first
    if (first === null) return this.#fallback.roundTrip(options)
    try {
      return await first.roundTrip(options)
    } catch (error) {
      if (options.signal.aborted) throw error
      this.#first = null
      await first.close()
      // This one round trip would tell of two: it is not measured, the next one is.
      throw error
    }
  }

  async close(): Promise<void> {
    await Promise.all([this.#first?.close(), this.#fallback.close()])
  }
}
