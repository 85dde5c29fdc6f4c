import { execFile } from 'node:child_process'
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import {
  createSecret,
  ensureIdentitySeed,
  ensureUserSecret,
  readSecret,
  rotateSecret,
} from '../../src/config/secret.ts'
import { formatSecretFile, parseSecretFile } from '../../src/config/secret-file.ts'
import { ERROR_TABLE, isShorthaulError } from '../../src/errors.ts'
import { TS_IMPORT } from '../support/ts-import.ts'

const hasModes = process.platform !== 'win32'
const moduleUrl = new URL('../../src/config/secret.ts', import.meta.url).href

await t.test('a created secret is 32 bytes in base64, private, and reads back', async (t) => {
  const path = join(t.testdir(), 'new', 'folder', 'branch.secret')
  const { secret, warning } = await createSecret(path)
  t.equal(secret.byteLength, 32)
  t.equal(warning, null)
  t.equal(readFileSync(path, 'latin1'), `${secret.toString('base64')}\n`)
  if (hasModes) {
    t.equal(statSync(path).mode & 0o777, 0o600)
    t.equal(statSync(join(path, '..')).mode & 0o777, 0o700)
  }
  t.same(await readSecret(path), {
    secret,
    previous: null,
    wireKey: null,
    rosterKey: null,
    inviteSeed: null,
    path,
    warning: null,
  })
  t.same(readdirSync(join(path, '..')), ['branch.secret'], 'nothing else is left behind')
})

await t.test('no two secrets are alike', async (t) => {
  const dir = t.testdir()
  const [one, two] = await Promise.all([createSecret(join(dir, 'a')), createSecret(join(dir, 'b'))])
  t.notSame(one.secret, two.secret)
})

await t.test('an existing file is never replaced', async (t) => {
  const dir = t.testdir({ 'branch.secret': 'precious' })
  await t.rejects(createSecret(join(dir, 'branch.secret')), {
    code: 'SHORTHAUL_TARGET_UNWRITABLE',
    message: /the file exists, expected none/,
  })
  t.equal(readFileSync(join(dir, 'branch.secret'), 'utf8'), 'precious')
  t.same(readdirSync(dir), ['branch.secret'])
  symlinkSync('nowhere', join(dir, 'dangling'))
  await t.rejects(createSecret(join(dir, 'dangling')), { code: 'SHORTHAUL_TARGET_UNWRITABLE' })
  t.notOk(existsSync(join(dir, 'nowhere')), 'nor is a link followed')
})

await t.test('a directory that cannot be made is told', async (t) => {
  const dir = t.testdir({ file: '' })
  await t.rejects(createSecret(join(dir, 'file', 'branch.secret')), {
    code: 'SHORTHAUL_TARGET_UNWRITABLE',
    message: /Cannot create the branch secret/,
  })
})

await t.test('what is not exactly 32 bytes in base64 is refused, and never quoted', async (t) => {
  const good = Buffer.alloc(32, 0x5a).toString('base64')
  const cases: Record<string, string> = {
    empty: '',
    short: Buffer.alloc(31, 1).toString('base64'),
    long: Buffer.alloc(33, 1).toString('base64'),
    hex: Buffer.alloc(32, 1).toString('hex'),
    urlsafe: `${good.slice(0, 5)}-_${good.slice(7)}`,
    unpadded: good.slice(0, -1),
    straybits: `${good.slice(0, -2)}${String.fromCharCode(good.charCodeAt(42) + 1)}=`,
    twice: `${good}\n${good}\n`,
    inside: `${good.slice(0, 20)}\n${good.slice(20)}`,
    huge: good.repeat(100_000),
    nul: `${good}\0`,
  }
  const dir = t.testdir(cases)
  for (const name of Object.keys(cases)) {
    const error = await readSecret(join(dir, name)).then(
      () => null,
      (error: unknown) => error,
    )
    t.ok(isShorthaulError(error, 'SHORTHAUL_SECRET_INVALID'), name)
    t.notOk(JSON.stringify([String(error), error]).includes(good.slice(0, 16)), `${name} is not quoted`)
  }
  await t.rejects(readSecret(join(dir, 'missing')), { code: 'SHORTHAUL_SECRET_INVALID', message: /no such file/ })
  await t.rejects(readSecret(dir), { code: 'SHORTHAUL_SECRET_INVALID', message: /not a regular file/ })
  for (const [name, text] of Object.entries({ bare: good, crlf: `${good}\r\n`, spaces: ` ${good}\n\n` })) {
    writeFileSync(join(dir, name), text)
    t.same((await readSecret(join(dir, name))).secret, Buffer.alloc(32, 0x5a), name)
  }
})

