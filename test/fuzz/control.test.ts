import t from 'tap'
import { testTarget } from './fuzz-test.ts'
import { controlTarget } from './targets/control.ts'
import { framesTarget, sentEventsTarget } from './targets/frames.ts'

await t.test('a request to the control API is refused in few words, or read as it stands', (t) =>
  testTarget(t, controlTarget),
)

await t.test('frames are the same in whatever pieces they come', (t) => testTarget(t, framesTarget))

await t.test('events are read as they were written, in whatever pieces they come', (t) =>
  testTarget(t, sentEventsTarget),
)
