/**
 * One request along its redirects, to the first answer that is not a redirect. Keeps what the chain says about privacy:
 * one personal hop makes the whole answer personal.
 */
import type { Clock } from '../clock.ts'
import { redactUrl } from '../errors.ts'
import type { HttpConnections, Traffic } from './http-connections.ts'
import { type HttpResponse, sendRequest } from './http-request.ts'
import { Netrc } from './netrc.ts'
import type { ProxyChoice } from './proxy.ts'
import { isRedirect, redirectTarget } from './redirects.ts'
import { fieldsForHop, type UserFields } from './request-fields.ts'
import { s3Fields } from './s3.ts'
import { freshUntil, isPrivateRedirect } from './sharing.ts'

export interface ChainComponents {
  readonly clock: Clock
  readonly connections: HttpConnections
  readonly netrc: Netrc
}

export interface ChainRequest {
  readonly url: URL
  readonly method: 'GET' | 'HEAD'
  readonly user: UserFields
  /** False: neither netrc nor the client certificate. */
  readonly useAgentCredentials: boolean
  /** For every hop. */
  readonly proxy: ProxyChoice
  /** Range, conditions and preferences: sent with every hop. */
  readonly extra: Readonly<Record<string, string>>
  readonly userAgent: string
  readonly maxRedirects: number
  readonly headersTimeoutMs: number
  readonly traffic: Traffic
  readonly signal: AbortSignal
}

export interface Chain {
  readonly response: HttpResponse
  /** Where the answer came from. */
  readonly url: URL
  /** The URLs that redirected, redacted. */
  readonly redirects: readonly string[]
  readonly privateReason: string | null
  /** True when every hop was https: then nobody on the way can have changed what the origin said. */
  readonly isTlsOnly: boolean
  /** Until when all the redirects may be relied on; Infinity when there was none. */
  readonly freshUntilMs: number
}

const NO_NETRC = new Netrc(new Map(), null)

/** The caller owns the body of the answer. @throws SHORTHAUL_ORIGIN_*, SHORTHAUL_ABORTED */
export async function followChain(components: ChainComponents, request: ChainRequest): Promise<Chain> {
  const { clock, connections } = components
  const netrc = request.useAgentCredentials ? components.netrc : NO_NETRC
  const visited = new Set<string>()
  const redirects: string[] = []
  let { url } = request
  let isFirstOrigin = true
  let privateReason: string | null = null
  let isTlsOnly = true
  let freshUntilMs = Number.POSITIVE_INFINITY
  for (;;) {
    visited.add(url.href)
    isTlsOnly &&= url.protocol === 'https:'
    const hop = fieldsForHop(request.user, url, { userAgent: request.userAgent, netrc, isFirstOrigin })
    privateReason ??= hop.privateReason
    const offerClientCert = isFirstOrigin && request.useAgentCredentials
    if (offerClientCert && connections.hasClientCert && url.protocol === 'https:') {
      // Whether the origin asked for it cannot be seen from here, so offering counts.
      privateReason ??= 'a client certificate was offered'
    }
    const response = await sendRequest(
      connections.route(url, { offerClientCert, traffic: request.traffic, proxy: request.proxy }),
      {
        url,
        method: request.method,
        fields: { ...hop.fields, ...request.extra, ...s3Fields(url, hop.fields) },
        headersTimeoutMs: request.headersTimeoutMs,
        signal: request.signal,
      },
      clock,
    )
    if (!isRedirect(response.status)) {
      return { response, url, redirects, privateReason, isTlsOnly, freshUntilMs }
    }
    await response.body.discard()
    if (isPrivateRedirect(response.fields)) privateReason ??= 'a redirect said Cache-Control: private'
    freshUntilMs = Math.min(freshUntilMs, freshUntil(response.fields, clock.nowMs()))
    const target = redirectTarget(url, response.fields, { visited, maxRedirects: request.maxRedirects })
    redirects.push(redactUrl(url))
    isFirstOrigin &&= target.origin === url.origin
    url = target
  }
}
