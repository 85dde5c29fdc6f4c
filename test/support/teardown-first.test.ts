import { existsSync } from 'node:fs'
import t from 'tap'

t.test('what a test leaves to its end still has its folder, whichever was asked for first', async (t) => {
  const found: boolean[] = []
  await t.test('folder first', async (t) => {
    const folder = t.testdir()
    t.teardown(() => found.push(existsSync(folder)))
  })
  await t.test('end first', async (t) => {
    t.teardown(() => found.push(existsSync(folder)))
    const folder = t.testdir()
  })
  t.strictSame(found, [true, true])
})
