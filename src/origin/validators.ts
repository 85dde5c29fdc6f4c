/**
 * Which of an origin's validators are strong enough to name a generation, and whether two answers are the same one.
 * RFC 9110 §8.8. Pure.
 */
import { MAX_VALIDATOR_BYTES, type Validator } from '../content/resource.ts'
import type { Degradation } from './origin.ts'
import { type ResponseFields, singleField } from './response-fields.ts'

/** RFC 9110 §8.8.2.2: a younger Last-Modified may be that of two generations within one second, or of skewed clocks. */
const LAST_MODIFIED_MARGIN_MS = 60_000

// Visible ASCII only. obs-text is legal, but undici decodes it as UTF-8 and we could not send back the same bytes.
const ETAG = /^(W\/)?("[\x21\x23-\x7e]*")$/
const IMF_DATE = /^[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT$/

interface EntityTag {
  /** With its quotes. */
  readonly value: string
  readonly isWeak: boolean
}

export function parseEntityTag(text: string | null): EntityTag | null {
  if (text === null || text.length > MAX_VALIDATOR_BYTES) return null
  const match = ETAG.exec(text)
  return match?.[2] === undefined ? null : { value: match[2], isWeak: match[1] !== undefined }
}

/** Milliseconds since the epoch; null for anything but the one form of date that RFC 9110 lets senders generate. */
export function parseHttpDate(text: string | null): number | null {
  if (text === null || !IMF_DATE.test(text)) return null
  const parsed = Date.parse(text)
  return Number.isNaN(parsed) ? null : parsed
}

/** The strong validator of an answer, or null, and what was missing. */
export function findValidator(
  fields: ResponseFields,
  lengthBytes: number | null,
): { readonly validator: Validator | null; readonly degradations: readonly Degradation[] } {
  const etag = parseEntityTag(singleField(fields, 'etag'))
  if (etag && !etag.isWeak) return { validator: { kind: 'etag', value: etag.value }, degradations: [] }
  const degradations: Degradation[] = etag ? ['weak-validator'] : []
  const lastModified = singleField(fields, 'last-modified')
  const modifiedMs = parseHttpDate(lastModified)
  if (lastModified !== null && modifiedMs !== null) {
    // An origin without a clock sends no Date; then nothing can be said about the distance, and the rule is not met.
    const dateMs = parseHttpDate(singleField(fields, 'date'))
    const isOldEnough = dateMs !== null && dateMs - modifiedMs >= LAST_MODIFIED_MARGIN_MS
    if (isOldEnough && lengthBytes !== null) {
      return { validator: { kind: 'last-modified', value: lastModified }, degradations }
    }
    if (!isOldEnough && !etag) degradations.push('weak-validator')
  }
  return { validator: null, degradations: [...degradations, 'no-validator'] }
}

/**
 * Does an answer belong to the generation that we want?
 * 'unknown': it carries nothing to compare with. A SHA-256 cannot be compared with a field here: the bytes are checked.
 */
export function compareGeneration(fields: ResponseFields, expected: Validator): 'same' | 'different' | 'unknown' {
  switch (expected.kind) {
    case 'etag': {
      const etag = parseEntityTag(singleField(fields, 'etag'))
      if (etag === null) return 'unknown'
      return !etag.isWeak && etag.value === expected.value ? 'same' : 'different' // strong comparison, §8.8.3.2
    }
    case 'last-modified': {
      const lastModified = singleField(fields, 'last-modified')
      return lastModified === null ? 'unknown' : lastModified === expected.value ? 'same' : 'different'
    }
    case 'sha256':
      return 'unknown'
  }
}

/** The value of If-Range for a generation, or null when HTTP has no word for it. */
export function ifRangeValue(expected: Validator): string | null {
  return expected.kind === 'sha256' ? null : expected.value
}
