/**
 * Compares a few bytes of a segment with what the origin has in their place. Not the way in which content is fetched:
 * nothing that is read here is stored or delivered.
 */
import type { Clock } from '../clock.ts'
import type { Resource } from '../content/resource.ts'
import type { ByteRange } from '../content/segmentation.ts'
import { SEGMENT_BYTES } from '../content/segmentation.ts'
import { ShorthaulError } from '../errors.ts'
import type { Origin, OriginRequest } from '../origin/origin.ts'

export interface Sample {
  /** Position of the segment. */
  readonly index: number
  /** Where in the segment. */
  readonly range: ByteRange
  /** What the segment has there. */
  readonly bytes: Uint8Array
}

/** `inconsistent`: the origin answered the same question in two ways. Then nobody can be blamed. */
export type Verdict =
  | { readonly is: 'same' | 'inconsistent' }
  | { readonly is: 'different' /** In the segment, of the first byte that differs. */; readonly offset: number }

export interface SampleComponents {
  readonly origin: Origin
  readonly clock: Clock
  /** Called with the size of every chunk that came. */
  readonly onBytes: (bytes: number) => void
}

interface Asked {
  readonly request: OriginRequest
  readonly resource: Resource
  readonly sample: Sample
}

/** Of both answers together. */
const DEADLINE_MS = 10_000

/**
 * A difference is believed only after the origin gave the same answer twice.
 * @throws SHORTHAUL_ORIGIN_* also when the origin has another generation by now or does no ranges; SHORTHAUL_ABORTED
 */
export async function compareWithOrigin(
  components: SampleComponents,
  asked: Asked,
  options: { readonly signal: AbortSignal },
): Promise<Verdict> {
  const { range, bytes } = asked.sample
  const ended = new AbortController()
  const onAbort = () => ended.abort(options.signal.reason)
  options.signal.addEventListener('abort', onAbort, { once: true })
  if (options.signal.aborted) onAbort()
  components.clock.sleep(DEADLINE_MS, { signal: ended.signal }).then(
    () => ended.abort(new ShorthaulError('SHORTHAUL_ORIGIN_TIMEOUT', 'Cannot read a sample of the content in time')),
    () => {}, // ended before
  )
  try {
    const first = await readSample(components, asked, ended.signal)
    if (first.equals(bytes)) return { is: 'same' }
    const second = await readSample(components, asked, ended.signal)
    if (!second.equals(first)) return { is: 'inconsistent' }
    const at = first.findIndex((byte, index) => byte !== bytes[index])
    return { is: 'different', offset: range.start + at }
  } finally {
    options.signal.removeEventListener('abort', onAbort)
    ended.abort()
  }
}

async function readSample(
  { origin, onBytes }: SampleComponents,
  { request, resource, sample }: Asked,
  signal: AbortSignal,
): Promise<Buffer> {
  const segmentStart = sample.index * SEGMENT_BYTES
  const range = { start: segmentStart + sample.range.start, end: segmentStart + sample.range.end }
  const { validator, lengthBytes } = resource
  const stream = await origin.open(request, { range, expected: { validator, lengthBytes }, signal })
  const wantedBytes = range.end - range.start
  const into = Buffer.alloc(wantedBytes)
  let length = 0
  try {
    for await (const chunk of stream.body) {
      onBytes(chunk.byteLength)
      into.set(chunk.subarray(0, wantedBytes - length), length)
      length += Math.min(chunk.byteLength, wantedBytes - length)
      if (length === wantedBytes) break
    }
  } finally {
    await stream.cancel()
  }
  if (stream.offset === range.start && length === wantedBytes) return into
  throw new ShorthaulError(
    'SHORTHAUL_ORIGIN_UNREACHABLE',
    `Cannot read a sample of the content: got ${length} bytes at ${stream.offset}, expected ${wantedBytes} at ${range.start}`,
  )
}
