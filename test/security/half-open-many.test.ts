import t from 'tap'
import { HALF_OPEN_TIMEOUT_MS, MANY, skip, withstands } from './half-open.ts'

t.setTimeout(HALF_OPEN_TIMEOUT_MS)

t.test('10,000 handshakes from 200 addresses, as one host can make them up', { skip }, (t) =>
  withstands(t, { count: 10_000, way: 'direct', from: MANY, at: 'node', canComeIn: false }),
)