const NO_ROSTER = { rosterKey: null, inviteSeed: null }

await t.test('a file of a rotation reads back as it was written, and nothing else is taken for one', async (t) => {
  const [secret, old, wireKey] = [Buffer.alloc(32, 1), Buffer.alloc(32, 2), Buffer.alloc(32, 3)]
  const previous = { secret: old, validUntilMs: Date.UTC(2026, 11, 3, 9) }
  for (const file of [
    { ...NO_ROSTER, secret, previous: null, wireKey: null },
    { ...NO_ROSTER, secret, previous, wireKey },
    { ...NO_ROSTER, secret, previous, wireKey: null },
    { ...NO_ROSTER, secret, previous: null, wireKey },
    { secret, previous, wireKey, rosterKey: Buffer.alloc(32, 4), inviteSeed: Buffer.alloc(32, 5) },
    { secret, previous: null, wireKey: null, rosterKey: Buffer.alloc(32, 4), inviteSeed: null },
  ]) {
    t.same(parseSecretFile(formatSecretFile(file)), file)
  }
  const text = formatSecretFile({ ...NO_ROSTER, secret, previous, wireKey })
  const [first, before, wire] = text.split('\n') as [string, string, string]
  t.ok(parseSecretFile([first, wire, before].join('\n')), 'in any order')
  const bad: Record<string, string[]> = {
    'a later version': [first, before.replace('/1', '/2')],
    'a kind that is not known': [first, `next/1 ${old.toString('base64')}`],
    'a line twice': [first, wire, wire],
    'too many lines': [first, before, wire, wire.replace('wire', 'roster'), wire.replace('wire', 'invite'), wire],
    'an instant where none belongs': [first, wire.replace('wire', 'roster').concat(' 2026-12-03T09:00:00.000Z')],
    'no instant': [first, before.split(' ').slice(0, 2).join(' ')],
    'an instant of another form': [first, before.replace('.000Z', 'Z')],
    'an instant that is none': [first, before.replace('-03T', '-41T')],
    'a word too many': [first, `${wire} x`],
    'two spaces': [first, wire.replace(' ', '  ')],
    'an empty line inside': [first, '', wire],
    'a short key': [first, `wire/1 ${Buffer.alloc(31).toString('base64')}`],
    'the same secret twice': [first, before.replace(old.toString('base64'), secret.toString('base64'))],
    'no first line': [before, wire],
  }
  for (const [name, lines] of Object.entries(bad)) t.equal(parseSecretFile(lines.join('\n')), null, name)
})

await t.test('rotating keeps the old secret for the window, and the wire key for good', async (t) => {
  const dir = t.testdir()
  const first = await createSecret(join(dir, 's'))
  const wireKey = Buffer.alloc(32, 9)
  const nowMs = Date.UTC(2026, 10, 26)
  const second = await rotateSecret(first, { nowMs, windowMs: 1000, wireKey })
  t.notSame(second.secret, first.secret)
  t.same(second.previous, { secret: first.secret, validUntilMs: nowMs + 1000 })
  t.same(await readSecret(join(dir, 's')), second)
  t.same(readdirSync(dir), ['s'], 'nothing else is left behind')
  if (hasModes) t.equal(statSync(join(dir, 's')).mode & 0o777, 0o600)
  const text = readFileSync(join(dir, 's'), 'utf8')
  await t.rejects(rotateSecret(second, { nowMs: nowMs + 999, windowMs: 1000, wireKey }), {
    code: 'SHORTHAUL_SECRET_INVALID',
    message: /under way until 2026-11-26T00:00:01\.000Z/,
  })
  t.equal(readFileSync(join(dir, 's'), 'utf8'), text, 'a third secret would shut out who has the first')
  const third = await rotateSecret(second, { nowMs: nowMs + 1000, windowMs: 5000, wireKey })
  t.same(third.previous?.secret, second.secret, 'after the window it may be rotated again')
  const last = await rotateSecret(third, { nowMs: nowMs + 1001, windowMs: 0, wireKey })
  t.same([last.previous, last.wireKey], [null, wireKey], 'a window of 0 leaves one secret')
  await t.rejects(rotateSecret({ ...last, path: join(dir, 'none') }, { nowMs, windowMs: 0, wireKey }), {
    code: 'SHORTHAUL_TARGET_UNWRITABLE',
  })
})

