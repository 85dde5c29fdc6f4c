import t from 'tap'
import type { RunFigures } from '../../../bench/foreground/figures.ts'
import { figureColumns } from '../../../bench/foreground/rows.ts'
import { parsePorts } from '../../../bench/foreground/traffic.ts'

const FIGURES: RunFigures = {
  idleUseRatio: 0.91239,
  fairness: 1,
  idleAddedMedianMs: 5.04,
  idleAddedP95Ms: 9,
  idleLostRatio: 0,
  foregroundMbit: 45,
  keptRatio: 0.95,
  keptAfter2sRatio: 0.99,
  backgroundLeftMbit: 0.3,
  yieldMs: 1000,
  recoveryMs: null,
  cpuRatio: 0.07,
}

void t.test('a row has medians, rounded, and the worst that a foreground kept', async (t) => {
  const row = figureColumns([FIGURES, { ...FIGURES, keptRatio: 0.8, yieldMs: null }, FIGURES])
  t.match(row, { idleUseRatio: 0.912, idleAddedMedianMs: 5, keptRatio: 0.95, worstKeptRatio: 0.8 })
  t.match(row, { yieldMs: 1000, recoveryMs: null })
  t.equal(figureColumns([{ ...FIGURES, keptRatio: null }]).worstKeptRatio, null)
})

void t.test('counters of the bridge’s ports are read, and other interfaces are not', async (t) => {
  const netDev = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:       7       1    0    0    0     0          0         0        7       1    0    0    0     0       0          0
   p-1:     100       2    0    0    0     0          0         0      300       4    0    0    0     0       0          0
p-router:  9999       2    0    0    0     0          0         0     9999       4    0    0    0     0       0          0
  p-12:    2000      20    0    0    0     0          0         0     4000      40    0    0    0     0       0          0
`
  t.same(
    [...parsePorts(netDev)],
    [
      [1, { fromHost: 100, toHost: 300 }],
      [12, { fromHost: 2000, toHost: 4000 }],
    ],
  )
})
