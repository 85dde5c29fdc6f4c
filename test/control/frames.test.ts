import fc from 'fast-check'
import t from 'tap'
import { decodeFrames, encodeFrame, encodeSegmentHead } from '../../src/control/frames.ts'

type Sent = { readonly keep: number } | { readonly index: number; readonly bytes: Uint8Array }

const sent: fc.Arbitrary<Sent> = fc.oneof(
  fc.record({ keep: fc.nat(1000) }, { noNullPrototype: true }),
  fc.record({ index: fc.nat(1000), bytes: fc.uint8Array({ minLength: 1, maxLength: 300 }) }, { noNullPrototype: true }),
)

const encoded = (frame: Sent): Uint8Array =>
  'keep' in frame
    ? encodeFrame({ frame: 'keep', index: frame.keep })
    : Buffer.concat([encodeSegmentHead(frame.index, frame.bytes.byteLength), frame.bytes])

async function* cut(bytes: Uint8Array, chunkBytes: number): AsyncGenerator<Uint8Array> {
  for (let start = 0; start < bytes.byteLength; start += chunkBytes) yield bytes.subarray(start, start + chunkBytes)
}

t.test(
  'frames come as they were sent, however the stream is cut; each is used before the next is asked for',
  async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(sent, { maxLength: 8 }),
        fc.integer({ min: 1, max: 400 }),
        async (frames, chunkBytes) => {
          const got: Sent[] = []
          for await (const frame of decodeFrames(cut(Buffer.concat(frames.map(encoded)), chunkBytes))) {
            if (frame.frame === 'keep') got.push({ keep: frame.index })
            if (frame.frame === 'segment') got.push({ index: frame.index, bytes: Uint8Array.from(frame.bytes) })
          }
          return fc.stringify(got) === fc.stringify(frames)
        },
      ),
    )
  },
)

t.test('any bytes are frames or an error, and nothing is set aside for a length that no frame has', async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 64 }), async (bytes) => {
      try {
        for await (const frame of decodeFrames(cut(bytes, 7))) Object(frame)
      } catch (error) {
        return Object(error).code === 'SHORTHAUL_CONTROL_IO'
      }
      return true
    }),
  )
  await t.rejects(
    async () => {
      for await (const frame of decodeFrames(cut(Buffer.from([2, 255, 255, 255, 255]), 5))) Object(frame)
    },
    { code: 'SHORTHAUL_CONTROL_IO' },
  )
})
