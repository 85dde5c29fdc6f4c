/** What one core hashes: BLAKE2b-256 of segments (every byte, once on the way in and once per re-read), and SHA-256. */
import { createHash } from 'node:crypto'
import { systemClock } from '../../src/clock.ts'
import { hashSegment } from '../../src/content/digest.ts'
import { SEGMENT_BYTES } from '../../src/content/segmentation.ts'
import { generate } from '../../test/lab/generated-content.ts'
import { type BenchOptions, MIB, type Row, type Scenario, type ScenarioResult } from '../scenario.ts'
import { median, rounded } from '../statistics.ts'

const SEGMENTS = 512

function segmentsPerSec(hashOne: (bytes: Buffer) => unknown, bytes: Buffer): number {
  const startedMs = systemClock.monotonicMs()
  for (let at = 0; at < SEGMENTS; at++) hashOne(bytes)
  return (SEGMENTS * 1000) / (systemClock.monotonicMs() - startedMs)
}

function run({ runs }: BenchOptions): Promise<ScenarioResult> {
  const bytes = Buffer.concat([...generate({ seed: 1, bytes: SEGMENT_BYTES, generation: 1 }, 0, SEGMENT_BYTES)])
  const contenders = {
    'BLAKE2b-256, hashSegment()': hashSegment,
    'SHA-256, node:crypto': (segment: Buffer) => createHash('sha256').update(segment).digest(),
  }
  const rows = Object.entries(contenders).map(([contender, hashOne]): Row => {
    segmentsPerSec(hashOne, bytes) // warm
    const rate = median(Array.from({ length: runs }, () => segmentsPerSec(hashOne, bytes)))
    return { contender, runs, segmentsPerSec: rounded(rate), mibPerSec: rounded((rate * SEGMENT_BYTES) / MIB) }
  })
  return Promise.resolve({ rows, remarks: ['one core, one buffer of 1 MiB'] })
}

export const hash: Scenario = {
  name: 'hash',
  title: 'hashing on one core',
  defaultRuns: 5,
  bars: [{ title: 'Throughput of one core', column: 'mibPerSec', labels: ['contender'] }],
  run,
}
