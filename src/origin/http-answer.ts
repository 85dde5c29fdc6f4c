/**
 * Is this answer what was asked for? Turns status, Content-Range and validators into an offset and lengths, or into the
 * error that says what the origin did instead. Pure: whoever calls it closes the body when it throws.
 */
import type { Validator } from '../content/resource.ts'
import type { ByteRange } from '../content/segmentation.ts'
import { changedError, protocolError, statusError } from './http-errors.ts'
import { parseContentRange } from './http-range.ts'
import { contentLength, listTokens, type ResponseFields, singleField } from './response-fields.ts'
import { compareGeneration } from './validators.ts'

export interface Expected {
  readonly validator: Validator
  readonly lengthBytes: number
}

export interface Asked {
  /** After redirects, for messages. */
  readonly url: URL
  readonly range: ByteRange | null
  readonly expected: Expected | null
  readonly nowMs: number
}

export interface Answer {
  /** Where the body begins in the content. */
  readonly offset: number
  /** Bytes that the body must have; null when nobody knows. */
  readonly bodyBytes: number | null
  /** Of the whole content; null when the origin does not say. */
  readonly lengthBytes: number | null
  readonly acceptsRanges: boolean | null
}

/** @throws SHORTHAUL_ORIGIN_CHANGED | PROTOCOL | NOT_FOUND | REFUSED | ERROR */
export function judgeAnswer(status: number, fields: ResponseFields, asked: Asked): Answer {
  checkLength(fields, asked.url)
  switch (status) {
    case 200:
    case 203:
      return asked.range === null ? wholeAnswer(fields, asked) : refuseWhole(fields, asked)
    case 206:
      return partialAnswer(fields, asked)
    case 412:
    case 416:
      return refuseUnsatisfied(status, fields, asked)
    default:
      throw statusError(status, fields, asked)
  }
}

/** Whether the origin says that it serves ranges; null when it says nothing. */
function advertisedRanges(fields: ResponseFields): boolean | null {
  const units = listTokens(fields, 'accept-ranges')
  return units.includes('bytes') ? true : units.includes('none') ? false : null
}

function checkLength(fields: ResponseFields, url: URL): void {
  if (fields['content-length'] !== undefined && contentLength(fields) === null) {
    throw protocolError(url, 'its Content-Length is out of range', 'length')
  }
}

function wholeAnswer(fields: ResponseFields, asked: Asked): Answer {
  const { expected } = asked
  const lengthBytes = contentLength(fields)
  if (expected) {
    const isSameLength = lengthBytes === null || lengthBytes === expected.lengthBytes
    const generation = compareGeneration(fields, expected.validator)
    // Of a SHA-256 only the bytes can tell. For the rest, an answer without a validator proves nothing.
    const isSame = generation === 'same' || (generation === 'unknown' && expected.validator.kind === 'sha256')
    if (!isSameLength || !isSame) throw generationChanged(fields, asked)
  }
  const bodyBytes = lengthBytes ?? expected?.lengthBytes ?? null
  return { offset: 0, bodyBytes, lengthBytes: bodyBytes, acceptsRanges: advertisedRanges(fields) }
}

/** 200 to a range: either If-Range found another generation, or the origin ignores Range. Both look the same but for the validators. */
function refuseWhole(fields: ResponseFields, asked: Asked): never {
  const { expected } = asked
  if (expected) {
    const lengthBytes = contentLength(fields)
    const isOtherLength = lengthBytes !== null && lengthBytes !== expected.lengthBytes
    if (isOtherLength || compareGeneration(fields, expected.validator) === 'different') {
      throw generationChanged(fields, asked)
    }
  }
  throw protocolError(asked.url, 'the origin ignores Range', 'no-range')
}

function partialAnswer(fields: ResponseFields, asked: Asked): Answer {
  const { url, range, expected } = asked
  if (range === null) throw protocolError(url, 'the origin answered 206 to a request without Range', 'range-mismatch')
  if (singleField(fields, 'content-type')?.toLowerCase().startsWith('multipart/byteranges')) {
    throw protocolError(url, 'the origin answered one range in several parts', 'multipart')
  }
  const contentRange = parseContentRange(singleField(fields, 'content-range') ?? '')
  if (contentRange?.kind !== 'satisfied') {
    throw protocolError(url, 'the Content-Range of a 206 is missing or malformed', 'range-mismatch')
  }
  const { totalBytes } = contentRange
  if (expected) {
    if (totalBytes !== null && totalBytes !== expected.lengthBytes) throw generationChanged(fields, asked)
    const generation = compareGeneration(fields, expected.validator)
    if (generation === 'different') throw generationChanged(fields, asked)
    // RFC 9110 §15.3.7: a 206 repeats the ETag. Without it nothing holds the ranges together; Last-Modified may be left
    // out when If-Range matched, so its absence in a 206 is a match.
    if (generation === 'unknown' && expected.validator.kind === 'etag') {
      throw protocolError(url, 'a 206 has no ETag', 'no-range')
    }
  }
  const total = totalBytes ?? expected?.lengthBytes ?? null
  const end = total === null ? range.end : Math.min(range.end, total)
  if (contentRange.range.start !== range.start || contentRange.range.end !== end) {
    throw protocolError(url, 'the origin sent another range than the one asked for', 'range-mismatch')
  }
  const bodyBytes = end - range.start
  const announced = contentLength(fields)
  if (announced !== null && announced !== bodyBytes) {
    throw protocolError(url, 'Content-Length and Content-Range of a 206 disagree', 'length')
  }
  return { offset: range.start, bodyBytes, lengthBytes: total, acceptsRanges: true }
}

function refuseUnsatisfied(status: number, fields: ResponseFields, asked: Asked): never {
  const { url, range, expected } = asked
  if (status === 412) {
    if (expected) throw generationChanged(fields, asked)
    throw statusError(status, fields, asked)
  }
  const contentRange = parseContentRange(singleField(fields, 'content-range') ?? '')
  const totalBytes = contentRange?.kind === 'unsatisfied' ? contentRange.totalBytes : null
  if (expected && totalBytes !== null && totalBytes !== expected.lengthBytes) throw generationChanged(fields, asked)
  // The range lies within the expected length, yet the origin says that it does not: it has become shorter.
  if (expected && range && totalBytes === null && range.start < expected.lengthBytes) {
    throw generationChanged(fields, asked)
  }
  throw protocolError(url, 'the origin refused the range (416)', 'range-mismatch')
}

function generationChanged(fields: ResponseFields, asked: Asked) {
  return changedError(asked.url, 'the resource is another generation than expected', {
    expectedBytes: asked.expected?.lengthBytes,
    foundBytes: contentLength(fields),
  })
}
