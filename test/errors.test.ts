import fc from 'fast-check'
import t from 'tap'
import { FLAT_KEYS } from '../src/config/flat-keys.ts'
import {
  abortError,
  assertNever,
  ERROR_TABLE,
  type ErrorCode,
  EXIT,
  isShorthaulError,
  localIoError,
  redactUrl,
  ShorthaulError,
  systemCode,
  throwIfAborted,
} from '../src/errors.ts'

const CODES = Object.keys(ERROR_TABLE) as ErrorCode[]

function systemError(code: string, cause?: unknown): Error {
  return Object.assign(new Error(`${code}: no`, cause === undefined ? undefined : { cause }), { code })
}

await t.test('every entry of the table is complete', async (t) => {
  const exits = new Set<number>(Object.values(EXIT))
  for (const code of CODES) {
    const { cause, whatToDo, exit } = ERROR_TABLE[code]
    t.match(code, /^SHORTHAUL_[A-Z]+(_[A-Z]+)*$/)
    t.match(cause, /^[A-Z].*\.$/s, `${code}: a cause in sentences`)
    t.match(whatToDo, /^\S.*\.$/s, `${code}: what to do in sentences`)
    t.ok(exits.has(exit) && exit !== EXIT.ok, `${code} has the exit code of a failure`)
  }
})

await t.test('advice names only keys that exist', async (t) => {
  const sections = new Set(FLAT_KEYS.flatMap(({ section }) => section ?? []))
  const paths = new Set(FLAT_KEYS.map(({ path }) => path))
  let found = 0
  for (const code of CODES) {
    for (const [path, section = ''] of ERROR_TABLE[code].whatToDo.matchAll(/\b([a-z]+)\.[a-z][A-Za-z]+/g)) {
      if (!sections.has(section)) continue
      found++
      t.ok(paths.has(path), `${code}: ${path}`)
    }
  }
  t.ok(found > 0, 'there is such advice')
})

await t.test('an error takes exit and retryability from the table, and the case may overrule the latter', async (t) => {
  for (const code of CODES) {
    const error = new ShorthaulError(code, 'Cannot do it')
    t.equal(error.exit, ERROR_TABLE[code].exit)
    t.equal(error.retryable, ERROR_TABLE[code].retryable)
    t.equal(new ShorthaulError(code, '', { retryable: !error.retryable }).retryable, !error.retryable)
  }
  const cause = new Error('inner')
  const error = new ShorthaulError('SHORTHAUL_DISK_FULL', 'Cannot write', { cause, details: { path: '/x' } })
  t.ok(error instanceof Error)
  t.equal(error.name, 'ShorthaulError')
  t.equal(error.cause, cause)
  t.same(error.details, { path: '/x' })
  t.notOk('cause' in new ShorthaulError('SHORTHAUL_USAGE', 'x'), 'no cause is none, and not undefined')
})

await t.test('isShorthaulError() tells codes apart', async (t) => {
  const error: unknown = new ShorthaulError('SHORTHAUL_USAGE', 'x')
  t.ok(isShorthaulError(error))
  t.ok(isShorthaulError(error, 'SHORTHAUL_USAGE'))
  t.notOk(isShorthaulError(error, 'SHORTHAUL_ABORTED'))
  for (const other of [null, undefined, 'SHORTHAUL_USAGE', { code: 'SHORTHAUL_USAGE' }, systemError('ENOENT')]) {
    t.notOk(isShorthaulError(other))
  }
})

await t.test('systemCode() finds the code of the system along the causes, and ends', async (t) => {
  t.equal(systemCode(systemError('ENOENT')), 'ENOENT')
  t.equal(systemCode(new Error('outer', { cause: systemError('ECONNRESET') })), 'ECONNRESET')
  const own = new ShorthaulError('SHORTHAUL_STORE_IO', 'x', { cause: systemError('EIO') })
  t.equal(systemCode(own), 'EIO', 'our own codes are not the system’s')
  t.equal(systemCode(new Error('x')), undefined)
  t.equal(systemCode('ENOENT'), undefined)
  t.equal(systemCode(undefined), undefined)
  const loop = new Error('loop')
  loop.cause = loop
  t.equal(systemCode(loop), undefined)
})

await t.test('a full disk is told apart from everything else that local I/O can suffer', async (t) => {
  for (const [system, code] of [
    ['ENOSPC', 'SHORTHAUL_DISK_FULL'],
    ['EDQUOT', 'SHORTHAUL_DISK_FULL'],
    ['EACCES', 'SHORTHAUL_TARGET_UNWRITABLE'],
  ] as const) {
    const cause = systemError(system)
    const error = localIoError('write', '/x/y', cause, 'SHORTHAUL_TARGET_UNWRITABLE')
    t.match(error, { code, cause, message: `Cannot write "/x/y": ${system}`, details: { path: '/x/y', system } })
  }
})

await t.test('an abort keeps a reason of ours and wraps any other', async (t) => {
  const own = new ShorthaulError('SHORTHAUL_PEER_STALLED', 'x')
  t.equal(abortError(AbortSignal.abort(own)), own)
  const reason = new Error('user')
  t.match(abortError(AbortSignal.abort(reason)), { code: 'SHORTHAUL_ABORTED', cause: reason, exit: 130 })
  t.throws(() => throwIfAborted(AbortSignal.abort(own)), { code: 'SHORTHAUL_PEER_STALLED' })
  t.throws(() => throwIfAborted(AbortSignal.abort()), { code: 'SHORTHAUL_ABORTED' })
  t.doesNotThrow(() => throwIfAborted(undefined))
  t.doesNotThrow(() => throwIfAborted(new AbortController().signal))
})

await t.test('redactUrl() leaves scheme, host and path, and nothing that can be a secret', async (t) => {
  t.equal(redactUrl('https://u:p@h.example:8443/a/b.iso?sig=1#frag'), 'https://h.example:8443/a/b.iso?…')
  t.equal(redactUrl('https://h.example/a'), 'https://h.example/a')
  t.equal(redactUrl(new URL('file:///srv/x y')), 'file:///srv/x%20y')
  t.equal(redactUrl('https://h/a?'), 'https://h/a')
  t.equal(redactUrl('https:u:p@h/a'), 'https://h/a')
  t.equal(redactUrl('not a url ?secret'), '(invalid URL)')
  t.equal(redactUrl(redactUrl('https://u@h/a?b')), 'https://h/a?…', 'twice is once')
  const secret = fc.stringMatching(/^[A-Za-z0-9]{8,20}$/).map((text) => `SECRET${text}`)
  fc.assert(
    fc.property(secret, fc.constantFrom('https', 'http', 'ftp', 'ws', 'custom'), (mark, scheme) => {
      const text = redactUrl(`${scheme}://${mark}:${mark}@host/path?${mark}=${mark}#${mark}`)
      return !text.includes(mark) && text.startsWith(`${scheme}://host/path`)
    }),
  )
})

await t.test('assertNever() says what it was given', async (t) => {
  t.throws(() => assertNever('odd' as never), /Unexpected value "odd"/)
})