await t.test('rotating through a link replaces what it names', { skip: !hasModes }, async (t) => {
  const dir = t.testdir({ real: {} })
  const first = await createSecret(join(dir, 'real', 's'))
  symlinkSync(join('real', 's'), join(dir, 'link'))
  const linked = await readSecret(join(dir, 'link'))
  const made = await rotateSecret(linked, { nowMs: 0, windowMs: 0, wireKey: Buffer.alloc(32) })
  t.same((await readSecret(first.path)).secret, made.secret)
  t.ok(lstatSync(join(dir, 'link')).isSymbolicLink())
})

await t.test('a secret that others can read gives a warning', { skip: !hasModes }, async (t) => {
  const dir = t.testdir()
  const { path } = await createSecret(join(dir, 's'))
  for (const [mode, isWarned] of [
    [0o600, false],
    [0o400, false],
    [0o640, true],
    [0o604, true],
    [0o644, true],
  ] as const) {
    chmodSync(path, mode)
    const { warning } = await readSecret(path)
    t.equal(warning !== null, isWarned, mode.toString(8))
  }
  chmodSync(path, 0o644)
  t.match((await readSecret(path)).warning, /can be read by other users.*chmod 600/)
})

await t.test('the secret of a user is made once', async (t) => {
  const dir = join(t.testdir(), 'data')
  const first = await ensureUserSecret(dir)
  t.equal(first.isNew, true)
  t.equal(first.path, join(dir, 'branch.secret'))
  const second = await ensureUserSecret(dir)
  t.equal(second.isNew, false)
  t.same(second.secret, first.secret)
})

await t.test('a broken secret or seed is told and left alone', async (t) => {
  const dir = t.testdir({ 'branch.secret': 'x', 'identity.seed': 'y'.repeat(31) })
  await t.rejects(ensureUserSecret(dir), { code: 'SHORTHAUL_SECRET_INVALID' })
  await t.rejects(ensureIdentitySeed(dir), {
    code: 'SHORTHAUL_STORE_IO',
    retryable: false,
    message: /31 bytes, expected 32/,
  })
  t.equal(readFileSync(join(dir, 'identity.seed'), 'utf8'), 'y'.repeat(31))
  t.ok('SHORTHAUL_STORE_IO' in ERROR_TABLE)
})

await t.test('the seed of the identity is made once, private', async (t) => {
  const dir = join(t.testdir(), 'data')
  const { seed, path, warning } = await ensureIdentitySeed(dir)
  t.equal(seed.byteLength, 32)
  t.equal(warning, null)
  t.same(readFileSync(path), seed)
  t.same(await ensureIdentitySeed(dir), { seed, path, warning: null })
  if (!hasModes) return
  t.equal(statSync(path).mode & 0o777, 0o600)
  chmodSync(path, 0o644)
  t.match((await ensureIdentitySeed(dir)).warning, /can be read by other users/)
})

await t.test('many makers in one process get one seed', async (t) => {
  const dir = join(t.testdir(), 'data')
  const seeds = await Promise.all(Array.from({ length: 50 }, () => ensureIdentitySeed(dir)))
  t.equal(new Set(seeds.map(({ seed }) => seed.toString('hex'))).size, 1)
  const secrets = await Promise.all(Array.from({ length: 50 }, () => ensureUserSecret(dir)))
  t.equal(new Set(secrets.map(({ secret }) => secret.toString('hex'))).size, 1)
  t.equal(secrets.filter(({ isNew }) => isNew).length, 1, 'and one of them made it')
  t.same(readdirSync(dir).sort(), ['branch.secret', 'identity.seed'])
})

await t.test('two processes that start together get one seed', async (t) => {
  const dir = join(t.testdir(), 'data')
  mkdirSync(dir)
  const script = `
    import { ensureIdentitySeed } from ${JSON.stringify(moduleUrl)}
    const { seed } = await ensureIdentitySeed(${JSON.stringify(dir)})
    console.log(seed.toString('hex'))`
  const run = promisify(execFile)
  const args = [TS_IMPORT, '--input-type=module', '-e', script]
  const outputs = await Promise.all([run(process.execPath, args), run(process.execPath, args)])
  t.equal(outputs[0].stdout, outputs[1].stdout)
  t.match(outputs[0].stdout, /^[0-9a-f]{64}\n$/)
})
