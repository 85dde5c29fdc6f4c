/**
 * The small question of a delay probe, for any HTTP origin: HEAD, on a connection of its own, as anybody would ask it. Its
 * status does not matter, only when it comes.
 */
import type { Clock } from '../clock.ts'
import type { DelayProbe, ProbeAnswer } from '../throttle/delay-monitor.ts'
import type { HttpConnections } from './http-connections.ts'
import { sendRequest } from './http-request.ts'
import type { ProxyChoice } from './proxy.ts'

const HEADERS_TIMEOUT_MS = 2000

export class HttpDelayProbe implements DelayProbe {
  readonly #components: { readonly clock: Clock; readonly connections: HttpConnections }
  readonly #url: URL
  readonly #userAgent: string
  readonly #proxy: ProxyChoice

  /** @param options.url of what is being fetched, where the answer is cheap; without what identifies the user */
  constructor(
    components: { readonly clock: Clock; readonly connections: HttpConnections },
    options: { readonly url: string; readonly userAgent: string; readonly proxy: ProxyChoice },
  ) {
    this.#components = components
    this.#url = new URL(options.url)
    this.#url.username = ''
    this.#url.password = ''
    this.#userAgent = options.userAgent
    this.#proxy = options.proxy
  }

  async roundTrip({ signal }: { readonly signal: AbortSignal }): Promise<ProbeAnswer> {
    const { clock, connections } = this.#components
    const { unpacedCount } = connections
    const { body } = await sendRequest(
      connections.route(this.#url, { offerClientCert: false, traffic: 'questions', proxy: this.#proxy }),
      {
        url: this.#url,
        method: 'HEAD',
        // A cache on the way would answer from this side of the line.
        fields: { 'user-agent': this.#userAgent, 'cache-control': 'no-cache' },
        headersTimeoutMs: HEADERS_TIMEOUT_MS,
        signal,
      },
      clock,
    )
    await body.discard()
    // Where somebody else's was opened meanwhile, a sample is lost.
    return connections.unpacedCount === unpacedCount ? 'round-trip' : 'with-connection'
  }

  /** Its connection is the pool's. */
  async close(): Promise<void> {}
}
