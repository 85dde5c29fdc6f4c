/**
 * The HTTP transport: probes for facts and opens bodies, degrading to what the origin can do.
 *
 * Does not retry, does not verify content, and does not decide what is fetched. Invariant: whatever throws has closed
 * or returned its connection first.
 */
import type { Logger } from 'pino'
import type { Clock } from '../clock.ts'
import { redactUrl, ShorthaulError, systemCode } from '../errors.ts'
import type { Priority } from '../throttle/priority.ts'
import { judgeDeclarations } from './declarations.ts'
import { WANT_REPR_DIGEST } from './digest-fields.ts'
import { HeadMemory } from './head-memory.ts'
import { type Answer, type Expected, judgeAnswer } from './http-answer.ts'
import { type Chain, type ChainRequest, followChain } from './http-chain.ts'
import type { HttpConnections } from './http-connections.ts'
import { protocolError, statusError } from './http-errors.ts'
import { formatRange, isRange, parseContentRange } from './http-range.ts'
import type { Netrc } from './netrc.ts'
import type {
  Degradation,
  OpenOptions,
  Origin,
  OriginDocument,
  OriginFacts,
  OriginRequest,
  OriginStream,
  ReadOptions,
} from './origin.ts'
import { parseProxyChoice } from './proxy.ts'
import { parseUserFields, SAFE_FIELDS, type UserFields } from './request-fields.ts'
import { singleField } from './response-fields.ts'
import { judgeSharing } from './sharing.ts'
import { findValidator, ifRangeValue, parseHttpDate } from './validators.ts'

/** An origin that lets HEAD hang must not cost the whole patience: the GET that follows has the full time. */
const HEAD_TIMEOUT_MS = 5_000

/** How it looks when an origin lets HEAD hang, or closes the connection on it. */
const HEAD_TROUBLE: ReadonlySet<string> = new Set(['UND_ERR_HEADERS_TIMEOUT', 'UND_ERR_SOCKET', 'ECONNRESET'])

/** Statuses to a HEAD that a GET would get as well, so that asking again would only annoy. */
const SAME_FOR_GET: ReadonlySet<number> = new Set([401, 407, 408, 425, 429, 502, 503, 504])

export interface HttpOriginOptions {
  readonly userAgent: string
  readonly headersTimeoutMs: number
  readonly maxRedirects: number
}

export interface HttpOriginComponents {
  readonly clock: Clock
  readonly log: Logger
  readonly connections: HttpConnections
  readonly netrc: Netrc
  /** Told that content is had from a URL, with a priority, until the function that it returns is called. */
  readonly enter?: ((priority: Priority, url: string, proxy?: string) => () => void) | undefined
}

type Ask = Pick<ChainRequest, 'url' | 'user' | 'useAgentCredentials' | 'proxy' | 'signal'>

export class HttpOrigin implements Origin {
  readonly #components: HttpOriginComponents
  readonly #clock: Clock
  readonly #log: Logger
  readonly #options: HttpOriginOptions
  readonly #headMemory: HeadMemory

  /** @param components.connections owned by this object from now on: close() ends them */
  constructor(components: HttpOriginComponents, options: HttpOriginOptions) {
    this.#components = components
    this.#clock = components.clock
    this.#log = components.log
    this.#options = options
    this.#headMemory = new HeadMemory(components.clock)
  }

  carriesCredentials({ url: text, headers, useAgentCredentials }: OriginRequest): boolean {
    const { connections, netrc } = this.#components
    const url = new URL(text)
    if (url.username !== '' || url.password !== '') return true
    if (headers.some(([name]) => !SAFE_FIELDS.has(name.toLowerCase()))) return true
    if (!useAgentCredentials) return false
    if (url.protocol === 'https:' && connections.hasClientCert) return true
    return netrc.find(url.hostname, { allowDefault: true }) !== null
  }

  async probe(request: OriginRequest, options: { readonly signal: AbortSignal }): Promise<OriginFacts> {
    const ask = askOf(request, options.signal)
    if (!this.#headMemory.failed(ask.url)) {
      const facts = await this.#probeByHead(ask)
      if (facts) return facts
    }
    const facts = await this.#probeByGet(ask)
    // Only now it is clear that HEAD, and not the resource, was the trouble.
    this.#headMemory.remember(ask.url)
    return facts
  }

