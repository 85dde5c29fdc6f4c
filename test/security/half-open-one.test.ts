import t from 'tap'
import { HALF_OPEN_TIMEOUT_MS, ONE, skip, withstands } from './half-open.ts'

t.setTimeout(HALF_OPEN_TIMEOUT_MS)

t.test('10,000 handshakes that nobody ends, from one address', { skip }, (t) =>
  withstands(t, { count: 10_000, way: 'direct', from: ONE, at: 'node', canComeIn: true }),
)
