/**
 * Tells a job's webhook: a POST of JSON, signed as Standard Webhooks has it
 * (https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md).
 *
 * The answer is a status and nothing else: its body is thrown away. Redirects are followed only when they keep the method
 * and stay at the same origin: whoever the user named is told, and nobody else. Logs have the origin of the URL only: with
 * many receivers the path is the password.
 */
import { createHmac } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { rootCertificates } from 'node:tls'
import type { Agent, Dispatcher } from 'undici'
import type { Clock } from '../clock.ts'
import { isShorthaulError, systemCode } from '../errors.ts'
import { AGENT_VERSION } from '../version.ts'
import type { OutboxEntry } from './job-events.ts'
import { notificationBody, notificationId } from './notification.ts'
import type { NotifyOutcome } from './outbox.ts'
import type { Vault } from './vault.ts'

const DEADLINE_MS = 30_000
const MAX_RESPONSE_BYTES = 64 * 1024
const MAX_REDIRECTS = 3
/** 4xx that say "not now" (RFC 9110 §15.5.9, RFC 8470, RFC 6585). */
const PASSING = new Set([408, 425, 429])
const KEEPING_METHOD = new Set([307, 308])

export class WebhookNotifier {
  readonly #clock: Clock
  readonly #vault: Pick<Vault, 'open'>
  readonly #caFile: string | null
  #http: Promise<Agent> | null = null

  /** @param options.caFile certificates to trust besides the usual ones, PEM. Default: none */
  constructor(
    { clock, vault }: { readonly clock: Clock; readonly vault: Pick<Vault, 'open'> },
    { caFile = null }: { readonly caFile?: string | null },
  ) {
    this.#clock = clock
    this.#vault = vault
    this.#caFile = caFile
  }

  async notify(entry: OutboxEntry, { signal }: { readonly signal: AbortSignal }): Promise<NotifyOutcome> {
    const { event, webhookUrl, sealed } = entry
    if (webhookUrl === null || !URL.canParse(webhookUrl)) return { kind: 'refused', message: 'it has no URL' }
    const url = new URL(webhookUrl)
    let secret: string | null
    try {
      secret = this.#vault.open(sealed, event.job).webhookSecret
    } catch (error) {
      if (!isShorthaulError(error)) throw error
      return { kind: 'refused', message: error.message } // unsigned it would be no notification
    }
    try {
      return await this.#post(url, signedRequest(entry, { secret, nowMs: this.#clock.nowMs() }), signal)
    } catch (error) {
      const reason = systemCode(error) ?? (error instanceof Error ? error.message : String(error))
      return { kind: 'failed', message: `Cannot reach ${url.origin}: ${reason}`, retryAfterMs: null }
    }
  }

  /** Ends its connections. Idempotent. */
  async close(): Promise<void> {
    const opened = await this.#http?.catch(() => null)
    await opened?.destroy()
  }

  #open(): Promise<Agent> {
    if (this.#http !== null) return this.#http
    const opening = openHttp(this.#caFile)
    this.#http = opening
    opening.catch(() => {
      this.#http = null
    })
    return opening
  }

  async #post(url: URL, message: SignedRequest, signal: AbortSignal): Promise<NotifyOutcome> {
    const http = await this.#open()
    const deadline = AbortSignal.any([signal, AbortSignal.timeout(DEADLINE_MS)])
    let target = url
    for (let hops = 0; ; hops++) {
      const { statusCode, headers, body } = await http.request({
        origin: target.origin,
        path: `${target.pathname}${target.search}`,
        method: 'POST',
        headers: message.fields,
        body: message.body,
        signal: deadline,
      })
      // The status has said all there is to say; a body that breaks off changes nothing.
      await body.dump({ limit: MAX_RESPONSE_BYTES, signal: deadline }).catch(() => {})
      const next = KEEPING_METHOD.has(statusCode) && hops < MAX_REDIRECTS ? sameOrigin(target, headers.location) : null
      if (next === null) return outcomeOf({ statusCode, headers }, { url: target, nowMs: this.#clock.nowMs() })
      target = next
    }
  }
}

export interface SignedRequest {
  readonly fields: Readonly<Record<string, string>>
  readonly body: string
}

/** @param about.secret as the user gave it: `whsec_` and base64, or any text; null: it is not signed */
export function signedRequest(
  entry: OutboxEntry,
  about: { readonly secret: string | null; readonly nowMs: number },
): SignedRequest {
  const id = notificationId(entry)
  const timestamp = String(Math.floor(about.nowMs / 1000))
  const body = notificationBody(entry)
  const fields = {
    'content-type': 'application/json',
    'user-agent': `shorthaul/${AGENT_VERSION}`,
    'webhook-id': id,
    'webhook-timestamp': timestamp,
  }
  if (about.secret === null) return { fields, body }
  const signature = createHmac('sha256', keyOf(about.secret)).update(`${id}.${timestamp}.${body}`).digest('base64')
  return { fields: { ...fields, 'webhook-signature': `v1,${signature}` }, body }
}

function keyOf(secret: string): Buffer {
  const base64 = /^whsec_([A-Za-z0-9+/]+={0,2})$/.exec(secret)?.[1]
  return base64 === undefined ? Buffer.from(secret, 'utf8') : Buffer.from(base64, 'base64')
}

/** What an answer means. Pure. */
export function outcomeOf(
  answer: { readonly statusCode: number; readonly headers: Dispatcher.ResponseData['headers'] },
  about: { readonly url: URL; readonly nowMs: number },
): NotifyOutcome {
  const { statusCode, headers } = answer
  if (statusCode >= 200 && statusCode < 300) return { kind: 'delivered' }
  const message = `${about.url.origin} answered ${statusCode}`
  if (statusCode >= 400 && statusCode < 500 && !PASSING.has(statusCode)) return { kind: 'refused', message }
  return { kind: 'failed', message, retryAfterMs: retryAfterMs(headers['retry-after'], about.nowMs) }
}

/** RFC 9110 §10.2.3: seconds or a date; null for anything else. */
function retryAfterMs(value: string | string[] | undefined, nowMs: number): number | null {
  if (typeof value !== 'string') return null
  if (/^\d{1,9}$/.test(value)) return Number(value) * 1000
  const atMs = Date.parse(value)
  return Number.isNaN(atMs) ? null : Math.max(0, atMs - nowMs)
}

function sameOrigin(from: URL, location: string | string[] | undefined): URL | null {
  if (typeof location !== 'string' || !URL.canParse(location, from.href)) return null
  const target = new URL(location, from.href)
  return target.origin === from.origin ? target : null
}

/** Loaded only here: an agent without webhooks need not wait for it. */
async function openHttp(caFile: string | null): Promise<Agent> {
  // `ca` replaces Node's roots.
  const connect = caFile === null ? {} : { ca: [...rootCertificates, await readFile(caFile, 'utf8')] }
  // The default export: a bundle knows no other of a CommonJS module that is loaded late.
  const { default: undici } = await import('undici')
  return new undici.Agent({ connections: 2, keepAliveTimeout: 4000, headersTimeout: 0, bodyTimeout: 0, connect })
}
