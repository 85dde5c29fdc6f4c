/** Which generation a run is about: asked of the origin, or found out without it. */
import type { Resource } from '../content/resource.ts'
import { resourceId } from '../content/resource.ts'
import { isShorthaulError, redactUrl, ShorthaulError } from '../errors.ts'
import type { OriginFacts } from '../origin/origin.ts'
import type { ResourceRecord } from '../store/records.ts'
import { type Identified, identify, recordOf, signIdentification } from './identify.ts'
import type { Inquiry } from './inquiry.ts'
import { mayUse, type RunContext } from './run-context.ts'

/** Without the origin: how long to look for somebody who has it. Covers discovery of an agent that just started. */
export const OFFLINE_PATIENCE_MS = 4000
const MAX_ATTEMPTS = 4
const FIRST_RETRY_MS = 500
/** An origin that says that it needs longer ends the fetch. */
const MAX_WAIT_MS = 30_000

/** Retried like any other request to the origin: a passing fault must not end a fetch. */
export async function identifyAtOrigin(
  run: RunContext,
  { isFirstGetAllowed }: { readonly isFirstGetAllowed: boolean },
): Promise<Identified> {
  const { clock, random, origin } = run.components
  const { signal } = run.options
  for (let attempt = 1; ; attempt++) {
    try {
      return await identify(origin, run.originRequest, { isFirstGetAllowed, signal })
    } catch (error) {
      const retryAfterMs = isShorthaulError(error) ? error.details.retryAfterMs : undefined
      const waitMs = Math.max(
        FIRST_RETRY_MS * 2 ** (attempt - 1) * (0.5 + random()),
        typeof retryAfterMs === 'number' ? retryAfterMs : 0,
      )
      const isFinal = !isShorthaulError(error) || !error.retryable || attempt >= MAX_ATTEMPTS || waitMs > MAX_WAIT_MS
      if (signal.aborted || isFinal) throw error
      run.reporter.note({ event: 'note', note: 'origin-retry', message: error.message })
      await clock.sleep(waitMs, { signal })
    }
  }
}

/** Says what must be known of an answer. @throws SHORTHAUL_DIGEST_MISMATCH when no content can satisfy what it declares */
export function heedFacts(run: RunContext, facts: OriginFacts): void {
  const { request, reporter } = run
  for (const degradation of facts.degradations) reporter.noteDegradation(degradation)
  if (facts.privateReason !== null) {
    reporter.note({ event: 'note', note: 'private', message: `Not shared with the branch: ${facts.privateReason}` })
  }
  // What the user said is right stands above it; ranges are not what is declared.
  if (request.sha256 !== null || (request.ranges ?? null) !== null) return
  const { declaredConflict, declaredSha256, isTlsOnly } = facts
  if (declaredConflict !== null) {
    throw new ShorthaulError(
      'SHORTHAUL_DIGEST_MISMATCH',
      `Cannot accept the content: the origin contradicts itself about its SHA-256 (${declaredConflict}), expected one`,
    )
  }
  if (declaredSha256 === null || isTlsOnly) return
  reporter.note({
    event: 'note',
    note: 'declared-in-clear',
    message: 'The origin declares its SHA-256 over plain http: worth no more than the line it comes over',
  })
}

/** The record of what the origin says there is; it is stored. */
export async function recordIdentified(
  { store, clock, keyPair, self }: RunContext['components'],
  resource: Resource,
  facts: OriginFacts,
): Promise<ResourceRecord> {
  const record = recordOf(resource, {
    previous: await store.resource(resourceId(resource)),
    visibility: facts.visibility,
    finalUrl: facts.finalUrl,
    declaredSha256: facts.declaredSha256,
    identification: signIdentification(resource, { freshUntilMs: facts.freshUntilMs, keyPair, self, clock }),
    nowMs: clock.nowMs(),
  })
  await store.putResource(record)
  return record
}

/**
 * --no-origin: the newest generation that this store or the branch knows.
 * @throws SHORTHAUL_ORIGIN_DISALLOWED when nobody knows any
 */
export async function identifyOffline(run: RunContext, inquiry: Inquiry | null): Promise<ResourceRecord> {
  const { store, clock } = run.components
  const { url } = run.request
  const newest = await store.newestAt(url, '')
  const own = newest && mayUse(run, newest) ? newest : null
  if (inquiry && !own?.root) {
    const deadlineMs = clock.monotonicMs() + OFFLINE_PATIENCE_MS
    while (inquiry.newest() === null && clock.monotonicMs() < deadlineMs) {
      await clock.sleep(20, run.options)
    }
  }
  const told = inquiry?.newest() ?? null
  const isTold = told !== null && (!own?.identification || told.seenAtMs > own.identification.seenAtMs)
  if (!isTold) {
    if (own) return own
    throw new ShorthaulError(
      'SHORTHAUL_ORIGIN_DISALLOWED',
      `Cannot fetch ${redactUrl(url)} without the origin: nobody in this branch knows it`,
    )
  }
  const resource: Resource = { url, selection: '', validator: told.validator, lengthBytes: told.lengthBytes }
  const record = recordOf(resource, {
    previous: await store.resource(resourceId(resource)),
    visibility: 'branch',
    finalUrl: url,
    declaredSha256: null,
    identification: told,
    nowMs: clock.nowMs(),
  })
  await store.putResource(record)
  return record
}
