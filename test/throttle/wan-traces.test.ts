/**
 * The law on what it saw on real lines (record-trace.ts). It decides again from what came in then, which does not answer to
 * what it decides now: so what is asked is whether it sees who is there, and not how well it uses the line.
 */
import { readdirSync } from 'node:fs'
import t from 'tap'
import { WanLaw } from '../../src/throttle/wan-law.ts'
import { WAN_LEVELS } from '../../src/throttle/wan-sample.ts'
import { readTrace } from './wan-trace.ts'

const NAMES = readdirSync(new URL('traces/', import.meta.url)).map((name) => name.replace('.json', ''))
/** The search for the capacity is over by then. */
const STARTED_MS = 4000
/** As long as a foreground may wait for the line. */
const YIELD_MS = 1200
/** As long as the line may be idle after it. */
const RETURN_MS = 3000

interface Moment {
  readonly atMs: number
  readonly isYielding: boolean
  readonly bytesPerSec: number
}

function shareOf(moments: readonly Moment[], is: (moment: Moment) => boolean): number {
  return moments.filter(is).length / moments.length
}

for (const name of NAMES) {
  t.test(`${name}: sees who comes, and that they have gone`, (t) => {
    const { samples, foreground, mbit } = readTrace(name)
    const law = new WanLaw(WAN_LEVELS.normal)
    const moments = samples.map((sample): Moment => {
      const { phase, bytesPerSec } = law.step(sample)
      return { atMs: sample.nowMs, isYielding: phase === 'yield', bytesPerSec }
    })
    const between = (fromMs: number, untilMs: number) => moments.filter(({ atMs }) => atMs >= fromMs && atMs < untilMs)

    const alone = between(STARTED_MS, foreground.fromMs)
    const together = between(foreground.fromMs + YIELD_MS, foreground.untilMs)
    const again = between(foreground.untilMs + RETURN_MS, Number.POSITIVE_INFINITY)
    for (const part of [alone, together, again]) t.ok(part.length > 40, `${part.length} samples`)

    const falseShare = shareOf(alone, ({ isYielding }) => isYielding)
    t.ok(falseShare < 0.15, `alone it yields ${(falseShare * 100).toFixed(0)} % of the time`)
    const yieldShare = shareOf(together, ({ isYielding }) => isYielding)
    t.ok(yieldShare > 0.95, `beside others it yields ${(yieldShare * 100).toFixed(0)} % of the time`)
    const floorShare = shareOf(together, ({ bytesPerSec }) => bytesPerSec < 0.1 * mbit * 125_000)
    t.ok(floorShare > 0.95, `and takes less than a tenth of the line ${(floorShare * 100).toFixed(0)} % of it`)
    const lateShare = shareOf(again, ({ isYielding }) => isYielding)
    t.ok(lateShare < 0.15, `when they have gone it yields ${(lateShare * 100).toFixed(0)} % of the time`)
    t.end()
  })
}
