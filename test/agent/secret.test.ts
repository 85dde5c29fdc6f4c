import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { SecretWatch } from '../../src/agent/secret.ts'
import { createSecret, rotateSecret } from '../../src/config/secret.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

const log = pino({ level: 'silent' })

async function watched(t: Test) {
  const clock = new VirtualClock()
  const secret = await createSecret(join(t.testdir(), 's'))
  const seen: string[] = []
  let wake = () => {}
  const watch = SecretWatch.open(
    { clock, random: () => 0.5, log },
    {
      secret,
      onChange: (changed) => {
        seen.push(changed.secret.toString('base64'))
        wake()
      },
    },
  )
  t.teardown(() => watch.close())
  const next = () =>
    new Promise<void>((resolve) => {
      wake = resolve
    })
  const rotate = () => rotateSecret(secret, { nowMs: 0, windowMs: 0, wireKey: Buffer.alloc(32) })
  return { clock, secret, seen, watch, next, rotate }
}

t.test('a replaced secret is noticed within about a minute, without a signal', async (t) => {
  const { clock, seen, next, rotate } = await watched(t)
  const first = next()
  const made = await rotate()
  await clock.pass(60_000)
  await first
  t.same(seen, [made.secret.toString('base64')])
})

t.test('a reload tells whether there is news, and a broken file leaves all as it is', async (t) => {
  const { secret, seen, watch, rotate } = await watched(t)
  t.equal(await watch.reload(), false)
  const made = await rotate()
  t.equal(await watch.reload(), true)
  t.equal(await watch.reload(), false)
  writeFileSync(secret.path, 'half a fi')
  t.equal(await watch.reload(), false)
  t.same(seen, [made.secret.toString('base64')])
  await watch.close()
  writeFileSync(secret.path, `${secret.secret.toString('base64')}\n`)
  t.equal(await watch.reload(), false, 'nothing is heard after close')
  t.equal(seen.length, 1)
})
