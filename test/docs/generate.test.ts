import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { GENERATED_FILES, renderConfig, renderErrors } from '../../docs/generate.ts'
import { FLAT_KEYS } from '../../src/config/flat-keys.ts'
import { loadConfig } from '../../src/config/load.ts'
import { ERROR_TABLE, EXIT } from '../../src/errors.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))

function load(file: string | null) {
  return loadConfig({ file, env: {}, homeDir: '/home/someone', isRoot: false, workingDir: '/' })
}

await t.test('the generated files are what the source says now', async (t) => {
  for (const [path, render] of Object.entries(GENERATED_FILES)) {
    t.equal(readFileSync(join(root, path), 'utf8'), render(), `${path}; if it differs: npm run docs`)
  }
})

await t.test('docs/errors.md has every code once, under its exit code', async (t) => {
  const text = renderErrors()
  for (const [code, { exit }] of Object.entries(ERROR_TABLE)) {
    const rows = text.split('\n').filter((line) => line.startsWith(`| \`${code}\` `))
    t.equal(rows.length, 1, code)
    const before = text.slice(0, text.indexOf(rows[0] ?? ''))
    t.equal(before.slice(before.lastIndexOf('(exit ')).split(')')[0], `(exit ${exit}`, code)
  }
  for (const exit of Object.values(EXIT)) t.match(text, new RegExp(`^\\| \`${exit}\` +\\|`, 'm'))
})

await t.test('docs/config.md has every key with its variable, and tables that no text breaks', async (t) => {
  const lines = renderConfig().split('\n')
  for (const { path, variable, key } of FLAT_KEYS) {
    const [row = '', ...more] = lines.filter((line) => line.startsWith(`| \`${path}\`<br>\`${variable}\` `))
    t.same(more, [], path)
    t.equal(row.split(/(?<!\\)\|/).length, 7, `${path} has five cells`)
    t.match(key.why, /^\S.*\.$/s, `${path} is explained in sentences`)
  }
})

await t.test('the example file changes nothing as it is', async (t) => {
  const { config, provenance } = await load(join(root, 'config/shorthaul.example.yaml'))
  t.same(config, (await load(null)).config)
  t.same([...new Set(Object.values(provenance))], ['default'])
})

await t.test('every key of the example file, with its # removed, has its default', async (t) => {
  const text = readFileSync(join(root, 'config/shorthaul.example.yaml'), 'utf8')
  const file = join(t.testdir(), 'config.yaml')
  writeFileSync(file, text.replace(/^( *)#(?=\w+: )/gm, '$1'))
  const { config, provenance } = await load(file)
  t.same(config, (await load(null)).config)
  t.same(
    FLAT_KEYS.filter(({ path }) => provenance[path] !== 'file').map(({ path }) => path),
    [],
    'each key stands in the file',
  )
})

await t.test('the example of a branch can be used', async (t) => {
  const { config } = await load(join(root, 'config/branch-three-machines.yaml'))
  t.equal(config.branch.secretFile, join(root, 'config/branch.secret'))
  const text = readFileSync(join(root, 'config/branch-three-machines.yaml'), 'utf8')
  const file = join(t.testdir(), 'config.yaml')
  writeFileSync(file, text.replace(/^#(?=network:| {2}peers:)/gm, ''))
  t.equal((await load(file)).config.network.peers.length, 2, 'also with the peers')
  const { dhtPort, lanePort, beaconPort } = config.network
  for (const port of [dhtPort, dhtPort + 1, lanePort, beaconPort]) {
    t.ok(text.includes(String(port)), `it says that port ${port} has to be open`)
  }
})

await t.test('the systemd unit is one that systemd understands', async (t) => {
  const unit = join(root, 'config/shorthaul.service')
  t.match(readFileSync(unit, 'utf8'), /^RestartPreventExitStatus=2$/m)
  t.equal(EXIT.usage, 2)
  const { error, stderr } = spawnSync('systemd-analyze', ['verify', unit], { encoding: 'utf8', timeout: 30_000 })
  if (error) return t.comment('systemd-analyze is not here: not verified')
  t.same(
    stderr.split('\n').filter((line) => line.includes('shorthaul')),
    [],
  )
})
