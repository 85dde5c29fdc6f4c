import t from 'tap'
import { HALF_OPEN_TIMEOUT_MS, ONE, skip, withstands } from './half-open.ts'

t.setTimeout(HALF_OPEN_TIMEOUT_MS)

t.test('10,000 datagrams of garbage', { skip }, (t) =>
  withstands(t, { count: 10_000, way: 'garbage', from: ONE, at: 'node', canComeIn: true }),
)

t.test('10,000 datagrams of garbage to the bootstrapper', { skip }, (t) =>
  withstands(t, { count: 10_000, way: 'garbage', from: ONE, at: 'bootstrapper', canComeIn: false }),
)
