/** Builds the jobs and what they ask about the machine. A part of the composition root. */
import { networkInterfaces, userInfo } from 'node:os'
import type { Logger } from 'pino'
import type { Clock, Random } from '../clock.ts'
import type { Config } from '../config/schema.ts'
import type { JobOwner } from '../jobs/job.ts'
import type { FetchForJob } from '../jobs/job-run.ts'
import type { JobTargets } from '../jobs/job-targets.ts'
import { Jobs } from '../jobs/jobs.ts'
import type { HostGate } from '../throttle/host-gate.ts'
import type { WanGovernor } from '../throttle/wan-governor.ts'
import { openOwners } from './owners.ts'

const DAY_MS = 24 * 3600 * 1000

/** The caller closes it before what it was given. */
export async function openJobs(
  components: {
    readonly clock: Clock
    readonly random: Random
    readonly log: Logger
    readonly governor: WanGovernor
    readonly gate: HostGate
    readonly fetch: FetchForJob
    readonly targets?: JobTargets
  },
  config: Config,
): Promise<Jobs> {
  const { clock, random, log, governor, gate, fetch } = components
  const { jobs } = config
  const self = processUser()
  const { targets, runAsOwner, release } = await openOwners(self, components)
  return Jobs.open(
    {
      clock,
      random,
      log,
      fetch,
      targets,
      runAsOwner,
      release,
      surroundings: {
        hold: (priority) => governor.hold(priority),
        isYielding: (priority) => governor.isBusy(priority),
        cost: (policy) => gate.holdBy(policy),
        networkMark,
        networkChanged: () => gate.refresh(),
        isOwn: ({ owner }) => owner.uid === self.uid,
      },
    },
    {
      ...jobs,
      dataDir: config.dataDir,
      caFile: config.origin.caFile,
      inactivityTimeoutMs: jobs.inactivityTimeoutDays * DAY_MS,
      keepEndedMs: jobs.keepEndedDays * DAY_MS,
      defaults: {
        minRetryDelayMs: jobs.minRetryDelayMs,
        noProgressTimeoutMs: jobs.noProgressTimeoutMs,
        maxTransferTimeMs: jobs.maxTransferTimeMs,
      },
    },
  )
}

/** The user whose rights this process has. */
export function processUser(): JobOwner {
  const uid = process.geteuid?.() ?? null
  try {
    return { uid, name: userInfo().username }
  } catch {
    // A number without a name, as in many containers.
    return { uid, name: uid === null ? 'user' : `uid ${uid}` }
  }
}

/** All addresses of this machine besides loopback, in one line. */
function networkMark(): string {
  const addresses: string[] = []
  for (const [name, entries] of Object.entries(networkInterfaces())) {
    for (const entry of entries ?? []) if (!entry.internal) addresses.push(`${name} ${entry.address}`)
  }
  return addresses.sort().join(', ')
}
