/** A branch of which one member signs and serves what the origin does not have, and what the others make of it. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { AgentKey } from '../../src/content/ids.ts'
import { resourceKey } from '../../src/content/resource.ts'
import { rankOf } from '../../src/swarm/rank.ts'
import { resourceOf } from '../../src/transfer/identify.ts'
import { type FakeAgent, FakeBranch, WIRE_KEY } from './fake-branch.ts'
import { FalseOrigin } from './false-origin.ts'
import { openOrigins } from './open-origins.ts'
import { startTestOrigin, type TestOrigin } from './test-origin.ts'

export interface LiarBranch {
  readonly branch: FakeBranch
  readonly origin: TestOrigin
  readonly honest: readonly FakeAgent[]
  readonly liar: FakeAgent
  /**
   * Serves content that the liar is the first to fetch a share of when all want it at once. Under any path it may get none,
   * and has then nothing to lie about.
   */
  serveToLiar(
    ...served: Parameters<TestOrigin['serve']> extends [string, ...infer Rest] ? Rest : never
  ): Promise<string>
  /** Segments that the liar signed and others were told of, in all. */
  liesTold(): number
  /** Segments that the liar had signed when the last honest member had put it in quarantine; null: somebody has not. */
  liesUntilCaught(): number | null
  /** Whether the target of a fetch is what the origin has. */
  isRight(path: string, target: string): boolean
  close(): Promise<void>
}

/**
 * @param options.honestCount members that tell the truth
 * @param options.isFalse which bytes the liar changes; default: all
 */
export async function openLiarBranch(
  dir: string,
  options: {
    readonly honestCount: number
    readonly seed: number
    readonly isFalse?: (offset: number) => boolean
    readonly attested?: 'accept' | 'spot-check' | 'refuse'
  },
): Promise<LiarBranch> {
  const { honestCount, seed, isFalse, attested = 'spot-check' } = options
  const branch = new FakeBranch()
  const origin = await startTestOrigin()
  const honest: FakeAgent[] = []
  while (honest.length < honestCount) {
    const keySeed = (seed * 31 + honest.length) % 251
    honest.push(await branch.add(join(dir, `${honest.length}`), { attested, keySeed }))
  }
  const liar = await branch.add(join(dir, 'liar'), {
    keySeed: 252,
    origin: new FalseOrigin(await openOrigins(), isFalse),
  })
  const signed = new Set<string>()
  const caughtBy = new Set<AgentKey>()
  let liesUntilCaught: number | null = null
  branch.onMessage = ({ message }) => {
    if (message.type !== 'have' && message.type !== 'manifest') return
    for (const { signer, hashes } of message.statements) {
      if (signer === liar.key) for (const hash of hashes) signed.add(hash)
    }
  }
  for (const agent of honest) {
    agent.quarantine.on((key) => {
      if (key !== liar.key) return
      caughtBy.add(agent.key)
      if (caughtBy.size === honest.length) liesUntilCaught = signed.size
    })
  }
  const serveToLiar: LiarBranch['serveToLiar'] = async (...served) => {
    await using origins = await openOrigins()
    for (let number = 0; ; number++) {
      const url = origin.serve(`/${number}`, ...served)
      const request = { url, headers: [], useAgentCredentials: false }
      const resource = resourceOf(url, await origins.probe(request, { signal: AbortSignal.timeout(10_000) }))
      if (resource === null) throw new Error(`${url} is no resource`)
      const key = resourceKey(WIRE_KEY, resource)
      if (honest.every((agent) => rankOf(key, liar.key) < rankOf(key, agent.key))) return url
    }
  }
  return {
    branch,
    serveToLiar,
    origin,
    honest,
    liar,
    liesTold: () => signed.size,
    liesUntilCaught: () => liesUntilCaught,
    isRight: (path, target) => {
      const content = origin.content(path)
      return readFileSync(target).equals(content.read(0, content.lengthBytes))
    },
    close: async () => {
      if (!branch.agents.has(liar.key)) await liar.close() // it was dropped
      await branch.close()
      await origin.close()
    },
  }
}
