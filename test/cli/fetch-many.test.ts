import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import t from 'tap'
import { parseList } from '../../src/cli/fetch-orders.ts'
import { startTestOrigin } from '../support/test-origin.ts'
import { CLI_TEST_TIMEOUT_MS, CliHome, type Json, type Run } from './cli-home.ts'

t.setTimeout(CLI_TEST_TIMEOUT_MS)

const origin = await startTestOrigin()
t.teardown(() => origin.close())

function newHome(test: Pick<typeof t, 'teardown'>): CliHome {
  const home = new CliHome()
  test.teardown(() => home.close())
  return home
}

/** Several contents with names of their own. @returns their URLs */
function serveMany(folder: string, count: number): string[] {
  return Array.from({ length: count }, (_, at) =>
    origin.serve(`/${folder}/file-${at}`, { seed: at + 1, lengthBytes: 5000 + 1000 * at }),
  )
}

function isRight(home: CliHome, target: string, url: string): boolean {
  const { pathname } = new URL(url)
  const content = origin.content(pathname)
  return readFileSync(home.path(target)).equals(content.read(0, content.lengthBytes))
}

function linesOf(run: Run, event: string): Json[] {
  return run.lines().filter((line) => line.event === event)
}

await t.test('several URLs are fetched by one command, through a daemon and without', async (t) => {
  const home = newHome(t)
  mkdirSync(home.path('here'))
  const urls = serveMany('several', 9)
  const alone = await home.run(['fetch', ...urls, '--no-peers', '--no-daemon', '--json', '-d', 'here'])
  t.equal(alone.code, 0, alone.stderr)
  t.same(
    linesOf(alone, 'done')
      .map((line) => line.url)
      .sort(),
    urls,
    'a line of its own for each',
  )
  t.ok(linesOf(alone, 'progress').every((line) => urls.includes(String(line.url))))
  const bytes = urls.reduce((sum, _, at) => sum + 5000 + 1000 * at, 0)
  t.match(alone.last(), { event: 'summary', done: 9, failed: 0, bytes, sources: { origin: bytes }, exit: 0 })
  for (const [at, url] of urls.entries()) t.ok(isRight(home, `here/file-${at}`, url))
  t.equal(readdirSync(home.path('here')).length, 9, 'no part is left')

  await home.daemon()
  const served = await home.run(['fetch', ...urls, '--parallel', '2', '--json'])
  t.match(served.last(), { event: 'summary', done: 9, sources: { cache: bytes, origin: 0 } }, served.stderr)
  for (const [at, url] of urls.entries()) t.ok(isRight(home, `file-${at}`, url))
})

await t.test('the others go on when some fail; the exit code is that of the first failure', async (t) => {
  const home = newHome(t)
  const [first = '', second = '', third = ''] = serveMany('some', 3)
  const gone = origin.url('/some/gone')
  const args = ['fetch', first, gone, second, third, `${gone}-too`, '--no-peers', '--parallel', '1']
  const run = await home.run([...args, '--json'])
  t.equal(run.code, 3, run.stderr)
  const failures = linesOf(run, 'error')
  t.match(failures, [
    { url: gone, code: 'SHORTHAUL_ORIGIN_NOT_FOUND', exit: 3 },
    { url: `${gone}-too`, code: 'SHORTHAUL_ORIGIN_NOT_FOUND' },
  ])
  t.match(run.last(), { event: 'summary', done: 3, failed: 2, exit: 3 })
  t.ok(isRight(home, 'file-2', third))

  const shown = await home.run(args)
  t.equal(shown.code, 3)
  t.equal(shown.text, '')
  t.match(shown.stderr, /some\/gone: .*SHORTHAUL_ORIGIN_NOT_FOUND/)
  t.match(shown.stderr, /3 done, 2 failed: /)
})