  async open(request: OriginRequest, options: OpenOptions): Promise<OriginStream> {
    const { range = null, expected = null, signal } = options
    if (range && (!isRange(range) || (range.start > 0 && !expected))) {
      throw new RangeError(`Cannot open [${range.start}, ${range.end}) without an expected generation`)
    }
    const ask = askOf(request, signal)
    const extra: Record<string, string> = { 'want-repr-digest': WANT_REPR_DIGEST }
    if (range) {
      extra.range = formatRange(range)
      const condition = expected && ifRangeValue(expected.validator)
      if (condition) extra['if-range'] = condition
    }
    const { priority = 'foreground', proxy } = request
    const { enter, connections } = this.#components
    const isGoverned = enter !== undefined && !connections.isNear(ask.url, ask.proxy)
    const leave = isGoverned ? enter(priority, ask.url.href, proxy) : () => {}
    let chain: Chain
    try {
      const { headersTimeoutMs } = this.#options
      chain = await this.#send('GET', ask, { extra, headersTimeoutMs, traffic: priority })
    } catch (error) {
      leave()
      throw error
    }
    const { status, fields, body } = chain.response
    void body.ended.then(leave)
    const nowMs = this.#clock.nowMs()
    let answer: Answer
    try {
      answer = judgeAnswer(status, fields, { url: chain.url, range, expected, nowMs })
    } catch (error) {
      await (status >= 400 ? body.discard() : body.cancel())
      throw error
    }
    if (answer.bodyBytes !== null) body.promise(answer.bodyBytes)
    const judge = () => this.#facts(chain, { ask, answer, expected, degradations: [], nowMs })
    let facts: OriginFacts | null = null
    return {
      // Who has asked this origin before knows them: of a small range they are a fifth of the work.
      get facts() {
        facts ??= judge()
        return facts
      },
      offset: answer.offset,
      body,
      cancel: () => body.cancel(),
    }
  }

