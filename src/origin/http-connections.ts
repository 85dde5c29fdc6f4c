/**
 * The pools of connections to origins: direct, through a proxy, with and without the client certificate.
 *
 * Does not retry and does not follow redirects. HTTP/1.1 only: one HTTP/2 connection with its small windows is slower
 * for bulk than a few HTTP/1.1 ones (facts of undici 7, where allowH2 is off by default too).
 */
import { readFile } from 'node:fs/promises'
import type { Socket } from 'node:net'
import { rootCertificates } from 'node:tls'
import { Agent, buildConnector, type Dispatcher, Pool, ProxyAgent } from 'undici'
import { ShorthaulError, systemCode } from '../errors.ts'
import { type Environment, type ProxyRules, type ProxyServer, parseProxyRules, proxyFor } from './proxy.ts'

export interface ConnectionOptions {
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
}

/** Where to hand a request for a URL. */
export interface Route {
  readonly dispatcher: Dispatcher
  readonly origin: string
  /** The request target: a path, or the whole URL for a proxy that is spoken to in plain http. */
  readonly target: string
  readonly fields: Readonly<Record<string, string>>
}

interface TlsOptions {
  readonly ca?: readonly string[]
  readonly cert?: string
  readonly key?: string
}

export class HttpConnections {
  readonly #options: ConnectionOptions
  readonly #rules: ProxyRules
  readonly #tls: TlsOptions
  readonly #clientCert: TlsOptions | null
  /** At most four: with or without the client certificate, direct or through the https proxy. */
  readonly #dispatchers = new Map<string, Dispatcher>()

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
    return new HttpConnections(options, tls, cert)
  }

  get hasClientCert(): boolean {
    return this.#clientCert !== null
  }

  /** @param options.offerClientCert false for an origin that only a redirect named */
  route(url: URL, options: { readonly offerClientCert: boolean }): Route {
    const proxy = proxyFor(this.#rules, url)
    const isTls = url.protocol === 'https:'
    const withCert = isTls && options.offerClientCert && this.#clientCert !== null
    const path = `${url.pathname}${url.search}`
    if (proxy === null) {
      return { dispatcher: this.#direct(withCert), origin: url.origin, target: path, fields: {} }
    }
    if (isTls) return { dispatcher: this.#tunnel(proxy, withCert), origin: url.origin, target: path, fields: {} }
    // Plain http: the absolute form (RFC 9112 §3.2.2) to the proxy itself. undici's ProxyAgent can do it too, but hides
    // a 407 behind an error without a code.
    const fields = {
      host: url.host,
      ...(proxy.authorization === null ? {} : { 'proxy-authorization': proxy.authorization }),
    }
    return { dispatcher: this.#direct(false), origin: proxy.origin, target: `${url.origin}${path}`, fields }
  }

  /** Ends every connection at once: requests that run fail with SHORTHAUL_ABORTED. Idempotent. */
  async close(): Promise<void> {
    await Promise.all([...this.#dispatchers.values()].map((dispatcher) => dispatcher.destroy()))
  }

  #direct(withCert: boolean): Dispatcher {
    return this.#cached(
      `direct ${withCert}`,
      () => new Agent({ ...this.#poolOptions(), connect: this.#connector(withCert) }),
    )
  }

  #tunnel(proxy: ProxyServer, withCert: boolean): Dispatcher {
    return this.#cached(
      `tunnel ${withCert}`,
      () =>
        new ProxyAgent({
          ...this.#poolOptions(),
          uri: proxy.origin,
          ...(proxy.authorization === null ? {} : { token: proxy.authorization }),
          requestTls: this.#connect(withCert),
          proxyTls: this.#connect(false),
          // The pool that carries CONNECT: its own default would wait 300 s for the proxy's answer. The connection that is
          // counted is this one, below the origin's TLS.
          clientFactory: (origin, options) =>
            new Pool(origin, { ...options, ...this.#poolOptions(), connect: this.#connector(false) }),
        }),
    )
  }

  #poolOptions() {
    const { headersTimeoutMs, idleTimeoutMs, maxConnectionsPerOrigin } = this.#options
    return {
      connections: maxConnectionsPerOrigin,
      pipelining: 1,
      headersTimeout: headersTimeoutMs,
      bodyTimeout: idleTimeoutMs,
    }
  }

  #connect(withCert: boolean): { timeout: number; ca?: string[]; cert?: string; key?: string } {
    const { ca, ...rest } = { ...this.#tls, ...(withCert ? this.#clientCert : null) }
    return { timeout: this.#options.connectTimeoutMs, ...rest, ...(ca === undefined ? {} : { ca: [...ca] }) }
  }

  #connector(withCert: boolean): buildConnector.connector {
    const { onSocket } = this.#options
    const connect = buildConnector(this.#connect(withCert))
    if (!onSocket) return connect
    return (options, callback) => {
      connect(options, (...result) => {
        if (result[1]) onSocket(result[1])
        callback(...result)
      })
    }
  }

  #cached(key: string, make: () => Dispatcher): Dispatcher {
    const known = this.#dispatchers.get(key)
    if (known) return known
    const dispatcher = make()
    this.#dispatchers.set(key, dispatcher)
    return dispatcher
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
