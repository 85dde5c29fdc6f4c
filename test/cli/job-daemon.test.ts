/** Jobs as a user has them: the built command against a daemon. */
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import t from 'tap'
import { startTestOrigin } from '../support/test-origin.ts'
import { CLI_TEST_TIMEOUT_MS, CliHome } from './cli-home.ts'

t.setTimeout(CLI_TEST_TIMEOUT_MS)

const LENGTH = 2 * 1024 * 1024 + 99

const origin = await startTestOrigin()
t.teardown(() => origin.close())

function bytesAt(path: string): Buffer {
  const content = origin.content(path)
  return content.read(0, content.lengthBytes)
}

t.test('without a daemon every verb says what to do', async (t) => {
  const home = new CliHome()
  t.teardown(() => home.close())
  const listed = await home.run(['job', 'list'])
  t.equal(listed.code, 2)
  t.match(listed.stderr, /shorthaul daemon.*SHORTHAUL_DAEMON_UNREACHABLE/)
  t.match((await home.run(['fetch', 'http://a.example/x', '--detach', '--json'])).last(), {
    event: 'error',
    code: 'SHORTHAUL_DAEMON_UNREACHABLE',
    exit: 2,
  })
})

t.test('a job is made, looked at, changed, followed and completed', async (t) => {
  const home = new CliHome()
  t.teardown(() => home.close())
  await home.daemon()
  const one = origin.serve('/job/one.bin', { seed: 1, lengthBytes: LENGTH })
  const two = origin.serve('/job/two.bin', { seed: 2, lengthBytes: LENGTH })
  mkdirSync(home.path('out'))

  const made = await home.run([
    'job',
    'create',
    one,
    '-d',
    'out',
    '--name',
    'nightly',
    '--suspended',
    '-H',
    'X-A: secret',
  ])
  t.equal(made.code, 0, made.stderr)
  t.match(made.text, /^[0-9a-f-]{36}\n$/, 'the id and nothing else')
  t.match(made.stderr, /job resume/)
  const id = made.text.trim()
  const short = id.slice(0, 8)

  t.match((await home.run(['job', 'add', short, two, '-d', 'out', '--range', '10-19'])).stderr, /2 in all/)
  const table = (await home.run(['job', 'list'])).text
  t.match(table, /^ID +NAME +STATE +PRIORITY +FILES +BYTES +RATE +WHY\n/)
  t.match(table, new RegExp(`^${short}  nightly  suspended  normal +0/2`, 'm'))
  t.match((await home.run(['job', 'why', 'nightly'])).text, /^Suspended/)
  t.match((await home.run(['job', 'why', 'nightly', '--json'])).last(), { event: 'why', job: id, code: 'suspended' })

  const set = await home.run([
    'job',
    'set',
    short,
    '--priority',
    'foreground',
    '--file',
    '1',
    '--target',
    'out/part.bin',
  ])
  t.equal(set.code, 0, set.stderr)
  const shown = await home.run(['job', 'show', short, '--json'])
  t.match(shown.last(), {
    event: 'job',
    priority: 'foreground',
    headerNames: ['X-A'],
    files: [
      { target: home.path('out', 'one.bin') },
      { target: home.path('out', 'part.bin'), ranges: [{ startBytes: 10, endBytes: 20 }] },
    ],
  })
  const page = (await home.run(['job', 'show', 'nightly'])).text
  t.notMatch(page + shown.text, /secret/)
  t.match(page, /^FILE +STATE +TRUST +BYTES +TARGET +URL$/m)

  t.equal((await home.run(['job', 'resume', short])).code, 0)
  const watched = await home.run(['job', 'watch', short, '--json'])
  t.equal(watched.code, 0, watched.stderr)
  t.match(watched.last(), { event: 'result', exit: 0, state: 'transferred' })
  t.notOk(existsSync(home.path('out', 'one.bin')))

  const completed = await home.run(['job', 'complete', 'nightly'])
  t.match(completed.text, /2 files delivered/)
  t.ok(readFileSync(home.path('out', 'one.bin')).equals(bytesAt('/job/one.bin')))
  t.ok(existsSync(home.path('out', 'part.bin')))
  t.match((await home.run(['job', 'list'])).stderr, /no jobs/)
  t.match((await home.run(['job', 'list', '--all', '--json'])).last(), { jobs: [{ id, state: 'acknowledged' }] })
})

t.test('of several jobs each goes on when others fail', async (t) => {
  const home = new CliHome()
  t.teardown(() => home.close())
  await home.daemon()
  const ids: string[] = []
  for (const name of ['a', 'b']) ids.push((await home.run(['job', 'create', '--name', name])).text.trim())
  const cancelled = await home.run(['job', 'cancel', 'a', 'ghost', 'b', '--json'])
  t.equal(cancelled.code, 2)
  t.match(cancelled.lines(), [
    { event: 'job', id: ids[0], state: 'cancelled' },
    { event: 'error', job: 'ghost', code: 'SHORTHAUL_JOB_NOT_FOUND' },
    { event: 'job', id: ids[1], state: 'cancelled' },
  ])
  t.match((await home.run(['job', 'suspend', 'a'])).stderr, /SHORTHAUL_JOB_STATE/)
})

t.test('a detached fetch ends at once, and its job completes itself', async (t) => {
  const home = new CliHome()
  t.teardown(() => home.close())
  await home.daemon()
  const url = origin.serve('/job/detached.bin', { seed: 3, lengthBytes: LENGTH })
  const detached = await home.run(['fetch', url, '--detach', '--priority', 'foreground'])
  t.equal(detached.code, 0, detached.stderr)
  const watched = await home.run(['job', 'watch', detached.text.trim()])
  t.equal(watched.code, 0, watched.stderr)
  t.match(watched.stderr, /1 file done/)
  t.ok(readFileSync(home.path('detached.bin')).equals(bytesAt('/job/detached.bin')))

  const lost = await home.run(['fetch', `${url}-not-there`, '--detach'])
  const failed = await home.run(['job', 'watch', lost.text.trim()])
  t.equal(failed.code, 3, 'the exit code says how the job ended')
  t.match(failed.stderr, /SHORTHAUL_ORIGIN_NOT_FOUND.*job resume/)

  t.match((await home.run(['fetch', url, '--detach', '-o', '-'])).stderr, /no stdout/)
  t.match((await home.run(['job', 'create', url, '-d', 'nowhere'])).stderr, /SHORTHAUL_TARGET_UNWRITABLE/)
})
