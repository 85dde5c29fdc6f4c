import t from 'tap'
import { HALF_OPEN_TIMEOUT_MS, ONE, skip, withstands } from './half-open.ts'

t.setTimeout(HALF_OPEN_TIMEOUT_MS)

t.test('handshakes for clients elsewhere, as a relay says it', { skip }, (t) =>
  withstands(t, { count: 4000, way: 'relayed', from: ONE, at: 'node', canComeIn: true }),
)

t.test('handshakes that our own bootstrapper relays', { skip }, (t) =>
  withstands(t, { count: 4000, way: 'direct', from: ONE, at: 'bootstrapper', canComeIn: true }),
)
