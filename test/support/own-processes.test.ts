import { spawnSync } from 'node:child_process'
import t from 'tap'

t.test('processes that tests start are as users have them, without what tap adds', (t) => {
  for (const env of [process.env, { PATH: process.env.PATH }]) {
    const { stdout } = spawnSync(process.execPath, ['-p', 'process.env.NODE_OPTIONS'], { env, encoding: 'utf8' })
    t.equal(stdout, 'undefined\n')
  }
  t.strictSame(
    process.execArgv.filter((arg) => arg.includes('tapjs')),
    [],
    'also not for those that are started as we were',
  )
  t.end()
})
