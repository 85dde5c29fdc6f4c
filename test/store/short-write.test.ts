/** What was acknowledged is found again, also when the disk was full in the middle of an earlier record. */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { IndexDb } from '../../src/store/index-db.ts'

const child = fileURLToPath(new URL('./short-write-child.ts', import.meta.url))
const canLimit = spawnSync('prlimit', ['--version']).status === 0

t.test(
  'a write that was cut short loses no later one, and stops nobody who reads',
  { skip: !canLimit && 'needs prlimit' },
  async (t) => {
    const cases = [
      { rounds: 1, recordBytes: 100, fittingBytes: 3 },
      { rounds: 3, recordBytes: 2000, fittingBytes: 700 },
      { rounds: 2, recordBytes: 40_000, fittingBytes: 33_000 }, // more than a block of LevelDB's log
    ]
    for (const { rounds, recordBytes, fittingBytes } of cases) {
      const path = join(t.testdir({}), `db-${recordBytes}`)
      const args = [path, rounds, recordBytes, fittingBytes].map(String)
      const { stdout, stderr, signal } = spawnSync(process.execPath, [...process.execArgv, child, ...args], {
        encoding: 'utf8',
      })
      t.equal(signal, 'SIGKILL', stderr)
      const acknowledged = stdout.trimEnd().split('\n')
      t.equal(acknowledged.pop(), 'end')
      t.equal(acknowledged.length, rounds * 6 + 5, 'all that came when there was room were acknowledged')

      const db = await IndexDb.open(path, { onCorrupt: () => t.fail('damaged') })
      const found = await db.getMany(acknowledged.map((key) => Buffer.from(key)))
      const lost = acknowledged.filter((_, at) => found[at]?.byteLength !== recordBytes)
      t.same(lost, [], `${recordBytes} bytes`)
      await db.close()
    }
  },
)
