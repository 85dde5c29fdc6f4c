/** Names that come from elsewhere: of files, out of URLs; and on the way to a terminal. */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { defaultTarget, parseList } from '../../src/cli/fetch-orders.ts'
import { formatFiles, formatJob, jobTable } from '../../src/cli/job/job-view.ts'
import { printable } from '../../src/cli/output.ts'
import { isShorthaulError } from '../../src/errors.ts'
import type { JobView } from '../../src/jobs/jobs-api.ts'
import { CLI_TEST_TIMEOUT_MS, CliHome } from '../cli/cli-home.ts'
import { startTestOrigin } from '../support/test-origin.ts'

t.setTimeout(CLI_TEST_TIMEOUT_MS)

/** What a terminal obeys: C0, DEL, C1, and marks that turn the direction of text. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const OBEYED = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/

t.test('the name of a URL is a plain name in one directory, whatever stands in it', async (t) => {
  const hostile: [path: string, name: string][] = [
    ['..%2f..%2fetc%2fpasswd', 'passwd'],
    ['%2e%2e%2f%2e%2e%2fshadow', 'shadow'],
    ['a/..%5c..%5cwindows', '_.\\..\\windows'.replaceAll('\\', '_')],
    ['.bashrc', '_bashrc'],
    ['x%2f.ssh', '_ssh'],
    ['-rf', '_rf'],
    ['--output=x', '_-output=x'],
    ['~', '_'],
    ['~root', '_root'],
    ['C:%5cboot.ini', 'C__boot.ini'],
    ['a%00b', 'a_b'],
    ['a%0d%0ab', 'a_b'.replace('_', '__')],
    ['%1b%5d0;owned%07', '_]0;owned_'],
    ['%c2%9b31m', '_31m'],
    ['%e2%80%aegpj.exe', '_gpj.exe'],
  ]
  for (const [path, name] of hostile) t.equal(defaultTarget(`http://host/${path}`), name, path)
  for (const path of ['', '%2e%2e', 'a%2f..', '%2f', '%ff', 'a/%']) {
    t.throws(() => defaultTarget(`http://host/${path}`), { code: 'SHORTHAUL_USAGE' }, path)
  }
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      let name: string
      try {
        name = defaultTarget(`http://host/${encodeURIComponent(text)}`)
      } catch (error) {
        return isShorthaulError(error, 'SHORTHAUL_USAGE') || error instanceof URIError
      }
      return name !== '' && !/^[.~-]/.test(name) && !/[/\\\n]/.test(name) && !OBEYED.test(name)
    }),
  )
})

t.test('names in a list reach no other directory', async (t) => {
  for (const name of ['../x', '/etc/x', 'a/b', 'a\\b', '..', '.', 'a\u0000b', 'a\u001bb']) {
    t.throws(() => parseList(`http://host/x\t${name}`, 'list'), { code: 'SHORTHAUL_USAGE' }, JSON.stringify(name))
  }
})

const ESCAPES = '\u001b[2J\u001b]0;owned\u0007\u009b31m\u202ecod.exe\rover'

t.test('no text for people makes a terminal do anything', async (t) => {
  t.equal(printable('a\tb\nc'), 'a\tb\nc')
  fc.assert(fc.property(fc.string({ unit: 'binary' }), (text) => !OBEYED.test(printable(text).replaceAll('\t', ''))))
  const totals = {
    fileCount: 1,
    doneCount: 0,
    bytesTotal: 1,
    bytesDone: 0,
    unknownLengthCount: 0,
    sources: { cache: 0, peer: 0, origin: 0 },
  }
  const job = {
    id: '0'.repeat(36),
    name: ESCAPES,
    description: ESCAPES,
    owner: { uid: 1, name: ESCAPES },
    state: 'error',
    reason: { code: 'failed', text: ESCAPES, untilMs: null },
    error: { code: 'SHORTHAUL_ORIGIN_NOT_FOUND', message: ESCAPES, atMs: 0, fileIndex: 0 },
    priority: 'normal',
    proxy: ESCAPES,
    headerNames: [ESCAPES],
    notify: { command: [ESCAPES], webhookUrl: null, events: ['error'] },
    totals,
    bytesPerSec: 0,
    errorCount: 1,
    usePeers: true,
    useOrigin: true,
    originMaxBytesPerSec: null,
    retryAtMs: null,
    deadlineAtMs: null,
    costPolicy: null,
    autoComplete: false,
    minRetryDelayMs: 1,
    noProgressTimeoutMs: 1,
    maxTransferTimeMs: 1,
    createdAtMs: 0,
    transferredAtMs: null,
    endedAtMs: null,
  } as unknown as JobView // what these views look at
  const file = { index: 0, state: 'waiting', bytesDone: 0, bytesTotal: 1, url: 'http://h/x', target: `/x/${ESCAPES}` }
  const shown = [
    ...jobTable([job], { columns: 200, nowMs: 0, hasOwner: true }),
    formatJob(job, 0),
    formatFiles([{ ...file, ranges: null }] as unknown as Parameters<typeof formatFiles>[0]),
  ].join('\n')
  t.ok(shown.includes('owned'))
  t.notMatch(shown, OBEYED)
})

t.test('a command prints what the origin calls a file, and the terminal stays as it was', async (t) => {
  const origin = await startTestOrigin()
  t.teardown(() => origin.close())
  const home = new CliHome()
  t.teardown(() => home.close())
  const path = '/%1b%5d0;owned%07..%2f%1b%5b2J.bin'
  const url = origin.serve(path, Buffer.from('content'), {
    fields: { 'content-disposition': 'attachment; filename="../../evil"' },
  })
  const alone = ['--no-daemon', '--no-peers']
  const done = await home.run(['fetch', url, ...alone])
  t.equal(done.code, 0, done.stderr)
  t.same(
    readdirSync(home.path()).filter((name) => !name.endsWith('.lock')),
    ['__[2J.bin'.slice(1)],
  )
  const failed = await home.run(['fetch', `${url}x`, '-o', `${ESCAPES}/in-none`, ...alone])
  t.not(failed.code, 0)
  const listed = await home.run(['cache', 'ls'])
  for (const [what, text] of Object.entries({
    done: done.text + done.stderr,
    failed: failed.stderr,
    listed: listed.text,
  })) {
    t.notMatch(text.replaceAll('\r\u001b[2K', ''), OBEYED, what)
  }
})

t.test('a name longer than the file system allows is refused, and leaves nothing', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'shorthaul-names-'))
  t.teardown(() => rmSync(dir, { recursive: true, force: true }))
  const { PartFile } = await import('../../src/transfer/part-file.ts')
  for (const name of ['x'.repeat(300), 'CON', `new\nline`, '\u001b[2J']) {
    const part = await PartFile.open(join(dir, name)).catch((error: unknown) => error)
    if (!(part instanceof PartFile)) {
      t.match(part, { code: 'SHORTHAUL_TARGET_UNWRITABLE' })
      continue
    }
    await part.begin({ lengthBytes: 0 })
    const ended = await part.complete(0).then(
      () => 'done',
      (error: { code: string }) => error.code,
    )
    await part.abandon()
    t.equal(ended, name.length > 255 ? 'SHORTHAUL_TARGET_UNWRITABLE' : 'done', JSON.stringify(name.slice(0, 20)))
  }
  t.same(readdirSync(dir).sort(), ['CON', `new\nline`, '\u001b[2J'].sort())
  await t.rejects(PartFile.open(join(dir, 'a\0b')), { code: 'SHORTHAUL_TARGET_UNWRITABLE' })
})
