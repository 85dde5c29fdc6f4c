import t from 'tap'
import { type DaemonSample, type Findings, ledgerOf, type TaskRecord } from './figures.ts'
import type { Outcome } from './judgement.ts'
import { reportText } from './report.ts'
import { planOf } from './schedule.ts'

const MIB = 1024 * 1024

function task(outcome: Outcome): TaskRecord {
  const sources = outcome.is === 'right' ? { cache: 1, peer: 2, origin: 3 } : null
  return {
    by: 'fetch',
    host: 1,
    url: 'http://origin/file',
    target: '/file',
    startedMs: 0,
    endedMs: 1000,
    outcome,
    wastedBytes: 5,
    sources,
  }
}

function sampleOf(host: number, some: Partial<DaemonSample> = {}): DaemonSample {
  return { atMs: 0, host, pid: 100 + host, residentBytes: 90 * MIB, descriptors: 40, ...some }
}

const CLEAN: Findings = {
  tasks: [
    task({ is: 'right' }),
    task({ is: 'failed', code: 'SHORTHAUL_ORIGIN_ERROR', message: 'no' }),
    task({ is: 'killed' }),
  ],
  faults: [
    { kind: 'wan-cut', skipped: null },
    { kind: 'disk-full', skipped: 'no tmpfs' },
  ],
  crashes: [],
  badLines: [],
  leftovers: [],
  corruptSegments: [],
  lonelyHosts: [],
  idleAtStart: [sampleOf(1), sampleOf(2)],
  idleAtEnd: [sampleOf(1), sampleOf(2, { pid: 999, descriptors: 400, residentBytes: 900 * MIB })],
  samples: [sampleOf(1, { residentBytes: 200 * MIB })],
  originBytes: 30,
  distinctBytes: 20,
}

t.test('a run in which everything is right, said or our own doing breaks nothing', (t) => {
  const { figures, broken } = ledgerOf(CLEAN)
  t.strictSame(broken, [])
  t.match(figures, {
    started: 3,
    right: 1,
    killed: 1,
    failedByCode: { SHORTHAUL_ORIGIN_ERROR: 1 },
    egressCopies: 1.5,
    wastedBytes: 15,
    bySource: { cache: 1, peer: 2, origin: 3 },
    faultsByKind: { 'wan-cut': 1 },
    skippedFaults: { 'disk-full: no tmpfs': 1 },
  })
  t.match(figures.growth[0], { isSameProcess: true, residentPeakBytes: 200 * MIB })
  t.match(figures.growth[1], { isSameProcess: false, descriptorsStart: null }, 'nothing to compare with: no leak')
  t.end()
})

t.test('each invariant is broken by its finding, and by nothing less', (t) => {
  const findings: readonly [string, Partial<Findings>, RegExp][] = [
    ['wrong', { tasks: [task({ is: 'right' }), task({ is: 'wrong', why: 'other bytes' })] }, /^wrong: .*other bytes/],
    ['stuck', { tasks: [task({ is: 'right' }), task({ is: 'stuck', why: 'at 5' })] }, /^stuck: .*at 5/],
    ['a crash', { tasks: [task({ is: 'right' }), task({ is: 'crashed', why: 'TypeError' })] }, /^crashed: .*TypeError/],
    ['a daemon', { crashes: ['host 1: 134'] }, /^daemon crashed: host 1/],
    ['a line', { badLines: ['unhandled'] }, /^bad line/],
    ['a part', { leftovers: ['/part'] }, /^left behind: \/part/],
    ['a segment', { corruptSegments: ['host 1'] }, /^corrupt in a store/],
    ['a host', { lonelyHosts: ['host 1'] }, /^not together again/],
    ['descriptors', { idleAtEnd: [sampleOf(1, { descriptors: 81 })] }, /^leak: .* 40 descriptors at first, 81 at last/],
    ['memory', { idleAtEnd: [sampleOf(1, { residentBytes: 283 * MIB })] }, /^leak: .* 90 MiB .* 283 MiB/],
    ['nothing right', { tasks: [task({ is: 'killed' })] }, /^nothing was fetched/],
  ]
  for (const [name, some, expected] of findings) {
    const { broken } = ledgerOf({ ...CLEAN, ...some })
    t.equal(broken.length, 1, name)
    t.match(broken[0], expected, name)
  }
  t.end()
})

t.test('the table names the run, what was left out, and what is broken', (t) => {
  const plan = planOf({ seed: 5, minutes: 1, hosts: 2, pace: 1 })
  const text = reportText(plan, ledgerOf({ ...CLEAN, leftovers: ['/part'] }))
  t.match(text, /seed 5, 1 min, 2 hosts, pace 1/)
  t.match(text, /faults left out +1: disk-full: no tmpfs 1/)
  t.match(text, /BROKEN \(1\)\n- left behind: \/part/)
  t.match(reportText(plan, ledgerOf(CLEAN)), /No invariant was broken$/)
  t.end()
})
