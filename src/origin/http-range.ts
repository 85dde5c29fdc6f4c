/**
 * The only place that knows HTTP's inclusive byte ranges (RFC 9110 §14): everything else is half-open.
 *
 * Does not hold: several ranges in one request. We never ask for them, and an answer in parts is refused.
 * Invariant: the parsers are total: any text gives a value or null, never an exception and never a number out of range.
 */
import { type ByteRange, MAX_CONTENT_BYTES } from '../content/segmentation.ts'

/** What a Content-Range field says. `totalBytes` is null for "*". */
export type ContentRange =
  | { readonly kind: 'satisfied'; readonly range: ByteRange; readonly totalBytes: number | null }
  /** The form that goes with 416: only the length. */
  | { readonly kind: 'unsatisfied'; readonly totalBytes: number }

// 13 digits hold MAX_CONTENT_BYTES; leading zeros are legal but nobody sends them, and the bound keeps the pattern cheap.
const SATISFIED = /^bytes (\d{1,16})-(\d{1,16})\/(\d{1,16}|\*)$/i
const UNSATISFIED = /^bytes \*\/(\d{1,16})$/i
const REQUESTED = /^bytes=[ \t]*(\d{0,16})-(\d{0,16})[ \t]*$/i

function count(text: string | undefined): number | null {
  if (text === undefined || text === '') return null
  const value = Number(text)
  return value <= MAX_CONTENT_BYTES ? value : null
}

/** @param range half-open and not empty */
export function formatRange(range: ByteRange): string {
  if (!isRange(range)) throw new RangeError(`Cannot ask for the range [${range.start}, ${range.end})`)
  return `bytes=${range.start}-${range.end - 1}`
}

/** True when the range is whole, not empty and not beyond what we handle. */
export function isRange(range: ByteRange): boolean {
  const { start, end } = range
  return (
    Number.isSafeInteger(start) && Number.isSafeInteger(end) && start >= 0 && start < end && end <= MAX_CONTENT_BYTES
  )
}

/** @returns null for anything that is not one well-formed Content-Range in bytes */
export function parseContentRange(text: string): ContentRange | null {
  const satisfied = SATISFIED.exec(text)
  if (satisfied) {
    const first = count(satisfied[1])
    const last = count(satisfied[2])
    const totalBytes = count(satisfied[3] === '*' ? '' : satisfied[3])
    if (first === null || last === null || (totalBytes === null && satisfied[3] !== '*')) return null
    const range = { start: first, end: last + 1 }
    if (!isRange(range) || (totalBytes !== null && range.end > totalBytes)) return null
    return { kind: 'satisfied', range, totalBytes }
  }
  const totalBytes = count(UNSATISFIED.exec(text)?.[1])
  return totalBytes === null ? null : { kind: 'unsatisfied', totalBytes }
}

export function formatContentRange(range: ByteRange | null, totalBytes: number): string {
  return range === null ? `bytes */${totalBytes}` : `bytes ${range.start}-${range.end - 1}/${totalBytes}`
}

/**
 * A Range field as a server reads it.
 * @returns the range cut to the content; 'unsatisfiable' (answer 416); null: not one range in bytes, to be ignored
 */
export function parseRange(text: string, lengthBytes: number): ByteRange | 'unsatisfiable' | null {
  const match = REQUESTED.exec(text)
  if (!match) return null
  // A number beyond what we handle is beyond every content: as a first position unsatisfiable, as a last one the end.
  const first = match[1] === '' ? null : Number(match[1])
  const last = match[2] === '' ? null : Number(match[2])
  if (first === null) {
    if (last === null) return null
    if (last === 0 || lengthBytes === 0) return 'unsatisfiable'
    return { start: Math.max(0, lengthBytes - last), end: lengthBytes }
  }
  if (last !== null && last < first) return null
  if (first >= lengthBytes) return 'unsatisfiable'
  return { start: first, end: last === null ? lengthBytes : Math.min(last + 1, lengthBytes) }
}
