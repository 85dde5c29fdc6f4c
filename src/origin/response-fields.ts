/** Reading response fields as undici hands them over: names in lower case, a repeated field as an array. */
import { isContentLength } from '../content/segmentation.ts'

export type ResponseFields = Readonly<Record<string, string | string[] | undefined>>

/** A field that may stand only once; null when it is absent, empty or repeated with different values. */
export function singleField(fields: ResponseFields, name: string): string | null {
  const value = fields[name]
  if (value === undefined) return null
  if (typeof value === 'string') return value.trim() || null
  const values = new Set(value.map((each) => each.trim()))
  const [first] = values
  return values.size === 1 && first ? first : null
}

/** A field that is a list, joined as RFC 9110 §5.3 allows; '' when it is absent. */
export function listField(fields: ResponseFields, name: string): string {
  const value = fields[name]
  return value === undefined ? '' : typeof value === 'string' ? value : value.join(', ')
}

/** The members of a list of tokens, in lower case. */
export function listTokens(fields: ResponseFields, name: string): string[] {
  return listField(fields, name)
    .split(',')
    .map((token) => token.trim().toLowerCase())
    .filter((token) => token !== '')
}

/** Null when the origin does not say, or says more than we handle. */
export function contentLength(fields: ResponseFields): number | null {
  const text = singleField(fields, 'content-length')
  if (text === null || !/^\d{1,16}$/.test(text)) return null
  const value = Number(text)
  return isContentLength(value) ? value : null
}

/** The content coding that is not `identity`, or null. */
export function contentCoding(fields: ResponseFields): string | null {
  return listTokens(fields, 'content-encoding').find((coding) => coding !== 'identity') ?? null
}
