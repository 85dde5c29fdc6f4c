import { chmod, mkdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import pino from 'pino'
import t from 'tap'
import type { JobId, JobOwner } from '../../src/jobs/job.ts'
import type { OutboxEntry } from '../../src/jobs/job-events.ts'
import { allowedProgram, commandNotifier } from '../../src/jobs/notify-command.ts'
import { type Program, runProgram } from '../../src/jobs/program.ts'

const isPosix = process.platform !== 'win32'
const log = pino({ level: 'silent' })
const { signal } = new AbortController()
const self: JobOwner = { uid: process.geteuid?.() ?? null, name: 'self' }

/** Writes its arguments and variables, apart by zero bytes, where its last argument says. */
const TELL = `#!${process.execPath}
const { writeFileSync } = process.getBuiltinModule('node:fs')
const args = process.argv.slice(2)
writeFileSync(args.at(-1), JSON.stringify({ args, env: process.env, cwd: process.cwd() }))
`

async function script(path: string, text: string): Promise<string> {
  await writeFile(path, text)
  await chmod(path, 0o755)
  return path
}

function entryOf(command: readonly string[], owner: JobOwner = self): OutboxEntry {
  return {
    channel: 'command',
    event: {
      id: 7,
      atMs: 0,
      job: '0d9c5b5e-7a52-4f43-9d0e-5f4a1f5d4f11' as JobId,
      name: 'name $(id); "x"',
      owner,
      kind: 'state',
      previous: 'transferring',
      state: 'error',
      error: {
        code: 'SHORTHAUL_ORIGIN_NOT_FOUND',
        message: 'gone',
        fileIndex: 0,
        isTransient: false,
        hasRetryAfter: false,
        atMs: 0,
      },
    },
    notifyEvent: 'error',
    command,
    webhookUrl: null,
    sealed: null,
    attempt: 0,
    retry: null,
  }
}

t.test('arguments arrive as they are, whatever a shell would make of them', { skip: !isPosix }, async (t) => {
  const dir = t.testdir({ bin: {} })
  const program = await script(join(dir, 'bin', 'tell'), TELL)
  const odd = ['$(touch /tmp/never)', '`id`', 'a b', '"', "'", 'two\nlines', '', '*', '; exit 1', '--', '$HOME', 'ü€']
  const out = join(dir, 'out')
  const notify = commandNotifier(
    { log, runAsOwner: (_, what, about) => runProgram(what, about) },
    { commandDirs: [join(dir, 'bin')] },
  )
  t.same(await notify(entryOf([program, ...odd, out]), { signal }), { kind: 'delivered' })
  const { args, env, cwd } = JSON.parse(await readFile(out, 'utf8'))
  t.same(args, [...odd, out])
  t.equal(cwd, '/')
  t.match(env, {
    SHORTHAUL_EVENT_ID: '0d9c5b5e-7a52-4f43-9d0e-5f4a1f5d4f11-7',
    SHORTHAUL_EVENT: 'error',
    SHORTHAUL_JOB: '0d9c5b5e-7a52-4f43-9d0e-5f4a1f5d4f11',
    SHORTHAUL_JOB_NAME: 'name $(id); "x"',
    SHORTHAUL_STATE: 'error',
    SHORTHAUL_ERROR_CODE: 'SHORTHAUL_ORIGIN_NOT_FOUND',
  })
  // tap puts these into every process that a test starts.
  const isOfTap = (name: string) => name.startsWith('_TAPJS_') || name === 'NODE_OPTIONS'
  const others = Object.keys(env).filter((name) => !name.startsWith('SHORTHAUL_') && !isOfTap(name))
  t.same(
    others.filter((name) => !['PATH', 'HOME', 'USER', 'LANG'].includes(name)),
    [],
    'and nothing else of ours',
  )
})

t.test(
  'a program is refused that lies elsewhere, leads elsewhere, or could be exchanged',
  { skip: !isPosix },
  async (t) => {
    const dir = t.testdir({ bin: { open: {} }, elsewhere: {}, 'bin-too': {} })
    const commandDirs = [join(dir, 'bin'), join(dir, 'missing')]
    const about = { commandDirs, owner: self }
    const inside = await script(join(dir, 'bin', 'inside'), TELL)
    const outside = await script(join(dir, 'elsewhere', 'outside'), TELL)
    await symlink(outside, join(dir, 'bin', 'leads-out'))
    await symlink(inside, join(dir, 'bin', 'leads-in'))
    const alike = await script(join(dir, 'bin-too', 'alike'), TELL)
    const writable = await script(join(dir, 'bin', 'writable'), TELL)
    await chmod(writable, 0o757)
    const exchangeable = await script(join(dir, 'bin', 'open', 'exchangeable'), TELL)
    await chmod(join(dir, 'bin', 'open'), 0o777)
    t.equal(await allowedProgram(inside, about), inside)
    t.equal(await allowedProgram(join(dir, 'bin', 'leads-in'), about), inside, 'the file itself is run, not the link')
    const refusals: readonly (readonly [string, RegExp])[] = [
      [outside, /outside of jobs.commandDirs/],
      [join(dir, 'bin', 'leads-out'), /outside of jobs.commandDirs/],
      [join(dir, 'bin', '..', 'elsewhere', 'outside'), /outside of jobs.commandDirs/],
      [alike, /outside of jobs.commandDirs/],
      [join(dir, 'bin'), /outside of jobs.commandDirs/],
      [join(dir, 'bin', 'open'), /not a plain file/],
      [writable, /others than its owner can write/],
      [exchangeable, /others than its owner can write/],
    ]
    for (const [program, message] of refusals) {
      await t.rejects(allowedProgram(program, about), { code: 'SHORTHAUL_FORBIDDEN', message })
    }
    await t.rejects(allowedProgram(inside, { commandDirs: [], owner: self }), { code: 'SHORTHAUL_FORBIDDEN' })
    await t.rejects(allowedProgram(join(dir, 'bin', 'no'), about), { code: 'ENOENT' })
    const notify = commandNotifier({ log, runAsOwner: () => Promise.reject(new Error('it ran')) }, { commandDirs })
    t.match(await notify(entryOf([join(dir, 'bin', 'leads-out')]), { signal }), { kind: 'refused' })
    t.match(await notify(entryOf([join(dir, 'bin', 'no')]), { signal }), { kind: 'failed' })
  },
)

t.test('what ran was told, whatever came of it; what did not start was not', { skip: !isPosix }, async (t) => {
  const dir = t.testdir({ bin: {} })
  const notify = commandNotifier(
    { log, runAsOwner: (_, what, about) => runProgram(what, about) },
    { commandDirs: [join(dir, 'bin')] },
  )
  const failing = await script(join(dir, 'bin', 'fails'), '#!/bin/sh\nexit 9\n')
  t.same(await notify(entryOf([failing]), { signal }), { kind: 'delivered' })
  const notExecutable = join(dir, 'bin', 'not-executable')
  await writeFile(notExecutable, '#!/bin/sh\n')
  t.match(await notify(entryOf([notExecutable]), { signal }), { kind: 'failed', message: /EACCES/ })
  const noInterpreter = await script(join(dir, 'bin', 'no-interpreter'), '#!/nowhere/at/all\n')
  t.match(await notify(entryOf([noInterpreter]), { signal }), { kind: 'failed', message: /ENOENT/ })
})

t.test(
  'a program has no input, an end to what it says, and a deadline for all it started',
  { skip: !isPosix },
  async (t) => {
    const dir = t.testdir({})
    const run = (text: string, deadlineMs = 60_000): Promise<unknown> =>
      script(join(dir, 'program'), `#!/bin/sh\n${text}\n`).then((path) => {
        const program: Program = { path, argv: [path], variables: {}, deadlineMs }
        return runProgram(program, { signal })
      })
    t.match(await run('read line; echo "got <$line>"; exit 3'), { kind: 'ended', exitCode: 3, output: 'got <>\n' })
    const { output } = Object(await run('head -c 1000000 /dev/zero | tr "\\0" x'))
    t.equal(output, 'x'.repeat(16 * 1024))
    t.match(await run('echo begun; sleep 600 & wait', 300), { kind: 'ended', exitCode: null, isKilled: true })
    await mkdir(join(dir, 'more'))
    const stop = new AbortController()
    const path = await script(join(dir, 'hangs'), '#!/bin/sh\nsleep 600 & wait\n')
    const ended = runProgram({ path, argv: [path], variables: {}, deadlineMs: 60_000 }, { signal: stop.signal })
    stop.abort()
    t.match(await ended, { kind: 'ended', isKilled: true })
  },
)
