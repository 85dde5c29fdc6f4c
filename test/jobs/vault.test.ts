import { readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { NO_SECRETS, Vault } from '../../src/jobs/vault.ts'

const SECRETS = { headers: [['Authorization', 'Bearer hunter2']] as const, webhookSecret: 'k' }
const INVALID = { code: 'SHORTHAUL_SECRET_INVALID' }

await t.test('what is sealed is opened by the same data directory, also later', async (t) => {
  const dir = t.testdir({})
  const sealed = (await Vault.open(dir)).seal(SECRETS, 'job 1')
  t.ok(sealed)
  t.notMatch(Buffer.from(sealed ?? '', 'base64').toString('latin1'), /hunter2/)
  t.same((await Vault.open(dir)).open(sealed, 'job 1'), SECRETS)
  t.equal((await stat(join(dir, 'jobs', 'key'))).mode & 0o777, 0o600)
})

await t.test('nothing is sealed when there is nothing', async (t) => {
  const vault = await Vault.open(t.testdir({}))
  t.equal(vault.seal(NO_SECRETS, 'job 1'), null)
  t.same(vault.open(null, 'job 1'), NO_SECRETS)
})

await t.test('the same secrets never look the same', async (t) => {
  const vault = await Vault.open(t.testdir({}))
  t.not(vault.seal(SECRETS, 'job 1'), vault.seal(SECRETS, 'job 1'))
})

await t.test('sealed text is of no use for another job, with another key, or changed', async (t) => {
  const dir = t.testdir({ other: {} })
  const vault = await Vault.open(dir)
  const sealed = vault.seal(SECRETS, 'job 1') ?? ''
  t.throws(() => vault.open(sealed, 'job 2'), INVALID)
  const other = await Vault.open(join(dir, 'other'))
  t.throws(() => other.open(sealed, 'job 1'), INVALID)
  const bytes = Buffer.from(sealed, 'base64')
  for (const at of [0, 12, 28, bytes.length - 1]) {
    const changed = Buffer.from(bytes)
    changed[at] = (changed[at] ?? 0) ^ 1
    t.throws(() => vault.open(changed.toString('base64'), 'job 1'), INVALID, `byte ${at}`)
  }
  for (const short of ['', 'AAAA', sealed.slice(0, 20), bytes.subarray(0, 28).toString('base64')]) {
    t.throws(() => vault.open(short, 'job 1'), INVALID, `"${short}"`)
  }
  t.throws(
    () => vault.open(Buffer.concat([bytes.subarray(0, 12), bytes.subarray(12, 16)]).toString('base64'), 'job 1'),
    INVALID,
    'a cut tag',
  )
})

await t.test('a key that is not one is refused, a lost one is made anew', async (t) => {
  const dir = t.testdir({})
  await Vault.open(dir)
  const path = join(dir, 'jobs', 'key')
  await writeFile(path, 'short')
  await t.rejects(Vault.open(dir), INVALID)
  await rm(path)
  await Vault.open(dir)
  t.equal((await readFile(path)).byteLength, 32)
})
