/**
 * Writes records to a database whose file system ends in the middle of one of them now and then, and says on stdout which
 * ones were acknowledged, and what it could not read back in between; then kills itself, so that the next to open the
 * database sees what the log holds.
 * argv: path, how often the room ends, bytes of a record, bytes of a record that still fit
 */
import { spawnSync } from 'node:child_process'
import { readdirSync, statSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { IndexDb, put } from '../../src/store/index-db.ts'

const [, , path = '', rounds = '1', recordBytes = '100', fittingBytes = '10'] = process.argv
const RECORDS_BETWEEN = 5
let number = 0
const acknowledged: string[] = []

// A limit of the size of files stands for a disk that is full: it cuts a write short at the exact byte, and needs no root.
process.on('SIGXFSZ', () => {})
function limitFiles(bytes: number | 'unlimited'): void {
  spawnSync('prlimit', ['--pid', String(process.pid), `--fsize=${bytes}:unlimited`])
}

function logBytes(): number {
  const logs = readdirSync(path).filter((name) => name.endsWith('.log'))
  return Math.max(0, ...logs.map((name) => statSync(join(path, name)).size))
}

const db = await IndexDb.open(path, { onCorrupt: () => process.exit(3) })

async function write(): Promise<boolean> {
  const key = String(number++)
  const value = Buffer.alloc(Number(recordBytes), key)
  try {
    await db.write([put(Buffer.from(key), value)], { isDurable: true })
  } catch {
    return false
  }
  acknowledged.push(key)
  writeSync(1, `${key}\n`)
  return true
}

/**
 * One key at a time, and all of them in pages: at least what was acknowledged before must be there.
 * @param meanwhile done after the first page
 */
async function readBack(meanwhile?: () => Promise<unknown>): Promise<void> {
  const expected = [...acknowledged]
  const paged = new Set<string>()
  const all = { gte: Buffer.from('0'), lt: Buffer.from(':') }
  for await (const page of db.pages(all, { pageSize: 2 })) {
    if (paged.size === 0) await meanwhile?.()
    for (const [key] of page) paged.add(key.toString())
  }
  for (const key of expected) {
    const isThere = paged.has(key) && (await db.get(Buffer.from(key)))?.byteLength === Number(recordBytes)
    if (!isThere) writeSync(1, `unread ${key}\n`)
  }
}

for (let round = 0; round < Number(rounds); round++) {
  for (let count = 0; count < RECORDS_BETWEEN; count++) await write()
  limitFiles(logBytes() + Number(fittingBytes))
  // Several at once: those that wait behind the one that is cut short must not be written after its remains.
  const fitted = await Promise.all([write(), write(), write()])
  if (fitted.includes(true)) process.exit(4)
  await readBack()
  limitFiles('unlimited')
  // The first write opens the database again below those who read.
  await Promise.all([readBack(write), readBack()])
}
for (let count = 0; count < RECORDS_BETWEEN; count++) await write()
writeSync(1, 'end\n')
process.kill(process.pid, 'SIGKILL')
