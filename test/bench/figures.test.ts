import t from 'tap'
import { crowdRow, type RoundRecord } from '../../bench/crowd/figures.ts'

const OPTIONS = { contender: 'c', condition: 'all', hosts: 3, idealMs: 1000, undisturbedLastMs: null }

function record(endedMs: readonly number[], more: Partial<RoundRecord> = {}): RoundRecord {
  return {
    bytes: 100,
    contentBytes: 150,
    wanBytes: 160,
    ended: endedMs.map((ended, at) => ({ host: at + 1, startedMs: 0, endedMs: ended })),
    excluded: null,
    expectedTargets: endedMs.length,
    rightTargets: endedMs.length,
    wastedBytes: null,
    failures: [],
    curves: [],
    ...more,
  }
}

void t.test('a row of a crowd', async (t) => {
  await t.test('compares the last host with the ideal, and the slowest with the median', async (t) => {
    const row = crowdRow([record([1000, 2000, 3000])], OPTIONS)
    t.match(row, { lastMs: 3000, medianMs: 2000, lastToIdealRatio: 3, slowestToMedianRatio: 1.5, copies: 1.5 })
    t.match(row, { wanCopies: 1.6, rightTargets: '3 of 3', wastedBytes: null, othersDelayRatio: null })
  })

  await t.test('takes the median of rounds, and the worst number of copies', async (t) => {
    const rounds = [record([1000]), record([9000], { contentBytes: 400, wastedBytes: 7 }), record([2000])]
    t.match(crowdRow(rounds, OPTIONS), { runs: 3, lastMs: 2000, copies: 1.5, worstCopies: 4, wastedBytes: 7 })
  })

  await t.test('counts durations from each host’s own start, and the last from the start of the round', async (t) => {
    const ended = [
      { host: 1, startedMs: 0, endedMs: 1000 },
      { host: 2, startedMs: 1500, endedMs: 2500 },
    ]
    t.match(crowdRow([record([], { ended })], OPTIONS), { lastMs: 2500, medianMs: 1000, slowestToMedianRatio: 1 })
  })

  await t.test('keeps the disturbed host apart', async (t) => {
    const excluded = { host: 3, startedMs: 0, endedMs: 50_000 }
    const row = crowdRow([record([1500, 3000], { excluded })], { ...OPTIONS, undisturbedLastMs: 2000 })
    t.match(row, { lastMs: 3000, disturbedHostMs: 50_000, othersDelayRatio: 1.5 })
  })

  await t.test('has no times when nobody got the file', async (t) => {
    const row = crowdRow([record([], { expectedTargets: 3 })], OPTIONS)
    t.match(row, { lastMs: null, medianMs: null, lastToIdealRatio: null, rightTargets: '0 of 3' })
  })
})
