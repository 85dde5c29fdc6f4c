import t from 'tap'
import type { JobSettings } from '../../src/jobs/job.ts'
import type { FileOrder } from '../../src/jobs/jobs-api.ts'
import { checkSecrets, checkSettings, filesOf, type OrderRules, patchedFile } from '../../src/jobs/orders.ts'
import { fileRecord } from './job-fixtures.ts'

const RULES: OrderRules = { mayReadFiles: false, commandDirs: ['/usr/lib/shorthaul/hooks'] }
const USAGE = { code: 'SHORTHAUL_USAGE' }
const FORBIDDEN = { code: 'SHORTHAUL_FORBIDDEN' }

function files(orders: readonly FileOrder[], rules = RULES) {
  return filesOf(orders, { firstIndex: 0, others: [], rules })
}

function one(changes: Partial<FileOrder>, rules = RULES) {
  return files([{ url: 'https://origin.example/a', target: '/srv/a', ...changes }], rules)
}

function settings(changes: Partial<JobSettings>) {
  return () => checkSettings(changes, RULES)
}

await t.test('only absolute http, https and file URLs are fetched', async (t) => {
  for (const url of ['', 'a', '/etc/passwd', 'ftp://x/a', 'javascript:1', `https://x/${'a'.repeat(20_000)}`]) {
    t.throws(() => one({ url }), { code: 'SHORTHAUL_URL_INVALID' }, url.slice(0, 40))
  }
  t.throws(() => one({ url: 'file:///etc/shadow' }), FORBIDDEN, 'not with the rights of another user')
  t.match(one({ url: 'file:///srv/b' }, { ...RULES, mayReadFiles: true }), [{ url: 'file:///srv/b' }])
})

await t.test('an error about a URL does not show what may be secret in it', async (t) => {
  try {
    one({ url: 'ftp://user:hunter2@x/a?token=hunter2' })
    t.fail('it was taken')
  } catch (error) {
    t.notMatch(String(error), /hunter2/)
  }
})

await t.test('a target is an absolute path of a file, without ways around it', async (t) => {
  for (const target of ['', 'a', './a', '/srv/../etc/passwd', '/srv/./a', '/srv/a/', '/srv//a', '/srv/a\0b']) {
    t.throws(() => one({ target }), USAGE, JSON.stringify(target))
  }
  t.throws(() => one({ target: `/${'ä'.repeat(2100)}` }), USAGE, 'too long in bytes')
})

await t.test('two files of a job never go to one target', async (t) => {
  const order = { url: 'https://origin.example/a', target: '/srv/a' }
  t.throws(() => files([order, order]), USAGE)
  const others = [fileRecord(0, { target: '/srv/a' })]
  t.throws(() => filesOf([order], { firstIndex: 1, others, rules: RULES }), USAGE)
  t.match(filesOf([{ ...order, target: '/srv/b' }], { firstIndex: 7, others, rules: RULES }), [{ index: 7 }])
})

await t.test('ranges are whole, in bounds, do not overlap, and only the last is open', async (t) => {
  const range = (startBytes: number, endBytes: number | null) => ({ startBytes, endBytes })
  t.match(one({ ranges: [range(10, 20), range(0, 10), range(20, null)] }), [{ ranges: [{ startBytes: 10 }, {}, {}] }])
  t.match(one({ ranges: [] }), [{ ranges: null }], 'none is all')
  const bad = [
    [range(-1, 5)],
    [range(0.5, 5)],
    [range(5, 5)],
    [range(5, 4)],
    [range(0, Number.NaN)],
    [range(0, Number.POSITIVE_INFINITY)],
    [range(Number.NaN, null)],
    [range(0, 10), range(9, 20)],
    [range(0, null), range(20, 30)],
    [range(20, null), range(0, 10)],
    [range(0, null), range(5, null)],
    Array.from({ length: 501 }, (_, at) => range(at * 2, at * 2 + 1)),
  ]
  for (const ranges of bad) t.throws(() => one({ ranges }), USAGE, JSON.stringify(ranges).slice(0, 60))
})

