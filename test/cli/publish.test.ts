/** `shorthaul publish` as people and programs see it. */
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import t from 'tap'
import { CLI_TEST_TIMEOUT_MS, CliHome } from './cli-home.ts'

t.setTimeout(CLI_TEST_TIMEOUT_MS)

const ONE = '7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed'

void t.test('publish writes manifests, says so, and shows what web servers need', async (t) => {
  const home = new CliHome()
  t.teardown(() => home.close())
  mkdirSync(home.path('www', 'sub'), { recursive: true })
  writeFileSync(home.path('www', 'a'), 'one')
  writeFileSync(home.path('www', 'sub', 'b'), 'two')
  const first = await home.run(['publish', 'www'])
  t.equal(first.code, 0, first.stderr)
  t.ok(first.text.includes(`${ONE}  a\n`))
  for (const server of ['nginx', 'Apache', 'Caddy']) t.ok(first.text.includes(`# ${server}`), server)
  t.match(first.stderr, /2 published: .*B\/s/)
  t.same(readdirSync(home.path('www')).sort(), ['a', 'a.shorthaul-manifest', 'sub'])

  const again = await home.run(['publish', 'www', '--json'])
  t.match(again.last(), { event: 'summary', done: 0, upToDate: 2, failed: 0, exit: 0 })
  const checked = await home.run(['publish', 'www', '--check', '--json'])
  t.equal(checked.code, 0)
  t.match(checked.lines()[0], { event: 'checked', name: 'a', bytes: 3, sha256: ONE })

  writeFileSync(home.path('www', 'a'), 'other')
  writeFileSync(home.path('www', 'gone.shorthaul-manifest'), '')
  const wrong = await home.run(['publish', 'www', '--check', '--json'])
  t.equal(wrong.code, 5)
  t.match(wrong.lines(), [
    { event: 'error', file: 'a', code: 'SHORTHAUL_DIGEST_MISMATCH', exit: 5 },
    { event: 'checked', name: 'sub/b' },
    { event: 'orphan', name: 'gone.shorthaul-manifest' },
    { event: 'summary', done: 1, failed: 1, exit: 5 },
  ])
  t.equal((await home.run(['publish', 'missing'])).code, 3)
})
