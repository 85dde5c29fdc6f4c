/**
 * The tests of pure code, in one process: to start one for each file takes longer than they do. Each also runs alone.
 * The folders are those that .taprc leaves out, so that none is lost between the two.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { parse } from 'yaml'

const { exclude } = parse(readFileSync(new URL('../.taprc', import.meta.url), 'utf8')) as { exclude: readonly string[] }
const folders = exclude.map((pattern) => /^test\/([a-z]+)\/\*\*$/.exec(pattern)?.[1])

for (const folder of folders) {
  if (folder === undefined) throw new Error('.taprc leaves out what is no folder of test/')
  const names = readdirSync(new URL(`./${folder}/`, import.meta.url)).filter((name) => name.endsWith('.test.ts'))
  for (const name of names.sort()) await import(`./${folder}/${name}`)
}