await t.test('a pinned digest is 64 lower-case hex digits', async (t) => {
  t.match(one({ sha256: 'ab'.repeat(32) }), [{ sha256: 'ab'.repeat(32) }])
  for (const sha256 of ['', 'ab', 'AB'.repeat(32), `${'ab'.repeat(32)}\n`])
    t.throws(() => one({ sha256 }), USAGE, sha256)
})

await t.test('a file that comes from elsewhere starts over, one that goes elsewhere does not', async (t) => {
  const whole = fileRecord(0, { state: 'transferred', foundSha256: 'x', bytesDone: 5 })
  t.match(patchedFile(whole, { target: '/srv/b' }, RULES), { state: 'transferred', foundSha256: 'x', target: '/srv/b' })
  t.match(patchedFile(whole, { url: whole.url }, RULES), { state: 'transferred' })
  t.match(patchedFile(whole, { url: 'https://other.example/a' }, RULES), { state: 'waiting', foundSha256: null })
  t.throws(() => patchedFile(whole, { url: 'file:///etc/shadow' }, RULES), FORBIDDEN)
})

await t.test('header fields cannot smuggle others in', async (t) => {
  const set = (name: string, value: string) => () => checkSecrets({ headers: [[name, value]] })
  t.doesNotThrow(set('Authorization', 'Bearer abc'))
  for (const value of ['a\r\nX: y', 'a\nb', 'a\rb', 'a\0b']) t.throws(set('X-One', value), USAGE, JSON.stringify(value))
  for (const name of ['', 'a b', 'a:', 'a\r\n', 'ä', 'a'.repeat(257)])
    t.throws(set(name, 'x'), USAGE, JSON.stringify(name))
  t.throws(() => checkSecrets({ headers: [['X', 'a'.repeat(16_384)]] }), USAGE, 'too much in all')
  const many = Array.from({ length: 65 }, (_, at) => [`X-${at}`, ''] as const)
  t.throws(() => checkSecrets({ headers: many }), USAGE, 'too many')
  t.throws(() => checkSecrets({ webhookSecret: 'a\nb' }), USAGE)
})

await t.test('settings out of bounds are refused', async (t) => {
  const bad: Partial<JobSettings>[] = [
    { name: '' },
    { name: 'a\nb' },
    { name: 'a'.repeat(257) },
    { description: 'a'.repeat(1025) },
    { priority: 'urgent' as 'high' },
    { proxy: 'socks5://x' },
    { originMaxBytesPerSec: 0 },
    { originMaxBytesPerSec: Number.NaN },
    { minRetryDelayMs: 4999 },
    { minRetryDelayMs: 5000.5 },
    { noProgressTimeoutMs: -1 },
    { maxTransferTimeMs: 0 },
    { maxTransferTimeMs: Number.POSITIVE_INFINITY },
    { deadlineAtMs: 0 },
    { costPolicy: 'never' as 'always' },
  ]
  for (const each of bad) t.throws(settings(each), USAGE, JSON.stringify(each).slice(0, 60))
  t.doesNotThrow(settings({ name: 'a', noProgressTimeoutMs: 0, minRetryDelayMs: 5000, proxy: 'none' }))
})

await t.test('a command is run only from where the administrator allows it', async (t) => {
  const notify = (command: string[]) => settings({ notify: { command, webhookUrl: null, events: ['transferred'] } })
  t.doesNotThrow(notify(['/usr/lib/shorthaul/hooks/done', 'x']))
  t.throws(notify(['/bin/sh', '-c', 'x']), FORBIDDEN)
  t.throws(notify(['/usr/lib/shorthaul/hooks-evil/done']), FORBIDDEN)
  t.throws(notify(['/usr/lib/shorthaul/hooks/../../../../bin/sh']), USAGE)
  t.throws(notify(['done']), USAGE)
  t.throws(notify([]), USAGE)
  t.throws(notify(['/usr/lib/shorthaul/hooks/done', 'a\0']), USAGE)
  t.throws(settings({ notify: { command: null, webhookUrl: 'file:///x', events: [] } }), USAGE)
})
