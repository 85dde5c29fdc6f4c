import t from 'tap'
import { testTarget } from './fuzz-test.ts'
import { configTarget, indexTarget, unitsTarget } from './targets/files.ts'

await t.test('a configuration is refused with its problems, or printed as it was read', (t) =>
  testTarget(t, configTarget),
)

await t.test('a size, rate or duration is refused, or printed as it was read', (t) => testTarget(t, unitsTarget))

await t.test('a value of the index is refused, or one that we would have written', (t) => testTarget(t, indexTarget))
