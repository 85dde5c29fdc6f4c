import t from 'tap'
import { testTarget } from './fuzz-test.ts'
import { manifestTarget } from './targets/manifest.ts'
import { draftTarget, statementTarget } from './targets/statement.ts'

await t.test('a manifest is refused, or the only encoding of its content', (t) => testTarget(t, manifestTarget))

await t.test('a statement counts for what was signed, and nothing else does', (t) => testTarget(t, statementTarget))

await t.test('a draft believes no two at once and is sealed when it is complete', (t) => testTarget(t, draftTarget))
