/**
 * The pools of connections to origins: direct, through each proxy, with and without the client certificate.
 *
 * Does not retry and does not follow redirects. HTTP/1.1 only: one HTTP/2 connection with its small windows is slower
 * for bulk than a few HTTP/1.1 ones (facts of undici 7, where allowH2 is off by default too).
 */
import { readFile } from 'node:fs/promises'
import type { Socket } from 'node:net'
import { createSecureContext, rootCertificates } from 'node:tls'
import { Agent, buildConnector, type Dispatcher, errors, Pool, ProxyAgent } from 'undici'
import type { Clock } from '../clock.ts'
import { ShorthaulError, systemCode } from '../errors.ts'
import type { Pacer } from '../throttle/pacer.ts'
import type { Priority } from '../throttle/priority.ts'
import { PacedSocket } from './paced-socket.ts'
import {
  type Environment,
  type ProxyChoice,
  type ProxyRules,
  type ProxyServer,
  parseProxyRules,
  proxyFor,
} from './proxy.ts'

export interface ConnectionOptions {
  readonly clock: Clock
  readonly connectTimeoutMs: number
  readonly headersTimeoutMs: number
  readonly idleTimeoutMs: number
  readonly maxConnectionsPerOrigin: number
  /** Certificates to trust besides the usual ones, PEM. */
  readonly caFile: string | null
  readonly clientCert: { readonly certFile: string; readonly keyFile: string } | null
  readonly env: Environment
  /** Told of each connection when it is open: for the accounts of our own traffic. */
  readonly onSocket?: (socket: Socket) => void
  /** Through what connections for work of this priority read; null, or absent: as fast as they can. */
  readonly pacerOf?: (priority: Priority) => Pacer | null
  /** Requests of this priority go to no pool that is older, by the monotonic clock; absent: however old. */
  readonly staleBeforeMs?: (priority: Priority) => number
  /** Reached without the WAN: nothing of it is paced or counted. Absent: none is. */
  readonly isNear?: (hostname: string) => boolean
}

/** Which pool a request goes to: one for each priority, and one of its own for questions that must not wait. */
export type Traffic = Priority | 'questions'

/** Where to hand a request for a URL. */
export interface Route {
  readonly dispatcher: Dispatcher
  readonly origin: string
  /** The request target: a path, or the whole URL for a proxy that is spoken to in plain http. */
  readonly target: string
  readonly fields: Readonly<Record<string, string>>
}

/** Requests may name proxies; beyond this the pool that was used longest ago is closed when its requests have ended. */
const MAX_TUNNELS = 32

interface TlsOptions {
  readonly ca?: readonly string[]
  readonly cert?: string
  readonly key?: string
}

/** Those to all origins for one kind of traffic, direct or through one proxy. */
interface Pools {
  readonly dispatcher: Dispatcher
  readonly openedAtMs: number
}

export class HttpConnections {
  readonly #options: ConnectionOptions
  readonly #rules: ProxyRules
  readonly #tls: TlsOptions
  readonly #clientCert: TlsOptions | null
  /** For each kind of traffic at most two: with or without the client certificate. Within them, a pool for each origin. */
  readonly #direct = new Map<string, Pools>()
  /** The same for each proxy with its login, for https; the one used longest ago comes first. */
  readonly #tunnels = new Map<string, Pools>()
  #unpacedCount = 0
  /** All but those to what is near. */
  readonly #sockets = new Set<Socket>()
  /** Those that close when what runs in them has ended. */
  readonly #retired = new Set<Dispatcher>()

  private constructor(options: ConnectionOptions, tls: TlsOptions, clientCert: TlsOptions | null) {
    this.#options = options
    this.#rules = parseProxyRules(options.env)
    this.#tls = tls
    this.#clientCert = clientCert
  }

  /** Reads the certificates; connects to nobody yet. @throws SHORTHAUL_CONFIG_INVALID */
  static async open(options: ConnectionOptions): Promise<HttpConnections> {
    const { caFile, clientCert } = options
    // `ca` replaces Node's roots, and a private CA is meant to come on top. (NODE_EXTRA_CA_CERTS is then not read.)
    const tls: TlsOptions = caFile === null ? {} : { ca: [...rootCertificates, await readPem('the CA file', caFile)] }
    const cert = clientCert && {
      cert: await readPem('the client certificate', clientCert.certFile),
      key: await readPem('the key of the client certificate', clientCert.keyFile),
    }
    if (clientCert && cert) checkClientCert(clientCert.certFile, cert)
    return new HttpConnections(options, tls, cert)
  }

