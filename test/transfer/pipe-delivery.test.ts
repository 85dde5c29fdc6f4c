import { createHash } from 'node:crypto'
import fc from 'fast-check'
import t from 'tap'
import { verifySegment } from '../../src/content/verify.ts'
import type { Store } from '../../src/store/store.ts'
import { PIPE_WINDOW_SEGMENTS, PipeDelivery } from '../../src/transfer/pipe-delivery.ts'
import type { Delivery } from '../../src/transfer/request.ts'

const textOf = (index: number) => `segment ${index}; `
const segment = (index: number) => verifySegment(Buffer.from(textOf(index)), null)

/** A pipe that takes bytes when it is told to. */
function slowPipe() {
  const taken: string[] = []
  const waiting: { resolve: () => void; reject: (error: Error) => void }[] = []
  const delivery = new PipeDelivery((bytes) => {
    taken.push(Buffer.from(bytes).toString())
    return new Promise((resolve, reject) => waiting.push({ resolve, reject }))
  })
  return { delivery, taken, waiting }
}

/** Long enough for every promise that can settle without the pipe. */
const turn = () => new Promise<void>((resolve) => setImmediate(resolve))

void t.test('in whatever order segments come, they go out in order, once, and so does the digest', async () => {
  const orders = fc.shuffledSubarray([0, 1, 2, 3, 4, 5, 6, 7], { minLength: 8 })
  await fc.assert(
    fc.asyncProperty(orders, async (order) => {
      let out = ''
      const delivery = new PipeDelivery(async (bytes) => {
        out += Buffer.from(bytes).toString()
      })
      await Promise.all(order.map((index) => delivery.write(index, segment(index))))
      const expected = [0, 1, 2, 3, 4, 5, 6, 7].map(textOf).join('')
      await delivery.complete()
      return out === expected && (await delivery.digest()) === createHash('sha256').update(expected).digest('hex')
    }),
    { numRuns: 50 },
  )
})

void t.test('the window moves with what the pipe took, not with what was fetched', async (t) => {
  const { delivery, waiting } = slowPipe()
  let moves = 0
  delivery.onWindow(() => moves++)
  void delivery.write(1, segment(1))
  const first = delivery.write(0, segment(0))
  await turn()
  t.equal(delivery.windowEnd(), PIPE_WINDOW_SEGMENTS)
  waiting[0]?.resolve()
  await turn()
  t.equal(delivery.windowEnd(), PIPE_WINDOW_SEGMENTS + 1)
  waiting[1]?.resolve()
  await first
  t.equal(delivery.windowEnd(), PIPE_WINDOW_SEGMENTS + 2)
  t.equal(moves, 2)
})

void t.test('a buffer may be used again as soon as its write resolves', async (t) => {
  const { delivery, taken, waiting } = slowPipe()
  const write = async (index: number) => {
    const bytes = Buffer.from(textOf(index))
    await delivery.write(index, verifySegment(bytes, null))
    bytes.fill('!')
  }
  const writes = [write(2), write(0), write(1), write(3)]
  for (let at = 0; at < 4; at++) {
    await turn()
    waiting[at]?.resolve()
  }
  await Promise.all(writes)
  await delivery.complete()
  t.equal(taken.join(''), [0, 1, 2, 3].map(textOf).join(''))
})

void t.test('a segment that is early does not wait for the ones before it, which may never come', async (t) => {
  const { delivery, taken } = slowPipe()
  await delivery.write(1, segment(1))
  await delivery.write(2, segment(2))
  t.same(taken, [])
  await delivery.abandon()
})

void t.test('a pipe that breaks fails what is being written and all that comes later', async (t) => {
  const { delivery, waiting } = slowPipe()
  const broken = new Error('EPIPE')
  const [first, second] = [delivery.write(0, segment(0)), delivery.write(1, segment(1))]
  await turn()
  waiting[0]?.reject(broken)
  await t.rejects(first, broken)
  await t.rejects(second, broken)
  await t.rejects(delivery.write(2, segment(2)), broken)
  await t.rejects(delivery.complete(), broken)
})

void t.test('starting over', async (t) => {
  await t.test('is possible while nothing went out, and forgets what was held back', async (t) => {
    let out = ''
    const delivery = new PipeDelivery(async (bytes) => {
      out += Buffer.from(bytes).toString()
    })
    await delivery.write(1, verifySegment(Buffer.from('old'), null))
    await delivery.restart()
    await delivery.write(0, segment(0))
    t.equal(out, textOf(0), 'the old segment did not follow the new one')
    await delivery.write(1, segment(1))
    t.equal(out, textOf(0) + textOf(1))
  })

  await t.test('is refused from the moment that the first byte goes out', async (t) => {
    const { delivery, waiting } = slowPipe()
    const writing = delivery.write(0, segment(0))
    await turn()
    const refused = { code: 'SHORTHAUL_ORIGIN_CHANGED', retryable: false }
    await t.rejects(delivery.restart(), refused, 'also before the pipe took it')
    waiting[0]?.resolve()
    await writing
    await t.rejects(delivery.restart(), refused)
  })
})

void t.test('the compiler refuses bytes that nobody verified', async (t) => {
  const { hash, bytes } = segment(0)
  // Never called: these lines are for the type-checker, which fails when one of them needs no expectation.
  const neverCalled = async (store: Store, delivery: Delivery) => {
    const at = { resource: '' as never, index: 0 }
    // @ts-expect-error: a hash beside bytes is no proof
    await store.commit({ hash, bytes }, at, { signal: new AbortController().signal })
    // @ts-expect-error: likewise
    await delivery.write(0, { hash, bytes })
    // @ts-expect-error: nor are bytes alone
    await delivery.write(0, bytes)
  }
  t.type(neverCalled, 'function')
})
