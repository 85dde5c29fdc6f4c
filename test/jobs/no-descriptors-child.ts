/**
 * Does what needs a process of its own when this one has no descriptors left, and says what came of it.
 * argv: `program` or `owner`
 */
import { closeSync, openSync, writeSync } from 'node:fs'
import { setImmediate } from 'node:timers/promises'
import type { Logger } from 'pino'
import { OwnerProcess } from '../../src/jobs/owner-process.ts'
import { runProgram } from '../../src/jobs/program.ts'

const log = { warn: () => {}, debug: () => {} } as unknown as Logger
/** The deadlines of what never began are over at once. */
const realSetTimeout = globalThis.setTimeout
globalThis.setTimeout = ((run: () => void) => realSetTimeout(run, 1)) as typeof setTimeout

function tell(what: string): void {
  writeSync(1, `${what}\n`)
}

process.on('uncaughtException', (error) => {
  tell(`ended by a fault: ${error.message}`)
  process.exit(1)
})

const taken: number[] = []
try {
  for (;;) taken.push(openSync('/dev/null', 'r'))
} catch {
  // None is left.
}
if (process.argv[2] === 'program') {
  const program = { path: '/bin/true', argv: ['true'], variables: {}, deadlineMs: 1000 }
  tell((await runProgram(program, { signal: new AbortController().signal })).kind)
} else {
  const account = { uid: 1000, gid: 1000, name: 'ada', home: '/' }
  await OwnerProcess.start(account, { log }).then(
    () => tell('started'),
    () => tell('refused'),
  )
}
for (const file of taken) closeSync(file)
for (let turn = 0; turn < 100; turn++) await setImmediate()
await new Promise((resolve) => realSetTimeout(resolve, 50))
tell('goes on')
process.exit(0)
