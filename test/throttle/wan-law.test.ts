import t from 'tap'
import { seededRandom } from '../../src/clock.ts'
import { WAN_LEVELS } from '../../src/throttle/wan-sample.ts'
import { Background, type Flow, Line, run } from './bottleneck.ts'

const LINES = [10, 50, 100].flatMap((mbit) =>
  [5, 20, 80].flatMap((rttMs) => [250, 400].map((fifoMs) => ({ mbit, rttMs, fifoMs }))),
)

function readWhile(flow: Flow, work: () => void): number {
  const before = flow.readBytes
  work()
  return flow.readBytes - before
}

/** What a flow gets of this line alone. */
function alone(options: (typeof LINES)[number], durationMs: number): number {
  const line = new Line(options)
  const flow = line.flow()
  run(line, [], durationMs)
  return flow.readBytes
}

function startedOn(options: (typeof LINES)[number]): { line: Line; background: Background } {
  const line = new Line(options)
  const background = new Background(line)
  run(line, [background], 8000)
  return { line, background }
}

/** Has started on this line, and has nothing more to get from it for now. */
function pausedOn(options: (typeof LINES)[number]): { line: Line; background: Background } {
  const { line, background } = startedOn(options)
  background.flow.isActive = false
  return { line, background }
}

/** After half a minute. */
function resume(line: Line, background: Background): void {
  run(line, [], 30_000)
  background.restart(30_000)
  background.queueMs.length = 0
}

/** Late by so much on average, many a little and few a lot; every third as late as the one before it. */
function scatter(seed: number, meanMs: number): () => number {
  const random = seededRandom(seed)
  let ms = 0
  return () => {
    if (random() > 1 / 3) ms = -meanMs * Math.log(1 - random())
    return ms
  }
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN
}

t.test('an idle line is used, and nothing queues for long', async (t) => {
  for (const options of LINES) {
    const { line, background } = startedOn(options)
    background.queueMs.length = 0
    const bytes = readWhile(background.flow, () => run(line, [background], 8000))
    const use = bytes / (8 * line.bytesPerSec)
    const name = JSON.stringify(options)
    t.ok(use > 0.85, `${name}: ${use.toFixed(2)} of the line`)
    t.ok(median(background.queueMs) < 10, `${name}: ${median(background.queueMs).toFixed(1)} ms queue in the middle`)
  }
})

t.test('answers that a busy machine makes late are no queue', async (t) => {
  for (const options of LINES.filter(({ fifoMs }) => fifoMs === 250)) {
    const uses = [1, 2, 3].map((seed) => {
      const line = new Line(options)
      const background = new Background(line)
      background.scatterMs = scatter(seed, 5)
      run(line, [background], 4000)
      return readWhile(background.flow, () => run(line, [background], 8000)) / (8 * line.bytesPerSec)
    })
    t.ok(median(uses) > 0.85, `${JSON.stringify(options)}: ${uses.map((use) => use.toFixed(2)).join(' ')} of the line`)
  }
})

t.test('somebody who comes gets the line', async (t) => {
  for (const options of LINES) {
    const { line, background } = startedOn(options)
    const foreground = line.flow()
    run(line, [background], 2000)
    const left = readWhile(background.flow, () => {
      const kept = readWhile(foreground, () => run(line, [background], 8000))
      const solo = alone(options, 10_000) - alone(options, 2000)
      t.ok(kept > 0.9 * solo, `${JSON.stringify(options)}: keeps ${(kept / solo).toFixed(3)} after 2 s`)
    })
    t.ok(left > 0, 'the background goes on at a trickle')
  }
})

t.test('somebody whose flow leaves only a small queue is not taken for gone', async (t) => {
  const shallow = [
    { mbit: 50, rttMs: 20, fifoMs: 100 },
    { mbit: 50, rttMs: 40, fifoMs: 100 },
    { mbit: 20, rttMs: 20, fifoMs: 60 },
  ]
  for (const options of shallow) {
    const solo = alone(options, 10_000) - alone(options, 2000)
    const kept: number[] = []
    const uses: number[] = []
    for (let seed = 1; seed <= 9; seed++) {
      const line = new Line(options)
      const background = new Background(line)
      background.scatterMs = scatter(seed, 3)
      run(line, [background], 10_000 + seed * 230)
      const foreground = line.flow()
      run(line, [background], 2000)
      kept.push(readWhile(foreground, () => run(line, [background], 8000)) / solo)
      foreground.isActive = false
      run(line, [background], 3000)
      const bytes = readWhile(background.flow, () => run(line, [background], 2000))
      uses.push(bytes / (2 * line.bytesPerSec))
    }
    const name = JSON.stringify(options)
    t.ok(median(kept) > 0.95, `${name}: keeps ${kept.map((one) => one.toFixed(2)).join(' ')} after 2 s`)
    t.ok(median(uses) > 0.85, `${name}: then ${uses.map((use) => use.toFixed(2)).join(' ')} of the line`)
  }
})

