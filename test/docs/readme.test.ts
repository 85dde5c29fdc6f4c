/** The README's TypeScript is what somebody pastes first: it is run as it stands, but for where things are. */
import { execFile } from 'node:child_process'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'
import { startTestOrigin } from '../support/test-origin.ts'

const run = promisify(execFile)
const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const LENGTH_BYTES = 1_500_000

const readme = await readFile(join(ROOT, 'README.md'), 'utf8')
const examples = [...readme.matchAll(/^```ts\n([\s\S]*?)^```$/gm)].map(([, text = '']) => text)

void t.test('the README has examples of the library', async (t) => {
  t.equal(examples.length, 2)
})

for (const [at, text] of examples.entries()) {
  void t.test(`example ${at + 1} of the README does what it says`, async (t) => {
    const origin = await startTestOrigin()
    t.teardown(() => origin.close())
    const url = origin.serve('/big.iso', { seed: at, lengthBytes: LENGTH_BYTES })
    const dir = t.testdir({ home: {}, out: {} })
    const target = join(dir, 'out', 'big.iso')
    const places = [
      ["'shorthaul'", JSON.stringify(new URL('../../src/index.ts', import.meta.url).href)],
      ["'https://example.org/big.iso'", JSON.stringify(url)],
      ["'/srv/images/big.iso'", JSON.stringify(target)],
      ["PartFile.open('big.iso')", `PartFile.open(${JSON.stringify(target)})`],
    ] as const
    const program = places.reduce((program, [from, to]) => program.replaceAll(from, to), text)
    t.notMatch(program, /example\.org/)
    const file = join(dir, 'example.ts')
    await mkdir(join(dir, 'run'))
    await writeFile(file, program)
    const env = {
      PATH: process.env.PATH,
      HOME: join(dir, 'home'),
      XDG_DATA_HOME: join(dir, 'home'),
      SHORTHAUL_DATA_DIR: join(dir, 'data'),
      SHORTHAUL_NETWORK_BEACON: 'false',
      SHORTHAUL_NETWORK_DHT_PORT: '0',
      SHORTHAUL_NETWORK_LANE_PORT: '0',
      SHORTHAUL_CACHE_MIN_FREE_BYTES: '0',
    }
    const { stdout } = await run(process.execPath, ['--import=tsx', file], { cwd: ROOT, env, timeout: 60_000 })
    t.not(stdout, '')
    t.equal((await readFile(target)).byteLength, LENGTH_BYTES)
  })
}