  async read(request: OriginRequest, { maxBytes, signal }: ReadOptions): Promise<OriginDocument> {
    const ask = askOf(request, signal)
    const { headersTimeoutMs } = this.#options
    const chain = await this.#send('GET', ask, { extra: {}, headersTimeoutMs, traffic: 'questions', maxRedirects: 0 })
    const { status, fields, body } = chain.response
    const tooLong = () => protocolError(chain.url, `it is longer than ${maxBytes} bytes`, 'length')
    try {
      const asked = { url: chain.url, range: null, expected: null, nowMs: this.#clock.nowMs() }
      const { bodyBytes } = judgeAnswer(status, fields, asked)
      if (bodyBytes !== null) {
        if (bodyBytes > maxBytes) throw tooLong()
        body.promise(bodyBytes)
      }
      const chunks: Uint8Array[] = []
      let bytes = 0
      for await (const chunk of body) {
        bytes += chunk.byteLength
        if (bytes > maxBytes) throw tooLong()
        chunks.push(chunk)
      }
      return { bytes: Buffer.concat(chunks), lastModifiedMs: parseHttpDate(singleField(fields, 'last-modified')) }
    } finally {
      await (status >= 400 ? body.discard() : body.cancel())
    }
  }

  async close(): Promise<void> {
    await this.#components.connections.close()
  }

  /** Null when HEAD told nothing useful and a GET might. */
  async #probeByHead(ask: Ask): Promise<OriginFacts | null> {
    let chain: Chain
    try {
      const headersTimeoutMs = Math.min(HEAD_TIMEOUT_MS, this.#options.headersTimeoutMs)
      const extra = { 'want-repr-digest': WANT_REPR_DIGEST }
      chain = await this.#send('HEAD', ask, { extra, headersTimeoutMs, traffic: 'questions' })
    } catch (error) {
      // An origin that hangs or hangs up on HEAD may well answer GET; one that cannot be connected to will not.
      if (!ask.signal.aborted && HEAD_TROUBLE.has(systemCode(error) ?? '')) return null
      throw error
    }
    const { status, fields, body } = chain.response
    await body.cancel()
    if (status !== 200 && status !== 203) {
      if (SAME_FOR_GET.has(status)) throw statusError(status, fields, { url: chain.url, nowMs: this.#clock.nowMs() })
      return null
    }
    const asked = { url: chain.url, range: null, expected: null, nowMs: this.#clock.nowMs() }
    const answer = judgeAnswer(status, fields, asked)
    // Programs that make their answers on the fly say nothing, or "0", to HEAD: ask the GET rather than believe it.
    if (answer.lengthBytes === null || answer.lengthBytes === 0) return null
    return this.#facts(chain, { ask, answer, expected: null, degradations: [], nowMs: asked.nowMs })
  }

  async #probeByGet(ask: Ask): Promise<OriginFacts> {
    const range = { start: 0, end: 1 }
    const extra = { 'want-repr-digest': WANT_REPR_DIGEST, range: formatRange(range) }
    const { headersTimeoutMs } = this.#options
    const chain = await this.#send('GET', ask, { extra, headersTimeoutMs, traffic: 'questions' })
    const { status, body } = chain.response
    const nowMs = this.#clock.nowMs()
    let answer: Answer
    try {
      answer = judgeProbe(chain, nowMs)
    } finally {
      await (status >= 400 ? body.discard() : body.cancel())
    }
    return this.#facts(chain, { ask, answer, expected: null, degradations: ['no-head'], nowMs })
  }

  async #send(
    method: 'GET' | 'HEAD',
    ask: Ask,
    request: Pick<ChainRequest, 'extra' | 'headersTimeoutMs' | 'traffic'> & { readonly maxRedirects?: number },
  ): Promise<Chain> {
    const startedMs = this.#clock.monotonicMs()
    const { userAgent, maxRedirects } = this.#options
    const chain = await followChain(this.#components, { maxRedirects, ...ask, ...request, method, userAgent })
    this.#log.debug(
      {
        method,
        url: redactUrl(chain.url),
        status: chain.response.status,
        redirects: chain.redirects.length,
        durationMs: Math.round(this.#clock.monotonicMs() - startedMs),
      },
      'origin answered',
    )
    return chain
  }

  #facts(
    chain: Chain,
    about: {
      readonly ask: { readonly url: URL; readonly user: UserFields }
      readonly answer: Answer
      readonly expected: Expected | null
      readonly degradations: readonly Degradation[]
      /** When the answer came. */
      readonly nowMs: number
    },
  ): OriginFacts {
    const { status, fields } = chain.response
    const { answer, ask, expected, nowMs } = about
    const found = findValidator(fields, answer.lengthBytes)
    // A 206 may leave out fields that If-Range already settled; the answer was checked against what was expected.
    const proven = expected !== null && expected.validator.kind !== 'sha256' ? expected.validator : null
    const degradations = new Set<Degradation>(about.degradations)
    if (answer.acceptsRanges === false) degradations.add('no-range')
    if (answer.lengthBytes === null) degradations.add('no-length')
    if (proven === null) for (const each of found.degradations) degradations.add(each)
    const sharing = judgeSharing(fields, {
      url: chain.url,
      user: ask.user,
      privateReason: chain.privateReason,
      nowMs,
    })
    return {
      ...sharing,
      freshUntilMs: Math.max(nowMs, Math.min(sharing.freshUntilMs, chain.freshUntilMs)),
      finalUrl: withoutUserInfo(chain.url),
      redirects: chain.redirects,
      lengthBytes: answer.lengthBytes,
      validator: proven ?? found.validator,
      acceptsRanges: answer.acceptsRanges,
      ...judgeDeclarations({ status, fields, askedUrl: ask.url, url: chain.url }),
      lastModifiedMs: parseHttpDate(singleField(fields, 'last-modified')),
      isTlsOnly: chain.isTlsOnly,
      degradations: [...degradations],
    }
  }
}

function askOf(request: OriginRequest, signal: AbortSignal): Ask {
  const { headers, useAgentCredentials } = request
  const url = new URL(request.url)
  const proxy = parseProxyChoice(request.proxy ?? 'auto')
  if (typeof proxy === 'object' && url.protocol === 'http:' && !useAgentCredentials) {
    throw new ShorthaulError(
      'SHORTHAUL_FORBIDDEN',
      `Cannot fetch "${redactUrl(url)}" through a proxy of one's own: it could change what is shared; expected https`,
    )
  }
  return { url, user: parseUserFields(headers), useAgentCredentials, proxy, signal }
}

/** Like judgeAnswer for `bytes=0-0`, but an ignored Range and an empty content are answers too. */
function judgeProbe(chain: Chain, nowMs: number): Answer {
  const { status, fields } = chain.response
  if (status === 200 || status === 203) {
    const whole = judgeAnswer(status, fields, { url: chain.url, range: null, expected: null, nowMs })
    // Of nothing there is no first byte: then 200 says nothing about ranges.
    return { ...whole, acceptsRanges: whole.lengthBytes === 0 ? whole.acceptsRanges : false }
  }
  if (status === 416) {
    // No first byte: the content is empty.
    const contentRange = parseContentRange(singleField(fields, 'content-range') ?? '')
    if (contentRange?.kind === 'unsatisfied' && contentRange.totalBytes === 0) {
      return { offset: 0, bodyBytes: 0, lengthBytes: 0, acceptsRanges: null }
    }
  }
  return judgeAnswer(status, fields, { url: chain.url, range: { start: 0, end: 1 }, expected: null, nowMs })
}

function withoutUserInfo(url: URL): string {
  const copy = new URL(url)
  copy.username = ''
  copy.password = ''
  return copy.href
}