t.test('when they have gone the line is used again', async (t) => {
  for (const options of LINES) {
    const { line, background } = startedOn(options)
    const foreground = line.flow()
    run(line, [background], 6000)
    foreground.isActive = false
    run(line, [background], 4000)
    const bytes = readWhile(background.flow, () => run(line, [background], 3000))
    const use = bytes / (3 * line.bytesPerSec)
    t.ok(use > 0.6, `${JSON.stringify(options)}: ${use.toFixed(2)} of the line from 4 s on`)
  }
})

t.test('work that comes minutes later has the line at once', async (t) => {
  const uses: number[] = []
  for (const options of LINES) {
    const { line, background } = pausedOn(options)
    resume(line, background)
    run(line, [background], 1000 + 5 * options.rttMs)
    const bytes = readWhile(background.flow, () => run(line, [background], 2000))
    uses.push(bytes / (2 * line.bytesPerSec))
    const queueMs = median(background.queueMs)
    t.ok(queueMs < 10, `${JSON.stringify(options)}: ${queueMs.toFixed(1)} ms queue in the middle`)
  }
  const told = uses.map((use) => use.toFixed(2)).join(' ')
  t.ok(median(uses) > 0.8 && Math.min(...uses) > 0.5, `${told} of the lines in the second and third second`)
})

t.test('work that comes minutes later, where nobody answers, searches the line anew', async (t) => {
  for (const options of LINES) {
    const { line, background } = pausedOn(options)
    line.mbit = options.mbit / 5
    background.isProbeDead = true
    resume(line, background)
    run(line, [background], 6000)
    const { bytesPerSec } = background.decision ?? { bytesPerSec: Number.POSITIVE_INFINITY }
    const ratio = bytesPerSec / line.bytesPerSec
    t.ok(ratio < 1, `${JSON.stringify(options)}: reads for ${ratio.toFixed(2)} of the line as it is now`)
  }
})

t.test('work that comes minutes later gives way to who has come meanwhile', async (t) => {
  for (const options of LINES) {
    const { line, background } = pausedOn(options)
    const foreground = line.flow()
    resume(line, background)
    const solo = alone(options, 38_000) - alone(options, 30_000)
    const kept = readWhile(foreground, () => run(line, [background], 8000)) / solo
    t.ok(kept > 0.93, `${JSON.stringify(options)}: keeps ${kept.toFixed(3)}`)
  }
})

t.test('a line that has become slower meanwhile is found', async (t) => {
  for (const options of LINES) {
    const { line, background } = pausedOn(options)
    line.mbit = options.mbit / 5
    resume(line, background)
    run(line, [background], 8000)
    const bytes = readWhile(background.flow, () => run(line, [background], 4000))
    const use = bytes / (4 * line.bytesPerSec)
    t.ok(use > 0.6, `${JSON.stringify(options)}: ${use.toFixed(2)} of the line from 8 s on`)
    t.ok(median(background.queueMs) < 15, `${median(background.queueMs).toFixed(0)} ms queue in the middle`)
  }
})

t.test('a person elsewhere in the branch is enough reason', async (t) => {
  const { line, background } = startedOn({ mbit: 50, rttMs: 20, fifoMs: 250 })
  background.isUserElsewhere = true
  run(line, [background], 200)
  t.equal(background.decision?.phase, 'yield')
  t.equal(background.decision?.why, 'user-elsewhere')
  t.equal(background.decision?.bytesPerSec, WAN_LEVELS.normal.floorBytesPerSec)
  background.isUserElsewhere = false
  run(line, [background], 4000)
  t.ok((background.decision?.bytesPerSec ?? 0) > 0.5 * line.bytesPerSec, 'and back when it has gone')
})

t.test('what somebody on this machine uses is left to them before it queues', async (t) => {
  const { line, background } = startedOn({ mbit: 50, rttMs: 20, fifoMs: 10 })
  const capacity = background.decision?.capacityBytesPerSec ?? 0
  background.local = {
    foregroundBytesPerSec: 0.4 * line.bytesPerSec,
    totalBytesPerSec: 0.7 * line.bytesPerSec,
    peakBytesPerSec: line.bytesPerSec,
    isActive: true,
  }
  run(line, [background], 200)
  const rate = background.decision?.bytesPerSec ?? 0
  t.ok(rate < 0.9 * capacity - 0.4 * line.bytesPerSec, 'reads at most what is left')
  t.equal(background.decision?.why, 'user-here')
})

