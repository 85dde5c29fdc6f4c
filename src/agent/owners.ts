/** Who does the work of jobs at their targets, and runs their commands. A part of the composition root. */
import type { Logger } from 'pino'
import type { JobOwner } from '../jobs/job.ts'
import { type JobTargets, OwnTargets } from '../jobs/job-targets.ts'
import type { JobsComponents } from '../jobs/jobs.ts'
import { runProgram } from '../jobs/program.ts'

export type Owners = Required<Pick<JobsComponents, 'targets' | 'runAsOwner' | 'release'>>

/** Root works for everybody as themselves; any other agent works as its own user. */
export async function openOwners(
  self: JobOwner,
  components: { readonly log: Logger; readonly targets?: JobTargets },
): Promise<Owners> {
  if (self.uid !== 0) {
    return {
      targets: components.targets ?? new OwnTargets(),
      runAsOwner: async (owner, program, about) =>
        owner.uid === self.uid
          ? runProgram(program, about)
          : { kind: 'refused', message: `only an agent of root runs programs as ${owner.name}` },
      release: async () => {},
    }
  }
  // Loaded only here: few agents are root's.
  const [{ OwnerProcesses }, { OwnedTargets }] = await Promise.all([
    import('../jobs/owner-processes.ts'),
    import('../jobs/owned-targets.ts'),
  ])
  const processes = new OwnerProcesses(components)
  return {
    targets: components.targets ?? new OwnedTargets({ processes }, { ownUid: self.uid }),
    runAsOwner: (owner, program, about) =>
      owner.uid === null || owner.uid === self.uid ? runProgram(program, about) : processes.run(owner, program, about),
    release: () => processes.close(),
  }
}
