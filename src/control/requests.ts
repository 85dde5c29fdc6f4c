/** Bodies of control requests, checked: whoever can reach the socket is still a stranger to our types. */
import { z } from 'zod'
import { parseId, type SegmentHash } from '../content/ids.ts'
import { ShorthaulError } from '../errors.ts'
import { PRIORITIES } from '../throttle/priority.ts'
import type { TransferRequest } from '../transfer/request.ts'
import { MAX_FILE_RANGES } from '../transfer/wanted.ts'

export interface FetchBody {
  readonly request: TransferRequest
  /** Hashes of what the client's part has already, by position. */
  readonly leftOver: readonly (SegmentHash | null)[]
  /** The target is a pipe. */
  readonly isInOrder: boolean
}

const URL_TEXT = z
  .string()
  .min(1)
  .max(16 * 1024)
const RANGE = z.strictObject({ startBytes: z.int().min(0), endBytes: z.int().min(1).nullable() })
const FETCH = z.strictObject({
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
})
const WITH_URL = z.strictObject({ url: URL_TEXT })

/** @throws SHORTHAUL_USAGE */
export function parseFetchBody(body: unknown): FetchBody {
  const { request, leftOver, isInOrder } = parse(FETCH, body)
  return { request, leftOver: leftOver.map((hash) => (hash === null ? null : parseId<SegmentHash>(hash))), isInOrder }
}

/** @throws SHORTHAUL_USAGE */
export function parseUrlBody(body: unknown): string {
  return parse(WITH_URL, body).url
}

function parse<T>(schema: z.ZodType<T>, body: unknown): T {
  const result = schema.safeParse(body)
  if (result.success) return result.data
  throw new ShorthaulError('SHORTHAUL_USAGE', `Cannot read the request: ${z.prettifyError(result.error)}`)
}
