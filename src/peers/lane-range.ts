/** HTTP's inclusive byte ranges, for the lane only; half-open everywhere else. One range, RFC 9110 §14.1.2. */
import type { ByteRange } from '../content/segmentation.ts'

const SINGLE_RANGE = /^bytes=(\d{0,9})-(\d{0,9})$/

/**
 * What a Range field asks of a representation of `lengthBytes`.
 *
 * @returns the whole range when there is no field or it is not one valid range (it may then be ignored, RFC 9110 §14.2);
 *   'unsatisfiable' when it lies outside
 */
export function requestedRange(field: string | undefined, lengthBytes: number): ByteRange | 'whole' | 'unsatisfiable' {
  const match = field === undefined ? null : SINGLE_RANGE.exec(field)
  const [, first = '', last = ''] = match ?? []
  if (first === '' && last === '') return 'whole'
  if (first === '') {
    const suffixBytes = Number(last)
    if (suffixBytes === 0 || lengthBytes === 0) return 'unsatisfiable'
    return { start: Math.max(0, lengthBytes - suffixBytes), end: lengthBytes }
  }
  const start = Number(first)
  const end = last === '' ? lengthBytes : Math.min(Number(last) + 1, lengthBytes)
  if (last !== '' && Number(last) < start) return 'whole'
  return start >= lengthBytes ? 'unsatisfiable' : { start, end }
}

export function rangeField(range: ByteRange): string {
  return `bytes=${range.start}-${range.end - 1}`
}

export function contentRangeField(range: ByteRange | null, lengthBytes: number): string {
  return `bytes ${range === null ? '*' : `${range.start}-${range.end - 1}`}/${lengthBytes}`
}

/** True when a Content-Range field says exactly this range, of a representation that is long enough. */
export function isContentRange(field: string | undefined, range: ByteRange): boolean {
  const match = /^bytes (\d{1,9})-(\d{1,9})\/(\d{1,9})$/.exec(field ?? '')
  if (!match) return false
  const [start, last, lengthBytes] = match.slice(1).map(Number)
  return start === range.start && last === range.end - 1 && lengthBytes !== undefined && lengthBytes >= range.end
}
