import t from 'tap'
import { formatMembers, memberOf } from '../../src/cli/quarantine.ts'
import { type AgentKey, idFromBytes } from '../../src/content/ids.ts'
import type { QuarantineEntry } from '../../src/peers/quarantine.ts'

function member(start: string, reason: QuarantineEntry['reason'] = 'false-statement'): QuarantineEntry {
  const key = idFromBytes<AgentKey>(Buffer.from(start.padEnd(64, '0'), 'hex'))
  const sinceMs = Date.UTC(2026, 0, 2, 3, 4)
  return { key, address: '10.0.0.2', sinceMs, untilMs: sinceMs + 24 * 3600 * 1000, count: 1, reason }
}

void t.test('a member is named by as much of its key as names one', async (t) => {
  const members = [member('ab12'), member('ab34'), member('cd')]
  t.equal(memberOf('ab1', members), members[0])
  t.equal(memberOf('CD', members), members[2])
  for (const key of ['ab', 'ef', '']) t.throws(() => memberOf(key, members), { code: 'SHORTHAUL_USAGE' })
})

void t.test('the list says since when, until when and why', async (t) => {
  const text = formatMembers([member('ab12'), member('cd', 'same-address')])
  t.match(text, /ab1200000000 +10\.0\.0\.2 +2026-01-02 03:04 UTC +2026-01-03 03:04 UTC +1 +vouched for/)
  t.match(text, /cd0000000000 .* same address/)
})
