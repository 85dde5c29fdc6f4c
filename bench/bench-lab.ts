/** A lab with its origin for a scenario: made, given, and taken down whatever happens. */
import { systemClock } from '../src/clock.ts'
import { AgentHost, type AgentOptions, writeBranchSecret } from '../test/lab/agent-host.ts'
import { Lab, type LabOptions, labProblem } from '../test/lab/lab.ts'
import { OriginHost } from '../test/lab/origin-host.ts'

export interface BenchLab {
  readonly lab: Lab
  readonly origin: OriginHost
  readonly secretFile: string
  /** Content that nobody has fetched yet. */
  readonly newUrl: (bytes: number) => string
  /** An installation on that host, with the branch's secret unless told otherwise. */
  readonly agent: (host: number, options?: Partial<AgentOptions>) => Promise<AgentHost>
}

/** @throws Error when no lab can be made here. */
export async function withLab<T>(options: LabOptions, work: (benchLab: BenchLab) => Promise<T>): Promise<T> {
  const problem = labProblem()
  if (problem !== null) throw new Error(`This scenario needs the lab: ${problem}`)
  const lab = await Lab.up(options)
  try {
    const [origin, secretFile] = await Promise.all([OriginHost.start(lab), writeBranchSecret(lab, 'branch')])
    let seed = Math.floor(systemClock.nowMs() / 1000) % 100_000_000
    const newUrl = (bytes: number) => {
      seed += 1
      return origin.url(seed, bytes)
    }
    const agent = (host: number, own: Partial<AgentOptions> = {}) => AgentHost.create(lab, host, { secretFile, ...own })
    return await work({ lab, origin, secretFile, newUrl, agent })
  } finally {
    await lab.close()
  }
}
