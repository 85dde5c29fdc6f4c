import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import t from 'tap'

const child = fileURLToPath(new URL('./no-descriptors-child.ts', import.meta.url))
const skip = process.platform !== 'linux' && 'needs Linux'

/** In a session of its own: a signal that goes astray, to a process without a number, ends nothing else. */
function answers(what: string): string {
  const words = [process.execPath, ...process.execArgv, child, what].map((word) => `'${word}'`)
  const { stdout, stderr } = spawnSync('sh', ['-c', `ulimit -n 200; exec setsid -w ${words.join(' ')}`], {
    encoding: 'utf8',
  })
  return stdout + stderr
}

t.test('an agent without descriptors runs no program, and lives', { skip }, (t) => {
  t.equal(answers('program'), 'not-started\ngoes on\n')
  t.end()
})

t.test('an agent without descriptors starts no process of a user, and lives', { skip }, (t) => {
  t.equal(answers('owner'), 'refused\ngoes on\n')
  t.end()
})