t.test('after a suspend it starts at the floor, and comes back', async (t) => {
  const { line, background } = startedOn({ mbit: 50, rttMs: 20, fifoMs: 250 })
  const HOUR_MS = 3_600_000
  const later = (durationMs: number) => {
    for (let ms = 0; ms < durationMs; ms++) {
      line.step()
      background.step(line.nowMs + HOUR_MS)
    }
  }
  later(50)
  t.ok((background.decision?.bytesPerSec ?? 0) <= WAN_LEVELS.normal.floorBytesPerSec, 'nothing is taken for granted')
  later(10_000)
  const bytes = readWhile(background.flow, () => later(2000))
  t.ok(bytes / (2 * line.bytesPerSec) > 0.6, 'within 10 s the line is used again')
})

t.test('a route that has become longer stops nothing for good', async (t) => {
  for (const addedMs of [30, 100]) {
    const { line, background } = startedOn({ mbit: 50, rttMs: 20, fifoMs: 250 })
    line.rttMs += addedMs
    const during = readWhile(background.flow, () => run(line, [background], 15_000))
    t.ok(during > 0, 'something comes all the time')
    const bytes = readWhile(background.flow, () => run(line, [background], 3000))
    t.ok(bytes / (3 * line.bytesPerSec) > 0.5, `${addedMs} ms longer: the line is used after 15 s`)
  }
  for (const addedMs of [6, 8, 12, 18]) {
    const { line, background } = startedOn({ mbit: 50, rttMs: 20, fifoMs: 250 })
    background.scatterMs = scatter(1, 4)
    line.rttMs += addedMs
    const foreground = line.flow()
    run(line, [background], 5000)
    foreground.isActive = false
    run(line, [background], 25_000)
    const use = readWhile(background.flow, () => run(line, [background], 10_000)) / (10 * line.bytesPerSec)
    t.ok(use > 0.6, `${addedMs} ms longer, and answers that scatter: ${use.toFixed(2)} of the line after 25 s`)
  }
})

t.test('a probe that nobody answers', async (t) => {
  await t.test('while it runs: it stays further below what the line gave', async (t) => {
    const { line, background } = startedOn({ mbit: 50, rttMs: 20, fifoMs: 250 })
    background.isProbeDead = true
    const bytes = readWhile(background.flow, () => run(line, [background], 5000))
    const use = bytes / (5 * line.bytesPerSec)
    t.ok(use > 0.5 && use < 0.8, `${use.toFixed(2)} of the line`)
  })
  await t.test('from the start: it finds what the line gives, without running away', async (t) => {
    const line = new Line({ mbit: 50, rttMs: 20, fifoMs: 250 })
    const background = new Background(line)
    background.isProbeDead = true
    run(line, [background], 12_000)
    const bytes = readWhile(background.flow, () => run(line, [background], 3000))
    const use = bytes / (3 * line.bytesPerSec)
    t.ok(use > 0.4 && use < 0.85, `${use.toFixed(2)} of the line`)
    t.ok((background.decision?.bytesPerSec ?? 0) < 1.5 * line.bytesPerSec, 'the rate is bounded')
  })
})

t.test('a line that became slower, or faster, is found out', async (t) => {
  for (const [before, after] of [
    [50, 20],
    [20, 50],
  ] as const) {
    const { line, background } = startedOn({ mbit: before, rttMs: 20, fifoMs: 250 })
    line.mbit = after
    run(line, [background], 30_000)
    const bytes = readWhile(background.flow, () => run(line, [background], 4000))
    const use = bytes / (4 * line.bytesPerSec)
    t.ok(use > 0.7, `from ${before} to ${after} Mbit/s: ${use.toFixed(2)} of the line`)
  }
})

t.test('what is known of arrivals helps, and is not needed', async (t) => {
  const line = new Line({ mbit: 50, rttMs: 20, fifoMs: 250 })
  const background = new Background(line)
  background.isArrivalKnown = false
  run(line, [background], 20_000)
  const bytes = readWhile(background.flow, () => run(line, [background], 6000))
  t.ok(bytes / (6 * line.bytesPerSec) > 0.7, 'macOS and Windows use the line too')
})

t.test('urgent work yields later and to less, patient work sooner and for longer', async (t) => {
  const floorOf = (level: keyof typeof WAN_LEVELS) => WAN_LEVELS[level].floorBytesPerSec
  t.ok(floorOf('high') > floorOf('normal') && floorOf('normal') > floorOf('low'))
  const useOf = (level: keyof typeof WAN_LEVELS) => {
    const line = new Line({ mbit: 50, rttMs: 20, fifoMs: 250 })
    const background = new Background(line, WAN_LEVELS[level])
    run(line, [background], 10_000)
    return readWhile(background.flow, () => run(line, [background], 5000))
  }
  t.ok(useOf('low') < 0.9 * useOf('normal'), 'low leaves a fifth of an idle line')
})

t.test('another agent goes on where the lead stood', async (t) => {
  const { line, background } = startedOn({ mbit: 50, rttMs: 20, fifoMs: 250 })
  const heir = new Background(line)
  heir.law.adopt(background.law.state, line.nowMs)
  t.same(heir.law.state, background.law.state)
})