  /** For a connection of one's own to the origin of this URL; null: not https, or through a proxy. */
  directTls(url: URL, proxy: ProxyChoice): { readonly ca?: string[] } | null {
    if (url.protocol !== 'https:' || proxyFor(this.#rules, url, proxy) !== null) return null
    return this.#tls.ca === undefined ? {} : { ca: [...this.#tls.ca] }
  }

  /** Whether it is reached without the WAN. */
  isNear(url: URL, proxy?: ProxyChoice | undefined): boolean {
    return this.#options.isNear?.(url.hostname) === true && proxyFor(this.#rules, url, proxy) === null
  }

  /** Connections that read as fast as they can, of questions too, since the beginning; those to what is near are left out. */
  get unpacedCount(): number {
    return this.#unpacedCount
  }

  get hasClientCert(): boolean {
    return this.#clientCert !== null
  }

  /** @param options.offerClientCert false for an origin that only a redirect named */
  route(
    url: URL,
    options: { readonly offerClientCert: boolean; readonly traffic: Traffic; readonly proxy?: ProxyChoice },
  ): Route {
    const { traffic } = options
    const proxy = proxyFor(this.#rules, url, options.proxy)
    const isTls = url.protocol === 'https:'
    const withCert = isTls && options.offerClientCert && this.#clientCert !== null
    const path = `${url.pathname}${url.search}`
    if (proxy === null) {
      const dispatcher = this.#options.isNear?.(url.hostname) ? this.#near(withCert) : this.#directly(withCert, traffic)
      return { dispatcher, origin: url.origin, target: path, fields: {} }
    }
    if (isTls)
      return { dispatcher: this.#tunnel(proxy, withCert, traffic), origin: url.origin, target: path, fields: {} }
    // Plain http: the absolute form (RFC 9112 §3.2.2) to the proxy itself. undici's ProxyAgent can do it too, but hides
    // a 407 behind an error without a code.
    const fields = {
      host: url.host,
      ...(proxy.authorization === null ? {} : { 'proxy-authorization': proxy.authorization }),
    }
    return { dispatcher: this.#directly(false, traffic), origin: proxy.origin, target: `${url.origin}${path}`, fields }
  }

  /** Ends every connection at once: requests that run fail with SHORTHAUL_ABORTED. Idempotent. */
  async close(): Promise<void> {
    const open = [...this.#direct.values(), ...this.#tunnels.values()].map(({ dispatcher }) => dispatcher)
    await Promise.all([...open, ...this.#retired].map((dispatcher) => dispatcher.destroy()))
    // A dispatcher that closes has forgotten those that still carry something.
    for (const socket of this.#sockets) socket.destroy(new errors.ClientDestroyedError())
  }

  /** As fast as it goes, and not seen by the accounts: bytes that never leave this machine are nobody's. */
  #near(withCert: boolean): Dispatcher {
    const make = () => new Agent({ ...this.#poolOptions(null), connect: this.#connect(withCert) })
    return this.#take(this.#direct, { key: `near ${withCert}`, traffic: 'questions' }, make)
  }

  #directly(withCert: boolean, traffic: Traffic): Dispatcher {
    const pacer = this.#pacer(traffic)
    const key = `${withCert} ${pacer === null ? '' : traffic}`
    const make = () => new Agent({ ...this.#poolOptions(pacer), connect: this.#connector(withCert, pacer) })
    return this.#take(this.#direct, { key, traffic }, make)
  }

  #tunnel(proxy: ProxyServer, withCert: boolean, traffic: Traffic): Dispatcher {
    const pacer = this.#pacer(traffic)
    const { origin, authorization } = proxy
    const key = `${origin} ${authorization ?? ''} ${withCert} ${pacer === null ? '' : traffic}`
    const tunnel = this.#take(this.#tunnels, { key, traffic }, () => this.#newTunnel(proxy, withCert, pacer))
    this.#retireTunnels()
    return tunnel
  }

  #newTunnel({ origin, authorization }: ProxyServer, withCert: boolean, pacer: Pacer | null): Dispatcher {
    return new ProxyAgent({
      ...this.#poolOptions(pacer),
      uri: origin,
      ...(authorization === null ? {} : { token: authorization }),
      requestTls: this.#connect(withCert),
      proxyTls: this.#connect(false),
      // The pool that carries CONNECT: its own default would wait 300 s for the proxy's answer. The connection that is
      // counted is this one, below the origin's TLS.
      clientFactory: (target, options) =>
        new Pool(target, { ...options, ...this.#poolOptions(pacer), connect: this.#connector(false, pacer) }),
    })
  }

  /** Those of this key, which are then the ones used last; new ones where there are none, or stale ones. */
  #take(from: Map<string, Pools>, of: { key: string; traffic: Traffic }, make: () => Dispatcher): Dispatcher {
    const { key, traffic } = of
    const known = from.get(key)
    const staleBeforeMs = traffic === 'questions' ? undefined : this.#options.staleBeforeMs?.(traffic)
    const isStale = known !== undefined && staleBeforeMs !== undefined && known.openedAtMs < staleBeforeMs
    if (isStale) this.#retire(known)
    const pools =
      known === undefined || isStale ? { dispatcher: make(), openedAtMs: this.#options.clock.monotonicMs() } : known
    from.delete(key)
    from.set(key, pools)
    return pools.dispatcher
  }

  #retireTunnels(): void {
    for (const [key, tunnel] of this.#tunnels) {
      if (this.#tunnels.size <= MAX_TUNNELS) return
      this.#tunnels.delete(key)
      this.#retire(tunnel)
    }
  }

  #retire({ dispatcher }: Pools): void {
    this.#retired.add(dispatcher)
    dispatcher
      .close()
      .catch(() => {}) // destroyed meanwhile
      .finally(() => this.#retired.delete(dispatcher))
  }

  #poolOptions(pacer: Pacer | null) {
    const { headersTimeoutMs, idleTimeoutMs, maxConnectionsPerOrigin } = this.#options
    return {
      connections: maxConnectionsPerOrigin,
      pipelining: 1,
      headersTimeout: headersTimeoutMs,
      // Who is paced waits for its turn too: there the connection itself keeps the time.
      bodyTimeout: pacer === null ? idleTimeoutMs : 0,
    }
  }

  #connect(withCert: boolean): { timeout: number; ca?: string[]; cert?: string; key?: string } {
    const { ca, ...rest } = { ...this.#tls, ...(withCert ? this.#clientCert : null) }
    return { timeout: this.#options.connectTimeoutMs, ...rest, ...(ca === undefined ? {} : { ca: [...ca] }) }
  }

  #pacer(traffic: Traffic): Pacer | null {
    return traffic === 'questions' ? null : (this.#options.pacerOf?.(traffic) ?? null)
  }

  #connector(withCert: boolean, pacer: Pacer | null): buildConnector.connector {
    const onSocket = (socket: Socket) => {
      if (pacer === null) this.#unpacedCount++
      this.#sockets.add(socket)
      socket.once('close', () => this.#sockets.delete(socket))
      this.#options.onSocket?.(socket)
    }
    const connect = buildConnector(this.#connect(withCert))
    if (pacer !== null) return pacedConnector(connect, { ...this.#options, pacer, onSocket })
    return (options, callback) => {
      connect(options, (...result) => {
        if (result[1]) onSocket(result[1])
        callback(...result)
      })
    }
  }
}

/** Like `connect`, over connections that read through the pacer. */
function pacedConnector(
  connect: buildConnector.connector,
  options: Pick<ConnectionOptions, 'connectTimeoutMs' | 'idleTimeoutMs'> & {
    readonly pacer: Pacer
    readonly onSocket: (socket: Socket) => void
  },
): buildConnector.connector {
  const { pacer, connectTimeoutMs, idleTimeoutMs, onSocket } = options
  return (target, callback) => {
    const isTls = target.protocol === 'https:'
    const port = Number(target.port) || (isTls ? 443 : 80)
    const socket = new PacedSocket(pacer, { host: target.hostname, port, idleTimeoutMs })
    const timer = setTimeout(() => socket.destroy(new errors.ConnectTimeoutError()), connectTimeoutMs)
    const onError = (error: Error) => {
      clearTimeout(timer)
      callback(error, null)
    }
    socket.once('error', onError)
    socket.once('connect', () => {
      clearTimeout(timer)
      socket.removeListener('error', onError)
      onSocket(socket.raw)
      // It has what undici and tls use of a socket.
      const httpSocket = socket as unknown as Socket
      if (!isTls) {
        callback(null, httpSocket)
        return
      }
      try {
        connect({ ...target, httpSocket }, callback)
      } catch (error) {
        // TLS that cannot be set up is thrown, and undici does not look into a listener.
        socket.on('error', () => {}).destroy()
        callback(error as Error, null)
      }
    })
  }
}

/** @throws SHORTHAUL_CONFIG_INVALID when TLS cannot use it */
function checkClientCert(certFile: string, cert: { readonly cert: string; readonly key: string }): void {
  try {
    createSecureContext(cert)
  } catch (cause) {
    throw new ShorthaulError(
      'SHORTHAUL_CONFIG_INVALID',
      `Cannot use the client certificate "${certFile}" with its key: ${(cause as Error).message}`,
      { cause, details: { path: certFile } },
    )
  }
}

async function readPem(what: string, path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    const system = systemCode(error) ?? String(error)
    throw new ShorthaulError('SHORTHAUL_CONFIG_INVALID', `Cannot read ${what} "${path}": ${system}`, {
      cause: error,
      details: { path, system },
    })
  }
}
