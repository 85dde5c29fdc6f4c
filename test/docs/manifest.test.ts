/** What docs/manifest.md shows is what `publish` prints and what the code writes. */
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { PUBLISHED_HEAD_BYTES, PUBLISHED_MANIFEST_SUFFIX } from '../../src/content/published-manifest.ts'
import { MANIFEST_MEDIA_TYPE } from '../../src/origin/declarations.ts'
import { WEB_SERVER_SNIPPETS } from '../../src/publish/web-servers.ts'

const page = await readFile(fileURLToPath(new URL('../../docs/manifest.md', import.meta.url)), 'utf8')

void t.test('docs/manifest.md has the configurations of web servers as they are printed', async (t) => {
  for (const [server, text] of Object.entries(WEB_SERVER_SNIPPETS)) {
    t.ok(page.includes(`\n${text}\n`), server)
    t.ok(text.includes(MANIFEST_MEDIA_TYPE) && text.includes(PUBLISHED_MANIFEST_SUFFIX), server)
  }
})

void t.test('docs/manifest.md has the numbers of the format', async (t) => {
  t.match(page, new RegExp(`^\\| ${PUBLISHED_HEAD_BYTES} +\\| 3 +\\| \`SHM\``, 'm'))
  t.match(page, `Media type: \`${MANIFEST_MEDIA_TYPE}\``)
})
