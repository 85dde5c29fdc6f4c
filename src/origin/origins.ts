/**
 * The one origin that the rest of the program sees: chooses the transport by scheme, and checks URLs at the door.
 */
import type { Socket } from 'node:net'
import { fileURLToPath } from 'node:url'
import type { Logger } from 'pino'
import type { Clock } from '../clock.ts'
import { MAX_URL_BYTES } from '../content/resource.ts'
import { redactUrl, ShorthaulError } from '../errors.ts'
import type { DelayProbe } from '../throttle/delay-monitor.ts'
import type { Pacer } from '../throttle/pacer.ts'
import type { Priority } from '../throttle/priority.ts'
import { FileOrigin } from './file-origin.ts'
import { FirstThatAnswers, H2DelayProbe } from './h2-delay-probe.ts'
import { HttpConnections } from './http-connections.ts'
import { HttpDelayProbe } from './http-delay-probe.ts'
import { HttpOrigin } from './http-origin.ts'
import { loadNetrc } from './netrc.ts'
import type {
  OpenOptions,
  Origin,
  OriginDocument,
  OriginFacts,
  OriginRequest,
  OriginStream,
  ReadOptions,
} from './origin.ts'
import { parseProxyChoice } from './proxy.ts'

/** Every value comes from config/schema.ts; this module has no defaults. */
export interface OriginOptions {
  readonly userAgent: string
  /** Name resolution, TCP and TLS together. */
  readonly connectTimeoutMs: number
  /** From the request to the head of the answer. */
  readonly headersTimeoutMs: number
  /** Longest time without a byte of body, while the reader wants some. */
  readonly idleTimeoutMs: number
  readonly maxRedirects: number
  /** Certificates to trust besides the usual ones, PEM; null: none. */
  readonly caFile: string | null
  /** Offered to the https origin that a URL names, never to one that a redirect names. */
  readonly clientCert: { readonly certFile: string; readonly keyFile: string } | null
  /** Null: $NETRC or ~/.netrc when it exists. */
  readonly netrcFile: string | null
  /** For HTTP_PROXY, HTTPS_PROXY, NO_PROXY (both cases), NETRC and HOME; nothing here reads process.env. */
  readonly env: Readonly<Record<string, string | undefined>>
  readonly maxConnectionsPerOrigin: number
}

export interface OriginsComponents {
  readonly clock: Clock
  readonly log: Logger
  /** Told of each connection to an origin or a proxy when it is open. */
  readonly onSocket?: (socket: Socket) => void
  /** Null, or absent: nobody governs the WAN. */
  readonly wan?: OriginTrafficControl | null
}

/** What holds content back; wan-governor.ts is one. */
export interface OriginTrafficControl {
  /** Through what connections for work of this priority read; null: as fast as they can. */
  pacerOf(priority: Priority): Pacer | null
  /** Connections of this priority that are older, by the monotonic clock, are better left for new ones. Absent: none. */
  staleBeforeMs?(priority: Priority): number
  /** Content is had from an origin from now on, until the returned function is called. */
  enter(priority: Priority, url: string, proxy?: string): () => void
  /** Not of the WAN: it is neither asked for nor told of. Absent: all is of the WAN. */
  isNear?(hostname: string): boolean
}

export class Origins implements Origin {
  readonly #http: HttpOrigin
  readonly #file: FileOrigin
  readonly #openProbe: (url: string, proxy?: string) => DelayProbe

  private constructor(http: HttpOrigin, file: FileOrigin, openProbe: (url: string, proxy?: string) => DelayProbe) {
    this.#http = http
    this.#file = file
    this.#openProbe = openProbe
  }

