import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import t from 'tap'
import { startTestOrigin } from '../support/test-origin.ts'
import { CLI_TEST_TIMEOUT_MS, CliHome, type Json } from './cli-home.ts'

const MiB = 1024 * 1024
const LENGTH = 3 * MiB + 12_345

t.setTimeout(CLI_TEST_TIMEOUT_MS)

const origin = await startTestOrigin()
t.teardown(() => origin.close())

function newHome(test: Pick<typeof t, 'teardown'>, config: Readonly<Record<string, Json>> = {}): CliHome {
  const home = new CliHome(config)
  test.teardown(() => home.close())
  return home
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

function bytesAt(path: string): Buffer {
  const content = origin.content(path)
  return content.read(0, content.lengthBytes)
}

/** Names in the working directory, hidden ones too. */
function namesIn(home: CliHome): string[] {
  return readdirSync(home.path()).sort()
}

t.test('fetch --json ends with a done line whose sources sum to the bytes', async (t) => {
  const home = newHome(t)
  const url = origin.serve('/dir/file.bin', { seed: 1, lengthBytes: LENGTH })
  const run = await home.run(['fetch', url, '--no-peers', '--json'])
  t.equal(run.code, 0, run.stderr)
  const done = run.last()
  t.match(done, {
    event: 'done',
    url,
    path: home.path('file.bin'),
    bytes: LENGTH,
    sha256: sha256(bytesAt('/dir/file.bin')),
    sources: { cache: 0, peer: 0, origin: LENGTH },
    wastedBytes: 0,
  })
  t.type(done.durationMs, 'number')
  t.ok(run.lines().every((line) => typeof line.event === 'string'))
  t.same(readFileSync(home.path('file.bin')), bytesAt('/dir/file.bin'))
  t.same(namesIn(home), ['file.bin'], 'no part is left')

  const again = await home.run(['fetch', url, '--no-peers', '--json', '-o', 'other.bin'])
  t.match(again.last(), { event: 'done', sources: { cache: LENGTH, peer: 0, origin: 0 } }, 'then from the cache')
  t.same(readFileSync(home.path('other.bin')), bytesAt('/dir/file.bin'))
})

t.test('without --json stdout stays empty and the summary goes to stderr', async (t) => {
  const home = newHome(t)
  const url = origin.serve('/plain.bin', { seed: 2, lengthBytes: 10_000 })
  const run = await home.run(['fetch', url, '--no-peers'])
  t.equal(run.code, 0)
  t.equal(run.text, '')
  t.match(run.stderr, /plain\.bin: 9\.8 KiB in /)
})

t.test('-o - streams exactly the bytes, and an existing target is replaced', async (t) => {
  const home = newHome(t)
  const url = origin.serve('/pipe.bin', { seed: 3, lengthBytes: LENGTH })
  const piped = await home.run(['fetch', url, '--no-peers', '-o', '-'])
  t.equal(piped.code, 0, piped.stderr)
  t.ok(piped.stdout.equals(bytesAt('/pipe.bin')))
  t.same(namesIn(home), [])

  writeFileSync(home.path('pipe.bin'), 'something older')
  t.equal((await home.run(['fetch', url, '--no-peers'])).code, 0)
  t.ok(readFileSync(home.path('pipe.bin')).equals(bytesAt('/pipe.bin')))

  const both = await home.run(['fetch', url, '--no-peers', '-o', '-', '--json'])
  t.equal(both.code, 2)
  t.match(both.last(), { event: 'error', code: 'SHORTHAUL_USAGE', exit: 2 })
})

t.test('empty content makes an empty target', async (t) => {
  const home = newHome(t)
  const run = await home.run(['fetch', origin.serve('/empty', new Uint8Array(0)), '--no-peers', '--json'])
  t.equal(run.code, 0, run.stderr)
  t.match(run.last(), { bytes: 0, sources: { cache: 0, peer: 0, origin: 0 }, sha256: sha256(Buffer.alloc(0)) })
  t.equal(readFileSync(home.path('empty')).byteLength, 0)
})

t.test('--sha256 right gives the target, wrong gives 5 and none', async (t) => {
  const home = newHome(t)
  const url = origin.serve('/pinned.bin', { seed: 4, lengthBytes: LENGTH })
  const digest = sha256(bytesAt('/pinned.bin'))
  const wrong = await home.run(['fetch', url, '--no-peers', '--json', '--sha256', '0'.repeat(64)])
  t.equal(wrong.code, 5, wrong.stderr)
  t.match(wrong.last(), { event: 'error', code: 'SHORTHAUL_DIGEST_MISMATCH', retryable: false, exit: 5 })
  t.notOk(existsSync(home.path('pinned.bin')))

  const right = await home.run(['fetch', url, '--no-peers', '--json', '--sha256', digest.toUpperCase()])
  t.equal(right.code, 0, right.stderr)
  t.match(right.last(), { event: 'done', sha256: digest })

  const short = await home.run(['fetch', url, '--sha256', 'abc'])
  t.equal(short.code, 2)
  t.match(short.stderr, /--sha256 takes 64 hex digits/)
})

t.test('failures have the exit codes of the contract', async (t) => {
  const home = newHome(t)
  const notFound = await home.run(['fetch', origin.url('/nothing-here'), '--no-peers', '--json'])
  t.equal(notFound.code, 3)
  t.match(notFound.last(), { event: 'error', code: 'SHORTHAUL_ORIGIN_NOT_FOUND', exit: 3, retryable: false })
  t.same(namesIn(home), [], 'no litter')

  const refused = origin.serve('/refused', new Uint8Array(1), { status: 403 })
  t.equal((await home.run(['fetch', refused, '--no-peers'])).code, 3)

  for (const url of ['not a url', 'ftp://example.org/x', 'http://']) {
    const bad = await home.run(['fetch', url, '--json', '-o', 'x'])
    t.equal(bad.code, 2, url)
    t.match(bad.last(), { event: 'error', code: 'SHORTHAUL_URL_INVALID', exit: 2 })
  }
  t.same(namesIn(home), [], 'no litter')

  const nameless = await home.run(['fetch', `${origin.base}/`, '--no-peers'])
  t.equal(nameless.code, 2)
  t.match(nameless.stderr, /-o FILE/)

  const url = origin.serve('/fine', { seed: 5, lengthBytes: 1000 })
  const noDir = await home.run(['fetch', url, '--no-peers', '--json', '-o', 'missing/dir/fine'])
  t.equal(noDir.code, 6)
  t.match(noDir.last(), { event: 'error', code: 'SHORTHAUL_TARGET_UNWRITABLE', exit: 6 })
  t.same(origin.requests('/fine'), [], 'said before the origin was asked')
})

t.test('an origin that cannot be reached gives 4', async (t) => {
  const home = newHome(t)
  const run = await home.run(['fetch', `http://127.0.0.1:${await closedPort()}/x`, '--no-peers', '--json'])
  t.equal(run.code, 4, run.stderr)
  t.match(run.last(), { event: 'error', code: 'SHORTHAUL_ORIGIN_UNREACHABLE', retryable: true, exit: 4 })
})

t.test('one spelling of a URL is as good as another', async (t) => {
  const home = newHome(t)
  const url = origin.serve('/spelt.bin', { seed: 6, lengthBytes: 1000 })
  t.equal((await home.run(['fetch', `${url}#fragment`, '--no-peers'])).code, 0)
  const again = await home.run([
    'fetch',
    url.replace('http:', 'HTTP:'),
    '--no-peers',
    '--no-origin',
    '-o',
    'b',
    '--json',
  ])
  t.equal(again.code, 2, 'neither neighbours nor origin makes no sense')
  const cached = await home.run(['fetch', url.replace('http:', 'HTTP:'), '--no-peers', '-o', 'b', '--json'])
  t.match(cached.last(), { sources: { cache: 1000, origin: 0 } })
})

t.test('user info and query are in no message and no log', async (t) => {
  const home = newHome(t)
  const url = `${origin.base.replace('//', '//user:hunter2@')}/gone?token=s3cr3t`
  const run = await home.run(['fetch', url, '--no-peers', '--log-level', 'debug'])
  t.equal(run.code, 3)
  t.notMatch(run.stderr, /hunter2|s3cr3t/)
})

t.test('Ctrl-C gives 130 and keeps the part, and the same command completes it', async (t) => {
  const home = newHome(t)
  const length = 6 * MiB
  const url = origin.serve('/slow.bin', { seed: 7, lengthBytes: length }, { ratePerConnectionBytesPerSec: 4 * MiB })
  const started = home.start(['fetch', url, '--no-peers', '--json'])
  await origin.until(() => origin.contentBytesSent('/slow.bin') >= 3 * MiB)
  started.child.kill('SIGINT')
  const run = await started.done
  t.equal(run.code, 130, run.stderr)
  t.match(run.last(), { event: 'error', code: 'SHORTHAUL_ABORTED', retryable: true, exit: 130 })
  t.same(namesIn(home), ['.slow.bin.shorthaul-part'])

  origin.behave('/slow.bin', { ratePerConnectionBytesPerSec: undefined })
  const resumed = await home.run(['fetch', url, '--no-peers', '--json'])
  t.equal(resumed.code, 0, resumed.stderr)
  const sources = resumed.last().sources as { cache: number; origin: number }
  t.ok(sources.cache > 0, 'what was there is not fetched again')
  t.ok(sources.origin < length)
  t.equal(sources.cache + sources.origin, length)
  t.ok(readFileSync(home.path('slow.bin')).equals(bytesAt('/slow.bin')))
  t.same(namesIn(home), ['slow.bin'])
})

t.test('--limit-rate keeps the part on Ctrl-C too', async (t) => {
  const home = newHome(t)
  const url = origin.serve('/limited.bin', { seed: 8, lengthBytes: 8 * MiB })
  const started = home.start(['fetch', url, '--no-peers', '--json', '--limit-rate', '512KiB/s'])
  // The first progress line: bytes arrive, and the limit leaves about 15 s until the end.
  await started.firstLine()
  started.child.kill('SIGINT')
  const run = await started.done
  t.equal(run.code, 130, run.stderr)
  t.notOk(existsSync(home.path('limited.bin')))
  t.equal((await home.run(['fetch', url, '--no-peers'])).code, 0)
  t.ok(readFileSync(home.path('limited.bin')).equals(bytesAt('/limited.bin')))

  const bad = await home.run(['fetch', url, '--limit-rate', '5 Mb'])
  t.equal(bad.code, 2)
})

t.test('a command line that cannot be read gives 2 and, with --json, an error line', async (t) => {
  const home = newHome(t)
  const option = await home.run(['fetch', 'http://x/y', '--no-pears', '--json'])
  t.equal(option.code, 2)
  t.match(option.last(), { event: 'error', code: 'SHORTHAUL_USAGE', exit: 2 })
  t.match(option.stderr, /Did you mean --no-peers/)
  t.equal((await home.run(['fetch'])).code, 2)
  t.equal((await home.run(['fetch', 'http://x/y', '-H', 'no colon'])).code, 2)
  t.equal((await home.run(['fetch', 'http://x/y', '--priority', 'urgent'])).code, 2)
  const help = await home.run(['fetch', '--help'])
  t.equal(help.code, 0)
  t.match(help.text, /--limit-rate/)
})

/** A port that was free a moment ago. */
async function closedPort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  await new Promise<void>((resolve) => server.close(() => resolve()))
  return typeof address === 'object' && address !== null ? address.port : 1
}
