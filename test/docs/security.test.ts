/** SECURITY.md names tests: they are there, under these names. */
import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import t from 'tap'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const text = readFileSync(`${ROOT}SECURITY.md`, 'utf8')
/** `[name](test/....test.ts): title of a test`; a title ends with the cell, or where the next link or a remark begins. */
const LINK = /\]\((test\/[^)]+)\)(?:: ([^|]+?)(?=;| \|))?/g

void t.test('every test that SECURITY.md names is there', async (t) => {
  const links = [...text.matchAll(LINK)].map(([, path = '', title]) => ({ path, title: title?.trim() }))
  t.ok(links.length > 30, `${links.length} links`)
  t.equal(links.length, text.split('](test/').length - 1, 'all of them were understood')
  for (const { path, title } of links) {
    t.ok(existsSync(ROOT + path), path)
    if (title === undefined) continue
    t.ok(existsSync(ROOT + path) && readFileSync(ROOT + path, 'utf8').includes(title), `${path}: ${title}`)
  }
})

void t.test('the sources that it names are there', async (t) => {
  for (const [, path = ''] of text.matchAll(
    /`((?:content|transfer|peers|swarm|origin|control|jobs|cli)\/[\w-]+\.ts)`/g,
  )) {
    t.ok(existsSync(`${ROOT}src/${path}`), path)
  }
})
