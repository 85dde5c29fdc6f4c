import fc from 'fast-check'
import t from 'tap'
import { decodeSentEvents, encodeSentEvent, KEEP_ALIVE, type SentEvent } from '../../src/control/sse.ts'

const events = fc.array(
  fc.record({
    id: fc.option(fc.nat().map(String)),
    event: fc.constantFrom('state', 'progress'),
    data: fc.jsonValue().map((value) => JSON.stringify(value)),
  }),
  { maxLength: 10 },
)

async function decoded(chunks: readonly Uint8Array[]): Promise<SentEvent[]> {
  const found: SentEvent[] = []
  const stream = (async function* () {
    yield* chunks
  })()
  for await (const event of decodeSentEvents(stream)) found.push(event)
  return found
}

await t.test('events come as they were sent, however the stream is cut, and comments do not', async (t) => {
  await fc.assert(
    fc.asyncProperty(events, fc.integer({ min: 1, max: 50 }), async (sent, chunkBytes) => {
      const bytes = Buffer.from(
        `retry: 1000\n${KEEP_ALIVE}${sent.map((each) => encodeSentEvent(each) + KEEP_ALIVE).join('')}`,
      )
      const chunks: Buffer[] = []
      for (let at = 0; at < bytes.length; at += chunkBytes) chunks.push(bytes.subarray(at, at + chunkBytes))
      t.same(await decoded(chunks), sent)
    }),
    { numRuns: 100 },
  )
})

await t.test('an id alone is told, and what was begun at the end is not', async (t) => {
  t.same(await decoded([Buffer.from(encodeSentEvent({ id: '7', event: '', data: '' }))]), [
    { id: '7', event: 'message', data: '' },
  ])
  t.same(await decoded([Buffer.from('id: 8\nevent: state\ndata: {}')]), [])
})

await t.test('what is longer than any event is refused', async (t) => {
  await t.rejects(decoded([Buffer.alloc(300_000, 'x')]), RangeError)
  await t.rejects(decoded([Buffer.from('data\n'.repeat(300_000))]), RangeError, 'also of empty lines')
  await t.rejects(decoded([Buffer.from(`data: x\n${`data: ${'x'.repeat(1000)}\n`.repeat(300)}`)]), RangeError)
})
