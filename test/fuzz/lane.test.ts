import t from 'tap'
import { testTarget } from './fuzz-test.ts'
import { laneAnswerTarget, laneRangeTarget } from './targets/lane-answer.ts'
import { laneServerTarget } from './targets/lane-server.ts'

await t.test('an answer on the lane is the segment or a refusal, or it ends the connection', (t) =>
  testTarget(t, laneAnswerTarget),
)

await t.test('a range on the lane lies within the segment', (t) => testTarget(t, laneRangeTarget))

await t.test(
  'whatever is asked on the lane, the answer is one that our client reads, with the bytes that it says',
  (t) => testTarget(t, laneServerTarget),
)
