import t from 'tap'
import { isFinal, isRunning, JOB_EVENTS, JOB_STATES, transition } from '../../src/jobs/states.ts'

/**
 * Written from BITS (BG_JOB_STATE and what is said about each method), not from the code: a row per state, in the order
 * of the columns; `-` means that it must not happen.
 */
const COLUMNS =
  'resume suspend cancel complete more-work start connected preempt done fail give-up retry restart expire'.split(' ')
const Q = 'queued'
const C = 'connecting'
const T = 'transferring'
const S = 'suspended'
const E = 'error'
const W = 'transient-error'
const D = 'transferred'
const A = 'acknowledged'
const X = 'cancelled'
const _ = null
const ROWS = [
  // Resume of what runs or waits for its turn changes nothing; a queued job waits until its turn comes.
  [Q, [Q, S, X, A, Q, C, _, _, _, _, E, _, Q, X]],
  [C, [C, S, X, A, C, _, T, Q, _, W, E, _, Q, _]],
  [T, [T, S, X, A, T, _, T, Q, D, W, E, _, Q, _]],
  // Nothing but somebody's word leads out of these two, and out of `error`.
  [S, [Q, S, X, A, S, _, _, _, _, _, _, _, S, X]],
  [E, [Q, S, X, A, E, _, _, _, _, _, _, _, E, X]],
  [W, [Q, S, X, A, W, _, _, _, _, _, E, Q, W, X]],
  // Who adds to a job that is whole says when it goes on.
  [D, [D, S, X, A, S, _, _, _, _, _, _, _, D, X]],
  [A, [_, _, _, _, _, _, _, _, _, _, _, _, A, _]],
  [X, [_, _, _, _, _, _, _, _, _, _, _, _, X, _]],
] as const

await t.test('every pair of state and event leads where BITS says, or nowhere', async (t) => {
  t.same([...JOB_EVENTS].sort(), [...COLUMNS].sort(), 'the table has all events')
  t.same(ROWS.map(([state]) => state).sort(), [...JOB_STATES].sort(), 'the table has all states')
  for (const [state, results] of ROWS) {
    for (const event of JOB_EVENTS) {
      t.equal(transition(state, event), results[COLUMNS.indexOf(event)], `${state} + ${event}`)
    }
  }
})

await t.test('nothing leads out of a final state', async (t) => {
  t.same(JOB_STATES.filter(isFinal), ['acknowledged', 'cancelled'])
  for (const state of JOB_STATES.filter(isFinal)) {
    for (const event of JOB_EVENTS) t.ok([null, state].includes(transition(state, event)), `${state} + ${event}`)
  }
})

await t.test('after a restart nothing runs', async (t) => {
  t.same(JOB_STATES.filter(isRunning), ['connecting', 'transferring'])
  for (const state of JOB_STATES) {
    const after = transition(state, 'restart')
    t.ok(after !== null && !isRunning(after), `${state} becomes ${after}`)
  }
})

await t.test('states are numbered as BITS numbers them', async (t) => {
  t.same(JOB_STATES, [Q, C, T, S, E, W, D, A, X])
})
