import t from 'tap'
import type { Trust } from '../../src/content/draft.ts'
import { type AgentKey, idFromBytes } from '../../src/content/ids.ts'
import { shownTrust } from '../../src/transfer/shown-trust.ts'

const [self, other] = [1, 2].map((byte) => idFromBytes<AgentKey>(Buffer.alloc(32, byte))) as [AgentKey, AgentKey]
const entry = (trust: Trust, signer: AgentKey | null) => ({ trust, signer })
const own = entry('attested', self)
const foreign = entry('attested', other)
const declared = entry('declared', null)

void t.test('a digest of the whole decides, whatever the segments rest on', async (t) => {
  const entries = [own, foreign, undefined]
  t.equal(shownTrust({ isPinned: true, isDeclared: true, entries, self }), 'pinned')
  t.equal(shownTrust({ isPinned: true, isDeclared: false, entries, self }), 'pinned')
  t.equal(shownTrust({ isPinned: false, isDeclared: true, entries, self }), 'declared')
})

void t.test('without one the weakest segment decides', async (t) => {
  const of = (...entries: (ReturnType<typeof entry> | undefined)[]) =>
    shownTrust({ isPinned: false, isDeclared: false, entries, self })
  t.equal(of(own, own), 'origin')
  t.equal(of(), 'origin', 'of nothing there is nothing to lie about')
  t.equal(of(own, foreign), 'attested')
  t.equal(of(own, undefined), 'attested')
  t.equal(of(declared, entry('declared', other)), 'declared')
  t.equal(of(declared, own), 'origin', 'part declared, part own: all of it is the word of the origin')
  t.equal(of(declared, foreign), 'attested')
  t.equal(of(entry('pinned', null)), 'declared', 'a pin of part of the content is no pin of the target')
})
