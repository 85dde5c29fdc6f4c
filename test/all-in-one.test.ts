/**
 * The tests that need no process of their own, in one: to start one for each file takes longer than they do. Each also runs
 * alone. The folders are those that .taprc leaves out, so that none is lost between the two.
 */
import { readdirSync, readFileSync } from 'node:fs'
import t from 'tap'
import { parse } from 'yaml'

const { exclude } = parse(readFileSync(new URL('../.taprc', import.meta.url), 'utf8')) as { exclude: readonly string[] }
const folders = exclude.map((pattern) => /^test\/([a-z]+)\/\*\*$/.exec(pattern)?.[1])

// Of all of them, one after the other.
t.setTimeout(600_000)
// With a teardown of all tests tap ends them as soon as none is under way: the files after that would be left out.
t.teardown = () => {
  throw new Error('a file that runs in one process with others may leave nothing to the end of all')
}

for (const folder of folders) {
  if (folder === undefined) throw new Error('.taprc leaves out what is no folder of test/')
  const root = new URL(`./${folder}/`, import.meta.url)
  const names = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.test.ts'))
  for (const name of names.sort()) await import(new URL(name, root).href)
}
