/** What `doctor --origin URL` finds out: what this origin can do, and what follows for sharing and resuming. */
import type { Logger } from 'pino'
import { originOptions } from '../../agent/origin-options.ts'
import { systemClock } from '../../clock.ts'
import type { Config } from '../../config/load.ts'
import { formatBytes, formatDuration } from '../../config/units.ts'
import type { ControlClient } from '../../control/client.ts'
import { isShorthaulError, redactUrl } from '../../errors.ts'
import { HttpConnections } from '../../origin/http-connections.ts'
import type { OriginFacts } from '../../origin/origin.ts'
import { Origins } from '../../origin/origins.ts'
import { askAgentForOrigin } from '../agent-view.ts'
import { type Check, fail, ok, reasonOf, warn } from './check.ts'

const MAX_CLOCK_ERROR_MS = 60_000
const CLOCK_TIMEOUT_MS = 15_000

export interface OriginSubject {
  /** Normalised. */
  readonly url: string
  readonly config: Config
  /** The running agent, which may have another proxy and other certificates than this shell; null when none runs. */
  readonly client: ControlClient | null
  readonly log: Logger
  readonly signal: AbortSignal
}

export async function checkOrigin(subject: OriginSubject): Promise<Check[]> {
  const { url, config, log, signal } = subject
  const origins = await Origins.open({ clock: systemClock, log }, originOptions(config, process.env))
  const checks: Check[] = []
  try {
    const facts = await origins.probe({ url, headers: [], useAgentCredentials: true }, { signal })
    checks.push(...judgeFacts(url, facts), await checkRange(origins, { url, facts, signal }))
  } catch (error) {
    if (signal.aborted) throw error
    checks.push(fail('origin', reasonOf(error), 'check URL, network, proxy variables and origin.caFile'))
  } finally {
    await origins.close()
  }
  checks.push(...(await checkThroughAgent(subject)), ...(await checkClock(subject)))
  return checks
}

function judgeFacts(url: string, facts: OriginFacts): Check[] {
  const { lengthBytes, validator, degradations, redirects, visibility, privateReason } = facts
  const hops = redirects.length === 0 ? '' : `, ${redirects.length} redirects to ${redactUrl(facts.finalUrl)}`
  const checks = [ok('origin', `${redactUrl(url)} answers${hops}`)]
  checks.push(
    degradations.includes('no-head')
      ? warn('origin HEAD', 'not answered; a GET of one byte is used instead')
      : ok('origin HEAD', 'answered'),
    lengthBytes === null
      ? warn('origin length', 'not said: one stream, not shared, not resumable')
      : ok('origin length', formatBytes(lengthBytes)),
    validator === null
      ? warn(
          'origin validator',
          degradations.includes('weak-validator')
            ? 'only a weak ETag, which does not identify bytes: not shared, not resumable'
            : 'no ETag and no Last-Modified that is old enough: not shared, not resumable',
          'have the origin send a strong ETag, or give the digest with --sha256',
        )
      : ok('origin validator', `${validator.kind} ${validator.value.slice(0, 80)}`),
  )
  checks.push(...judgeDeclared(facts))
  if (visibility === 'private') {
    const hint = 'if it may be shared, have the origin send Cache-Control: public, max-age=…'
    checks.push(warn('sharing', `stays on this machine: ${privateReason ?? 'private'}`, hint))
  } else if (validator === null || lengthBytes === null) {
    checks.push(warn('sharing', 'every machine fetches it for itself: the answer does not identify its bytes'))
  } else checks.push(ok('sharing', 'one copy can serve the whole branch'))
  return checks
}

function judgeDeclared({ declaredSha256, declaredConflict, manifestUrl, isTlsOnly }: OriginFacts): Check[] {
  const checks: Check[] = []
  if (declaredConflict !== null) {
    checks.push(fail('origin digest', `contradicts itself: ${declaredConflict}`, 'have the origin declare one SHA-256'))
  } else if (declaredSha256 !== null) {
    const found = `declares SHA-256 ${declaredSha256}`
    checks.push(isTlsOnly ? ok('origin digest', found) : warn('origin digest', `${found}, over plain http`))
  }
  if (manifestUrl !== null) checks.push(ok('origin manifest', `named: ${redactUrl(manifestUrl)}`))
  return checks
}

/** Tried, not believed: servers and proxies say Accept-Ranges and then send everything, and the other way round. */
async function checkRange(
  origins: Origins,
  subject: { readonly url: string; readonly facts: OriginFacts; readonly signal: AbortSignal },
): Promise<Check> {
  const name = 'origin Range'
  const { url, facts, signal } = subject
  if (facts.lengthBytes === 0) return ok(name, 'not tested: there is no content')
  try {
    const stream = await origins.open(
      { url, headers: [], useAgentCredentials: true },
      { range: { start: 0, end: 1 }, signal },
    )
    await stream.cancel()
    return ok(name, 'works')
  } catch (error) {
    if (signal.aborted) throw error
    const isIgnored = isShorthaulError(error) && error.details.reason === 'no-range'
    const found = isIgnored ? 'ignored' : `does not work: ${reasonOf(error)}`
    return warn(name, `${found}; one agent fetches it in one stream, and resuming starts over`)
  }
}

async function checkThroughAgent({ client, url, signal }: OriginSubject): Promise<Check[]> {
  if (client === null) return []
  const name = 'origin (agent)'
  try {
    await askAgentForOrigin(client, url, { signal })
    return [ok(name, 'the running agent reaches it too')]
  } catch (error) {
    if (signal.aborted) throw error
    const hint = 'its environment (proxy variables), its configuration or its user differ from those of this command'
    return [fail(name, `the running agent does not reach it: ${reasonOf(error)}`, hint)]
  }
}

/** By the Date of the origin: certificates, freshness and Last-Modified all depend on the clock. */
async function checkClock({ url, config, signal }: OriginSubject): Promise<Check[]> {
  const target = new URL(url)
  if (target.protocol === 'file:') return []
  const name = 'clock'
  // The user's own credentials are not needed to hear the time.
  target.username = ''
  target.password = ''
  const connections = await HttpConnections.open({ clock: systemClock, ...originOptions(config, process.env) })
  try {
    const {
      dispatcher,
      origin,
      target: path,
      fields,
    } = connections.route(target, { offerClientCert: true, traffic: 'questions' })
    const { headers, body } = await dispatcher.request({
      origin,
      path,
      method: 'HEAD',
      headers: fields,
      signal: AbortSignal.any([signal, AbortSignal.timeout(CLOCK_TIMEOUT_MS)]),
    })
    await body.dump()
    const dateMs = Date.parse(String(headers.date))
    // A cache on the way repeats the date of the origin.
    const ageMs = Number(headers.age ?? 0) * 1000
    if (!Number.isFinite(dateMs + ageMs)) return [warn(name, 'not tested: the origin sends no Date')]
    const errorMs = systemClock.nowMs() - (dateMs + ageMs)
    const found = `${formatDuration(Math.abs(errorMs))} ${errorMs < 0 ? 'behind' : 'ahead of'} the origin`
    if (Math.abs(errorMs) <= MAX_CLOCK_ERROR_MS) return [ok(name, `${found}, which is near enough`)]
    return [warn(name, found, 'set the clock, for example with NTP; or the clock of the origin is wrong')]
  } catch (error) {
    if (signal.aborted) throw error
    return [warn(name, `not tested: ${reasonOf(error)}`)]
  } finally {
    await connections.close()
  }
}
