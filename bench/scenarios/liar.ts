/**
 * One of six members signs and serves what the origin does not have, and accuses an honest one: how many lies until all
 * others have it in quarantine, is any target wrong, is anybody framed, and what does looking cost? In one process, with
 * real transfers and stores; each run has a seed of its own.
 */
import { createHash } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { hashSegment } from '../../src/content/digest.ts'
import { SEGMENT_BYTES } from '../../src/content/segmentation.ts'
import { type LiarBranch, openLiarBranch } from '../../test/support/liar-branch.ts'
import { type BenchOptions, MIB, type Row, type Scenario, type ScenarioResult } from '../scenario.ts'
import { median, rounded } from '../statistics.ts'

const HONEST_COUNT = 5
const MAX_LIES = 200
/** Which bytes of each segment are false. */
interface LieKind {
  readonly lie: string
  readonly isFalse: (offset: number) => boolean
  /** Of the runs: small lies take many fetches until they are found. */
  readonly runsRatio: number
}

const LIES: readonly LieKind[] = [
  { lie: 'all bytes', isFalse: () => true, runsRatio: 1 },
  {
    lie: 'a quarter of each segment',
    isFalse: (offset) => offset % SEGMENT_BYTES >= 0.75 * SEGMENT_BYTES,
    runsRatio: 0.2,
  },
  { lie: '16 KiB of each segment', isFalse: (offset) => (offset % SEGMENT_BYTES) >> 14 === 37, runsRatio: 0.1 },
]

interface Outcome {
  /** Null: not by all, within MAX_LIES. */
  readonly liesUntilCaught: number | null
  readonly targets: number
  readonly wrong: number
  readonly pinnedWrong: number
  readonly framed: number
  readonly contentBytes: number
  readonly checkedBytes: number
}

async function fetchAll(world: LiarBranch, name: string, sizeBytes: number, seed: number) {
  const { origin, honest, liar } = world
  const url = origin.serve(name, { seed, lengthBytes: sizeBytes }, { ratePerConnectionBytesPerSec: 8 * MIB })
  const content = origin.content(name)
  const sha256 = createHash('sha256').update(content.read(0, content.lengthBytes)).digest('hex')
  const lying = liar.fetch(url, { name: name.slice(1) }).catch(() => {})
  const fetched = await Promise.all(
    honest.map((agent, at) => agent.fetch(url, { name: name.slice(1), ...(at === 0 ? { sha256 } : {}) })),
  )
  await lying
  return fetched
}

/** The liar shows everybody a true statement of an honest member, and says that it is false. */
function frame(world: LiarBranch): void {
  const { branch, honest, liar } = world
  for (const { message } of branch.messages) {
    if (message.type !== 'have' && message.type !== 'manifest') continue
    const statement = message.statements.find(({ signer }) => honest.some(({ key }) => key === signer))
    if (!statement) continue
    const index = statement.firstIndex
    for (const { key } of honest) {
      liar.send(key, { type: 'accusation', resource: message.resource, statement, index, offset: 0 })
    }
    return
  }
}

async function oneRun(seed: number, sizeBytes: number, isFalse: (offset: number) => boolean): Promise<Outcome> {
  const dir = await mkdtemp(join(tmpdir(), 'shorthaul-liar-'))
  const world = await openLiarBranch(dir, { honestCount: HONEST_COUNT, seed, isFalse })
  const { honest, liar } = world
  let [targets, wrong, pinnedWrong, contentBytes, checkedBytes] = [0, 0, 0, 0, 0]
  try {
    const isCaught = () => honest.every((agent) => agent.quarantine.has(liar.key))
    for (let round = 0; !isCaught() && world.liesTold() < MAX_LIES; round++) {
      const name = `/${round}`
      const results = await fetchAll(world, name, sizeBytes, seed * 1000 + round)
      if (round === 0) frame(world)
      contentBytes += sizeBytes
      for (const [at, result] of results.entries()) {
        targets++
        checkedBytes += result.checkedBytes
        if (world.isRight(name, result.path)) continue
        wrong++
        if (at === 0) pinnedWrong++
      }
      await Promise.all(honest.map((agent) => agent.idle()))
      while (honest.some((agent) => !agent.accusations.isIdle)) await new Promise((resolve) => setTimeout(resolve, 10))
    }
    const framed = honest.filter((agent) => agent.quarantine.list().some(({ key }) => key !== liar.key)).length
    checkedBytes += honest.reduce((sum, agent) => sum + agent.lookedBytes, 0)
    const liesUntilCaught = world.liesUntilCaught()
    return { liesUntilCaught, targets, wrong, pinnedWrong, framed, contentBytes, checkedBytes }
  } finally {
    await world.close()
    await rm(dir, { recursive: true, force: true })
  }
}

async function run({ runs, sizeBytes, only, say }: BenchOptions): Promise<ScenarioResult> {
  const rows: Row[] = []
  hashSegment(Buffer.alloc(1)) // loads what hashes before the first run
  for (const { lie, isFalse, runsRatio } of LIES) {
    if (only !== null && !lie.includes(only)) continue
    const outcomes: Outcome[] = []
    const runsOfThis = Math.ceil(runs * runsRatio)
    for (let seed = 1; seed <= runsOfThis; seed++) {
      outcomes.push(await oneRun(seed, sizeBytes ?? 16 * MIB, isFalse))
      if (seed % 10 === 0) say(`${lie}: ${seed} of ${runsOfThis} runs`)
    }
    const caught = outcomes.flatMap(({ liesUntilCaught }) => liesUntilCaught ?? [])
    const sum = (of: (outcome: Outcome) => number) => outcomes.reduce((total, outcome) => total + of(outcome), 0)
    rows.push({
      lie,
      runs: runsOfThis,
      caughtByAll: caught.filter((count) => count <= MAX_LIES).length,
      medianLies: caught.length > 0 ? rounded(median(caught)) : null,
      mostLies: caught.length > 0 ? Math.max(...caught) : null,
      targets: sum(({ targets }) => targets),
      wrong: sum(({ wrong }) => wrong),
      pinnedWrong: sum(({ pinnedWrong }) => pinnedWrong),
      framed: sum(({ framed }) => framed),
      checkedRatio: rounded(sum(({ checkedBytes }) => checkedBytes) / sum(({ contentBytes }) => contentBytes), 4),
    })
  }
  const remarks = [
    `${HONEST_COUNT} honest members and one liar; lies: segments that it signed when the last had it in quarantine`,
    'wrong: targets without a digest that held a lie when they were done; of each five one is pinned',
    'checkedRatio: bytes asked of the origin to compare, of the size; what is fetched anew is not in it',
  ]
  return { rows, remarks }
}

export const liar: Scenario = {
  name: 'liar',
  title: 'a member that signs what the origin does not have',
  defaultRuns: 100,
  bars: [{ title: 'Lies until all have it in quarantine, median', column: 'medianLies', labels: ['lie'] }],
  run,
}
