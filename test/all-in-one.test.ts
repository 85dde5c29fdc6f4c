/**
 * The tests that need no process of their own, in one: to start one for each file takes longer than most of them do. Each
 * also runs alone. They are those that .taprc leaves out, so that none is lost between the two.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { setPriority } from 'node:os'
import t from 'tap'
import { parse } from 'yaml'

const root = new URL('../', import.meta.url)
const { exclude } = parse(readFileSync(new URL('.taprc', root), 'utf8')) as { exclude: readonly string[] }

// It computes for minutes, beside tests of the lab whose agents have to act in tenths of a second: those go first.
setPriority(5)
// Of all of them, one after the other. Neither this nor the end of all is for one of them to say.
t.setTimeout(900_000)
t.setTimeout = () => {}
const ends: (() => unknown)[] = []
t.teardown = (end) => ends.push(end)

for (const path of exclude.flatMap(filesOf)) {
  await import(new URL(path, root).href)
  // When it begins, the tests before it are over.
  await t.test(`the end of ${path}`, async () => {
    while (ends.length > 0) await ends.pop()?.()
  })
}

/** The test files that a pattern of .taprc means: a folder with all below it, or one file. */
function filesOf(pattern: string): readonly string[] {
  if (!pattern.includes('*')) return [pattern]
  const folder = /^(test\/[a-z]+\/)\*\*$/.exec(pattern)?.[1]
  if (folder === undefined) throw new Error(`.taprc leaves out what is no folder of test/: ${pattern}`)
  const names = readdirSync(new URL(folder, root), { recursive: true, encoding: 'utf8' })
  return names
    .filter((name) => name.endsWith('.test.ts'))
    .map((name) => `${folder}${name}`)
    .sort()
}
