/** `npm run simulate`: runs worlds from their seeds; prints the trace of one that went wrong, and how to run it again. */
import { parseArgs } from 'node:util'
import { loadHashing } from '../../src/transfer/part-file.ts'
import { jobsWorld } from './jobs-world.ts'
import { transferWorld } from './transfer-world.ts'
import { type MakeWorld, runWorld } from './world.ts'

const WORLDS: Readonly<Record<string, MakeWorld>> = { transfer: transferWorld, jobs: jobsWorld }
const PROGRESS_EVERY = 500

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    seeds: { type: 'string', default: '1' },
    world: { type: 'string' },
    trace: { type: 'boolean', default: false },
    'keep-going': { type: 'boolean', default: false },
  },
})
const [first, count] = [Number(values.seed), Number(values.seeds)]
const chosen = Object.entries(WORLDS).filter(([name]) => values.world === undefined || values.world === name)
if (!Number.isSafeInteger(first) || !Number.isSafeInteger(count) || chosen.length === 0) {
  console.error(`Usage: npm run simulate -- --seed S [--seeds N] [--world ${Object.keys(WORLDS).join('|')}] [--trace]`)
  process.exit(2)
}
await loadHashing()
const failures: string[] = []
for (const [name, make] of chosen) {
  const startedAtMs = performance.now()
  let eventCount = 0
  for (let seed = first; seed < first + count; seed++) {
    const outcome = await runWorld(make, seed)
    eventCount += outcome.eventCount
    if (values.trace || (outcome.failure !== null && !values['keep-going'])) console.log(outcome.trace.join('\n'))
    if (outcome.failure !== null) {
      failures.push(`${name} ${seed}`)
      console.log(`\n${name}, seed ${seed}: ${outcome.failure}`)
      console.log(`Again: npm run simulate -- --world ${name} --seed ${seed}\n`)
      if (!values['keep-going']) process.exit(1)
    }
    if ((seed - first + 1) % PROGRESS_EVERY === 0) console.log(`${name}: ${seed - first + 1} of ${count}`)
  }
  const seconds = ((performance.now() - startedAtMs) / 1000).toFixed(1)
  console.log(`${name}: ${count} seeds, ${eventCount} events, ${seconds} s, ${failures.length} failed`)
}
process.exitCode = failures.length === 0 ? 0 : 1
