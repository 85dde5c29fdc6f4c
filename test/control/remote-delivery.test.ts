import type { ServerResponse } from 'node:http'
import t from 'tap'
import { RemoteDelivery } from '../../src/control/remote-delivery.ts'

t.test('a client that dies while it is asked for the digest fails its fetch, and nothing else', async (t) => {
  const left: unknown[] = []
  const onUnhandled = (error: unknown) => left.push(error)
  process.on('unhandledRejection', onUnhandled)
  t.teardown(() => process.off('unhandledRejection', onUnhandled))
  const gone = new AbortController()
  // The kernel says so to the one who writes, and only then to the one who listens.
  const response = {
    write: (_bytes: Uint8Array, done: (error: Error) => void) =>
      done(Object.assign(new Error('write EPIPE'), { code: 'EPIPE' })),
  } as unknown as ServerResponse
  const options = { leftOver: [], isInOrder: false, isWhole: true, part: null, signal: gone.signal }
  const delivery = new RemoteDelivery(response, options)
  await t.rejects(delivery.digest(10), { code: 'EPIPE' })
  gone.abort(new Error('The client went away'))
  // Rejections that nobody handled are told when the microtasks are done.
  await new Promise((resolve) => setImmediate(resolve))
  t.same(left, [])
})
