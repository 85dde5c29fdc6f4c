/**
 * Commits segments without end until it is killed, and says each number on stdout after its commit resolved.
 * argv: data directory, first number, quota in bytes
 */
import { systemClock } from '../../src/clock.ts'
import { Store } from '../../src/store/store.ts'
import { log, never, options, record, segment } from './fixtures.ts'

const [, , dataDir = '', first = '0', maxBytes = '0'] = process.argv
const store = await Store.open({ clock: systemClock, log }, options(dataDir, { maxBytes: Number(maxBytes) }))
const resource = record('crash', { segments: 100_000 })
await store.putResource(resource)
process.stdout.write('open\n')
for (let number = Number(first); ; number += 4) {
  const batch = [0, 1, 2, 3].map(async (offset) => {
    const index = number + offset
    if (await store.commit(segment(index, 20_000), { resource: resource.id, index }, { signal: never })) {
      process.stdout.write(`${index}\n`)
    }
  })
  await Promise.all(batch)
}