  /** Reads certificates and netrc; connects to nobody yet. @throws SHORTHAUL_CONFIG_INVALID */
  static async open(components: OriginsComponents, options: OriginOptions): Promise<Origins> {
    const { clock, onSocket, wan } = components
    const log = components.log.child({ module: 'origin' })
    const netrc = await loadNetrc(options.netrcFile, { env: options.env, log })
    const connections = await HttpConnections.open({
      ...options,
      ...(onSocket ? { onSocket } : {}),
      clock,
      ...(wan
        ? {
            pacerOf: (priority) => wan.pacerOf(priority),
            staleBeforeMs: (priority) => wan.staleBeforeMs?.(priority) ?? Number.NEGATIVE_INFINITY,
            isNear: (host) => wan.isNear?.(host) ?? false,
          }
        : {}),
    })
    const enter = wan ? (...entered: Parameters<OriginTrafficControl['enter']>) => wan.enter(...entered) : undefined
    return new Origins(
      new HttpOrigin({ clock, log, connections, netrc, enter }, options),
      new FileOrigin({ clock }),
      (url, proxyText = 'auto') => {
        const proxy = parseProxyChoice(proxyText)
        const head = new HttpDelayProbe({ clock, connections }, { url, proxy, userAgent: options.userAgent })
        const tls = connections.directTls(new URL(url), proxy)
        return tls === null ? head : new FirstThatAnswers(new H2DelayProbe(new URL(url).origin, tls), head)
      },
    )
  }

  carriesCredentials(request: OriginRequest): boolean {
    const url = normaliseUrl(request.url)
    return this.#transport(url).carriesCredentials({ ...request, url })
  }

  async probe(request: OriginRequest, options: { readonly signal: AbortSignal }): Promise<OriginFacts> {
    const url = normaliseUrl(request.url)
    return this.#transport(url).probe({ ...request, url }, options)
  }

  async open(request: OriginRequest, options: OpenOptions): Promise<OriginStream> {
    const url = normaliseUrl(request.url)
    return this.#transport(url).open({ ...request, url }, options)
  }

  async read(request: OriginRequest, options: ReadOptions): Promise<OriginDocument> {
    const url = normaliseUrl(request.url)
    return this.#transport(url).read({ ...request, url }, options)
  }

  /** For the delay towards an http(s) URL that content is had from. @param proxy as in OriginRequest */
  delayProbe(url: string, proxy?: string): DelayProbe {
    return this.#openProbe(url, proxy)
  }

  /** Ends what runs: bodies that are being read fail with SHORTHAUL_ABORTED. Idempotent. */
  async close(): Promise<void> {
    await Promise.all([this.#http.close(), this.#file.close()])
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  #transport(url: string): Origin {
    return url.startsWith('file:') ? this.#file : this.#http
  }
}

/**
 * The form of a URL under which everything is named: absolute, as WHATWG writes it, without fragment. Keeps the query
 * and user information, so the result may be a secret.
 *
 * @throws SHORTHAUL_URL_INVALID when it cannot be parsed, is longer than MAX_URL_BYTES, or is not http, https or file
 */
export function normaliseUrl(text: string): string {
  if (Buffer.byteLength(text) > MAX_URL_BYTES) throw invalid('(long URL)', `it is longer than ${MAX_URL_BYTES} bytes`)
  // Nothing of the text is quoted: what cannot be parsed cannot be redacted.
  if (!URL.canParse(text)) throw invalid('(invalid URL)', 'expected an absolute URL')
  const url = new URL(text)
  url.hash = ''
  if (url.protocol === 'file:') {
    url.search = '' // a path has no query
    try {
      fileURLToPath(url)
    } catch (error) {
      throw invalid(redactUrl(url), 'it names no local path', error)
    }
  } else if (url.protocol !== 'http:' && url.protocol !== 'https:') {
    throw invalid(redactUrl(url), 'expected the scheme http, https or file')
  }
  // Percent-encoding may have made it longer.
  if (url.href.length > MAX_URL_BYTES) throw invalid(redactUrl(url), `it is longer than ${MAX_URL_BYTES} bytes`)
  return url.href
}

function invalid(url: string, found: string, cause?: unknown): ShorthaulError {
  return new ShorthaulError('SHORTHAUL_URL_INVALID', `Cannot use the URL "${url.slice(0, 200)}": ${found}`, { cause })
}
