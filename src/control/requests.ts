/** Control requests, checked: whoever can reach the socket is still a stranger to our types. Jobs: job-requests.ts. */
import { z } from 'zod'
import { parseId, type SegmentHash } from '../content/ids.ts'
import { ShorthaulError } from '../errors.ts'
import { PRIORITIES } from '../throttle/priority.ts'
import type { PartOffer, TransferRequest } from '../transfer/request.ts'
import { MAX_FILE_RANGES } from '../transfer/wanted.ts'

export interface FetchBody {
  readonly request: TransferRequest
  /** Hashes of what the client's part has already, by position. */
  readonly leftOver: readonly (SegmentHash | null)[]
  /** The target is a pipe. */
  readonly isInOrder: boolean
  /** What an agent of the same user may write into; null: the client writes. */
  readonly part: PartOffer | null
}

const URL_TEXT = z
  .string()
  .min(1)
  .max(16 * 1024)
const PATH = z.string().min(1).max(4096)
const RANGE = z.strictObject({ startBytes: z.int().min(0), endBytes: z.int().min(1).nullable() })
export const FETCH_BODY = z.strictObject({
  request: z.strictObject({
    url: URL_TEXT,
    headers: z.array(z.tuple([z.string().min(1).max(256), z.string().max(16 * 1024)])).max(64),
    sha256: z
      .string()
      .regex(/^[0-9a-f]{64}$/)
      .nullable(),
    priority: z.enum(PRIORITIES),
    usePeers: z.boolean(),
    useOrigin: z.boolean(),
    originMaxBytesPerSec: z.number().positive().nullable(),
    proxy: z
      .string()
      .max(16 * 1024)
      .optional(),
    ranges: z.array(RANGE).min(1).max(MAX_FILE_RANGES).nullable().optional(),
  }),
  leftOver: z.array(z.string().nullable()).max(128 * 1024),
  isInOrder: z.boolean(),
  part: z
    .strictObject({ target: PATH, path: PATH, file: z.string().max(64) })
    .nullable()
    .optional(),
})
export const URL_BODY = z.strictObject({ url: URL_TEXT })

/** A whole key: what is believed again must not be a matter of a typing error. */
export const MEMBER_BODY = z.strictObject({ key: z.string().regex(/^[0-9a-f]{64}$/) })

/** Of the verified content in the client's part. */
export const DIGEST_BODY = z.strictObject({ sha256: z.string().regex(/^[0-9a-f]{64}$/) })

export function fetchBodyOf({ leftOver, part = null, ...body }: z.output<typeof FETCH_BODY>): FetchBody {
  return { ...body, part, leftOver: leftOver.map((hash) => (hash === null ? null : parseId<SegmentHash>(hash))) }
}

/** Each file of a long list can be wrong in its own way, and quotes what was found. */
const MAX_SHOWN_ISSUES = 10
const MAX_SHOWN_CHARS = 2000

/** @throws SHORTHAUL_USAGE with the first things that are wrong */
export function parse<T>(schema: z.ZodType<T>, found: unknown): T {
  const result = schema.safeParse(found)
  if (result.success) return result.data
  const { issues } = result.error
  const shown = z.prettifyError({ issues: issues.slice(0, MAX_SHOWN_ISSUES) }).slice(0, MAX_SHOWN_CHARS)
  const more = issues.length > MAX_SHOWN_ISSUES ? `\nand ${issues.length - MAX_SHOWN_ISSUES} more` : ''
  throw new ShorthaulError('SHORTHAUL_USAGE', `Cannot read the request: ${shown}${more}`)
}

/**
 * A query by its schema: a field that is a list has commas or is repeated, the others stand once.
 * @throws SHORTHAUL_USAGE
 */
export function parseQuery<T>(schema: z.ZodType<T>, search: URLSearchParams): T {
  const lists = listsOf(schema)
  const found: Record<string, unknown> = {}
  for (const name of new Set(search.keys())) {
    const values = search.getAll(name)
    if (lists.has(name)) found[name] = values.flatMap((value) => value.split(','))
    else if (values.length === 1) found[name] = values[0]
    else
      throw new ShorthaulError(
        'SHORTHAUL_USAGE',
        `Cannot read the request: "${name.slice(0, 100)}" more than once in the query`,
      )
  }
  return parse(schema, found)
}

function listsOf(schema: z.ZodType): ReadonlySet<string> {
  if (!(schema instanceof z.ZodObject)) return new Set()
  const fields: [string, unknown][] = Object.entries(schema.shape)
  return new Set(fields.filter(([, field]) => isList(field)).map(([name]) => name))
}

function isList(field: unknown): boolean {
  return field instanceof z.ZodOptional ? isList(field.unwrap()) : field instanceof z.ZodArray
}