await t.test('a list names URLs and targets, from a file or stdin', async (t) => {
  const home = newHome(t)
  const [first = '', second = '', third = ''] = serveMany('list', 3)
  writeFileSync(home.path('list'), `# what we need\n\n${first}\n  ${second}\tother name\r\n`)
  const run = await home.run(['fetch', third, '--input-file', 'list', '--no-peers', '--json'])
  t.equal(run.code, 0, run.stderr)
  t.match(run.last(), { event: 'summary', done: 3 })
  t.ok(isRight(home, 'file-0', first))
  t.ok(isRight(home, 'other name', second))
  t.ok(isRight(home, 'file-2', third))

  const piped = home.start(['fetch', '-i', '-', '--no-peers', '--json'], { stdin: `${first}\tfrom-stdin` })
  t.match((await piped.done).last(), { event: 'summary', done: 1 }, 'a list of one ends with a summary too')
  t.ok(isRight(home, 'from-stdin', first))

  t.match((await home.run(['fetch', '-i', 'missing'])).stderr, /Cannot read the list "missing": ENOENT/)
  writeFileSync(home.path('empty'), '# nothing\n')
  t.match((await home.run(['fetch', '-i', 'empty'])).stderr, /names no URL/)
})

await t.test('what cannot be meant is said before anything is fetched', async (t) => {
  const home = newHome(t)
  const [first = '', second = ''] = serveMany('refused', 2)
  const refusals: [readonly string[], RegExp][] = [
    [[first, `${first}?again`], /both to ".*file-0"/],
    [[first, second, '-o', 'one'], /-o names one target/],
    [[first, second, '-o', '-'], /-o names one target/],
    [[first, second, '--sha256', '0'.repeat(64)], /--sha256 is of one content/],
    [[first, '--parallel', '0'], /--parallel takes a number/],
    [[first, '--parallel', '65'], /--parallel takes a number/],
    [[first, 'not a url'], /not an absolute URL/],
    [[], /Say what to fetch/],
  ]
  for (const [args, reason] of refusals) {
    const run = await home.run(['fetch', ...args, '--no-peers'])
    t.equal(run.code, 2)
    t.match(run.stderr, reason)
  }
  t.same(origin.requests('/refused/file-0'), [])
  t.notOk(existsSync(home.path('file-0')))
})

await t.test('Ctrl-C ends all of them, said once', async (t) => {
  const home = newHome(t)
  const urls = Array.from({ length: 6 }, (_, at) =>
    origin.serve(`/slow/${at}`, { seed: at, lengthBytes: 4 << 20 }, { ratePerConnectionBytesPerSec: 1 << 20 }),
  )
  const started = home.start(['fetch', ...urls, '--no-peers', '--json'])
  await origin.until(() => origin.contentBytesSent('/slow/3') > 0)
  started.child.kill('SIGINT')
  const run = await started.done
  t.equal(run.code, 130, run.stderr)
  t.match(run.last(), { event: 'error', code: 'SHORTHAUL_ABORTED', exit: 130 })
  t.equal(linesOf(run, 'error').length, 1)
})

await t.test('the daemon dies and all fetches go on without it', async (t) => {
  const home = newHome(t)
  const urls = Array.from({ length: 5 }, (_, at) =>
    origin.serve(`/orphan/${at}`, { seed: at, lengthBytes: 3 << 20 }, { ratePerConnectionBytesPerSec: 3 << 20 }),
  )
  const daemon = await home.daemon()
  const started = home.start(['fetch', ...urls, '--no-peers'])
  await origin.until(() => origin.contentBytesSent('/orphan/3') > 0)
  daemon.child.kill('SIGKILL')
  const run = await started.done
  t.equal(run.code, 0, run.stderr)
  t.match(run.stderr, /going on without it/)
  for (const [at, url] of urls.entries()) t.ok(isRight(home, String(at), url))
})

await t.test('a list reaches no other directory', async (t) => {
  for (const name of ['../up', 'a/b', '..', '.', 'a\\b', 'bell\u0007']) {
    t.throws(() => parseList(`http://x/y\t${name}`, 'list'), { code: 'SHORTHAUL_USAGE' }, JSON.stringify(name))
  }
  t.same(parseList('\ufeffhttp://x/y\t\nhttp://x/z\t z ', 'list'), [
    { url: 'http://x/y', name: null },
    { url: 'http://x/z', name: 'z' },
  ])
})
