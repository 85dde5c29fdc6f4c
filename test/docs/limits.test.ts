import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { FLAT_KEYS } from '../../src/config/flat-keys.ts'
import { loadConfig } from '../../src/config/load.ts'
import type { CapWindow } from '../../src/config/windows.ts'

const text = readFileSync(fileURLToPath(new URL('../../docs/limits.md', import.meta.url)), 'utf8')

function load(options: { file?: string; env?: Record<string, string> }) {
  return loadConfig({ file: null, env: {}, homeDir: '/home/someone', isRoot: false, workingDir: '/', ...options })
}

await t.test('every example of docs/limits.md is a valid configuration', async (t) => {
  const blocks = [...text.matchAll(/```yaml\n(.*?)```/gs)].map((match) => match[1] ?? '')
  t.equal(blocks.length, 3)
  const schedules: (readonly CapWindow[])[] = []
  for (const block of blocks) {
    const file = join(t.testdir(), 'config.yaml')
    writeFileSync(file, block)
    schedules.push((await load({ file })).config.throttle.schedule)
  }
  const [, variable = '', value = ''] = /^(SHORTHAUL_\w+)='(.*)'$/m.exec(text) ?? []
  const { config } = await load({ env: { [variable]: value } })
  t.same(config.throttle.schedule, schedules[1], 'the line says the same as the list')
  t.same(schedules[2]?.[0], schedules[1]?.[0], 'and so does the first map')
})

await t.test('every key that docs/limits.md names exists', async (t) => {
  const paths = FLAT_KEYS.map(({ path }) => path)
  for (const [, path = ''] of text.matchAll(/`((?:throttle|serve)\.[A-Za-z]+)/g)) t.ok(paths.includes(path), path)
})
