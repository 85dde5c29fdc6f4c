import { execFile } from 'node:child_process'
import {
  chmodSync,
  existsSync,
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
import { createSecret, ensureIdentitySeed, ensureUserSecret, readSecret } from '../../src/config/secret.ts'
import { ERROR_TABLE, isShorthaulError } from '../../src/errors.ts'

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
  t.same(await readSecret(path), { secret, path, warning: null })
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
  const args = ['--import=tsx', '--input-type=module', '-e', script]
  const outputs = await Promise.all([run(process.execPath, args), run(process.execPath, args)])
  t.equal(outputs[0].stdout, outputs[1].stdout)
  t.match(outputs[0].stdout, /^[0-9a-f]{64}\n$/)
})
