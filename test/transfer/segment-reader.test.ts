import fc from 'fast-check'
import t from 'tap'
import { SegmentPool } from '../../src/content/segment-pool.ts'
import { SEGMENT_BYTES } from '../../src/content/segmentation.ts'
import type { OriginStream } from '../../src/origin/origin.ts'
import { type ReadOptions, readSegments } from '../../src/transfer/segment-reader.ts'
import { generatedContent } from '../support/generated-content.ts'

const CONTENT = generatedContent(1, 3 * SEGMENT_BYTES + 4321)

/** The body in chunks of these sizes, over and over. */
async function* cut(body: Buffer, sizes: readonly number[]): AsyncGenerator<Uint8Array> {
  for (let offset = 0, at = 0; offset < body.byteLength; at++) {
    const size = sizes[at % sizes.length] ?? 1
    yield Buffer.from(body.subarray(offset, offset + size))
    offset += size
  }
}

function streamOf(body: AsyncIterable<Uint8Array>, offset = 0): OriginStream {
  // The reader looks at nothing else.
  return { offset, body, cancel: async () => {} } as Partial<OriginStream> as OriginStream
}

function read(stream: OriginStream, rest: Partial<ReadOptions> = {}) {
  const counted = { pacedBytes: 0, partialBytes: 0 }
  const options: ReadOptions = {
    signal: new AbortController().signal,
    pool: new SegmentPool(),
    pace: async (bytes) => {
      counted.pacedBytes += bytes
    },
    onPartial: (bytes) => {
      counted.partialBytes += bytes
    },
    ...rest,
  }
  return { counted, segments: readSegments(stream, options) }
}

async function all(segments: AsyncIterable<readonly [number, Uint8Array]>): Promise<[number, Uint8Array][]> {
  const found: [number, Uint8Array][] = []
  for await (const [index, bytes] of segments) found.push([index, bytes])
  return found
}

const WHOLE = CONTENT.read(0, CONTENT.lengthBytes)

void t.test('however the body is chunked, whole segments come out, and the rest last', async () => {
  // Empty chunks too, and some that hold more than one segment; their sum is never zero.
  const sizes = fc.tuple(fc.integer({ min: 30_000, max: 2 * SEGMENT_BYTES + 7 }), fc.array(fc.nat(SEGMENT_BYTES)))
  const body = fc.integer({ min: 0, max: CONTENT.lengthBytes })
  await fc.assert(
    fc.asyncProperty(sizes, body, fc.nat(5), async ([first, others], lengthBytes, start) => {
      const stream = streamOf(cut(WHOLE.subarray(0, lengthBytes), [first, ...others]), start * SEGMENT_BYTES)
      const { counted, segments } = read(stream)
      const found = await all(segments)
      return (
        found.every(([index], at) => index === start + at) &&
        found.every(([, bytes], at) => at === found.length - 1 || bytes.byteLength === SEGMENT_BYTES) &&
        Buffer.concat(found.map(([, bytes]) => bytes)).equals(WHOLE.subarray(0, lengthBytes)) &&
        counted.pacedBytes === lengthBytes &&
        counted.partialBytes === 0
      )
    }),
    { numRuns: 30 },
  )
})

void t.test('a stream that starts within a segment is a mistake of the caller', async (t) => {
  await t.rejects(all(read(streamOf(cut(WHOLE, [1000]), 5)).segments), RangeError)
})

void t.test('every byte that was read and not given out is reported', async (t) => {
  await t.test('when the reader leaves, also what is left of the last chunk', async (t) => {
    for (const size of [300_000, SEGMENT_BYTES, 2 * SEGMENT_BYTES + 99]) {
      const { counted, segments } = read(streamOf(cut(WHOLE, [size])))
      for await (const [index] of segments) if (index === 0) break
      t.equal(counted.partialBytes, counted.pacedBytes - SEGMENT_BYTES)
    }
  })

  await t.test('when the body breaks', async (t) => {
    const broken = new Error('reset')
    async function* body() {
      yield* cut(WHOLE.subarray(0, SEGMENT_BYTES + 5000), [60_000])
      throw broken
    }
    const { counted, segments } = read(streamOf(body()))
    await t.rejects(all(segments), broken)
    t.equal(counted.partialBytes, 5000)
  })

  await t.test('when it is aborted between two chunks', async (t) => {
    const abort = new AbortController()
    let bodyEnded = false
    async function* body() {
      try {
        yield Buffer.from(WHOLE.subarray(0, SEGMENT_BYTES + 10))
        abort.abort()
        yield Buffer.from(WHOLE.subarray(0, 10))
      } finally {
        bodyEnded = true
      }
    }
    const { counted, segments } = read(streamOf(body()), { signal: abort.signal })
    const seen: number[] = []
    const reading = async () => {
      for await (const [index] of segments) seen.push(index)
    }
    await t.rejects(reading(), { code: 'SHORTHAUL_ABORTED' })
    t.same(seen, [0])
    t.equal(counted.partialBytes, 20)
    t.ok(bodyEnded, 'the body was told')
  })

  await t.test('when the throttle is interrupted', async (t) => {
    const stop = new Error('stop')
    const { counted, segments } = read(streamOf(cut(WHOLE, [1000])), { pace: () => Promise.reject(stop) })
    await t.rejects(all(segments), stop)
    t.equal(counted.partialBytes, 1000)
  })
})

void t.test('the body waits while the reader is busy', async (t) => {
  let given = 0
  async function* body() {
    for await (const chunk of cut(WHOLE, [SEGMENT_BYTES])) {
      given++
      yield chunk
    }
  }
  const { segments } = read(streamOf(body()))
  await segments.next()
  t.equal(given, 1)
  await segments.return(undefined)
})
