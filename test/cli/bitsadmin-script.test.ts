/** A script as it was written for BITS, moved over by prefixing one word, against a daemon of the built command. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdirSync, readFileSync, watch, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { startTestOrigin } from '../support/test-origin.ts'
import { CLI_TEST_TIMEOUT_MS, CliHome } from './cli-home.ts'

t.setTimeout(CLI_TEST_TIMEOUT_MS)

const origin = await startTestOrigin()
t.teardown(() => origin.close())

const COMMAND = process.env.SHORTHAUL_CLI ?? fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))

/** $1 and $2: URLs. $3: the command to be told by. `shorthaul` is a function, as it would be a file in PATH. */
const SCRIPT = `set -e
shorthaul bitsadmin /create /download nightly
shorthaul bitsadmin /addfile nightly "$1" one.bin
shorthaul bitsadmin /addfile nightly "$2" "$PWD/two.bin"
shorthaul bitsadmin /SetPriority nightly HIGH
shorthaul bitsadmin /setnotifycmdline nightly "$3" "$3 \\"first word\\" second"
shorthaul bitsadmin /resume nightly
state=QUEUED
until [ "$state" = TRANSFERRED ]; do
  state=$(shorthaul bitsadmin /rawreturn /getstate nightly)
  case "$state" in ERROR | CANCELLED) shorthaul bitsadmin /geterror nightly; exit 9 ;; esac
  sleep 0.2
done
shorthaul bitsadmin /complete nightly
shorthaul bitsadmin /list`

t.test('a script for BITS runs with one word in front, and its command is run', async (t) => {
  const base = t.testdir({ programs: {} })
  const programs = join(base, 'programs')
  const told = join(base, 'told.txt')
  const command = join(programs, 'tell')
  writeFileSync(
    command,
    `#!/bin/sh\nprintf '%s|' "$SHORTHAUL_EVENT" "$SHORTHAUL_JOB_NAME" "$@" > '${told}.new'\nmv '${told}.new' '${told}'\n`,
  )
  chmodSync(programs, 0o755)
  chmodSync(command, 0o755)
  const home = new CliHome({ jobs: { commandDirs: [programs] } })
  t.teardown(() => home.close())
  await home.daemon()
  const work = home.path()
  mkdirSync(work, { recursive: true })
  const urls = [1, 2].map((seed) => origin.serve(`/script/${seed}`, { seed, lengthBytes: 100_000 * seed }))

  const watcher = watch(base)
  t.teardown(() => watcher.close())
  const isTold = (async () => {
    for (;;) {
      try {
        return readFileSync(told, 'utf8')
      } catch {
        await once(watcher, 'change')
      }
    }
  })()
  const ran = await runScript(home, [...urls, command])
  t.equal(ran.code, 0, ran.stderr)
  t.equal(ran.stderr, '')
  const said = ran.stdout.split(/\nBITSADMIN version 3\.0\nBITS administration utility\.\nshorthaul [^\n]+\n\n/)
  t.match(said[1], /^Created job \{[-0-9A-F]{36}\}\.\n$/)
  t.same(said.slice(2), [
    `Added ${urls[0]} -> ${join(work, 'one.bin')} to job.\n`,
    `Added ${urls[1]} -> ${join(work, 'two.bin')} to job.\n`,
    'Priority set to HIGH.\n',
    `Notification command line set to '${command}' '"first word" second'.\n`,
    'Job resumed.\n',
    'Job completed.\n',
    'Listed 0 job(s).\n',
  ])
  for (const [at, name] of ['one.bin', 'two.bin'].entries()) {
    const content = origin.content(`/script/${at + 1}`)
    t.ok(content.read(0, content.lengthBytes).equals(readFileSync(join(work, name))), name)
  }
  t.equal(await isTold, 'transferred|nightly|first word|second|')
})

t.test('failures are on stderr with the number of BITS, and the exit code is not zero', async (t) => {
  const home = new CliHome()
  t.teardown(() => home.close())
  const alone = await home.run(['bitsadmin', '/list'])
  t.equal(alone.code, 2)
  t.match(alone.stderr, 'SHORTHAUL_DAEMON_UNREACHABLE')
  await home.daemon()
  const unknown = await home.run(['bitsadmin', '/rawreturn', '/getstate', 'nobody'])
  t.equal(unknown.code, 2)
  t.equal(unknown.text, '')
  t.match(unknown.stderr, '0x80200001 (SHORTHAUL_JOB_NOT_FOUND)')
  const refused = await home.run(['bitsadmin', '/setaclflag', 'nobody', 'O'])
  t.equal(refused.code, 2)
  t.match(refused.stderr, 'access lists are not copied')
  const url = origin.serve('/script/transfer', { seed: 5, lengthBytes: 1000 })
  const transfer = await home.run(['bitsadmin', '/transfer', 'now', url, 'now.bin'])
  t.equal(transfer.code, 0, transfer.stderr)
  t.match(transfer.text, /\nTransfer complete\.\n$/)
  t.equal(readFileSync(home.path('now.bin')).length, 1000)
  const missing = await home.run(['bitsadmin', '/transfer', 'now', origin.url('/script/none'), 'none.bin'])
  t.equal(missing.code, 3)
  t.match(missing.stderr, '0x80190194')
  t.match((await home.run(['bitsadmin', '/list'])).text, 'Listed 0 job(s).')
})

/** By sh, in the working directory of the home, with `shorthaul` as a command. */
async function runScript(home: CliHome, args: readonly string[]) {
  const shorthaul = `shorthaul() { '${process.execPath}' '${COMMAND}' "$@" --config '${home.configFile}'; }\n`
  const child = spawn('/bin/sh', ['-c', shorthaul + SCRIPT, 'script', ...args], {
    cwd: home.path(),
    env: { PATH: process.env.PATH, HOME: home.dir, XDG_RUNTIME_DIR: join(home.dir, 'run') },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
  })
  await once(child, 'close')
  return { code: child.exitCode, stdout, stderr }
}
