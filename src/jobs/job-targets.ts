/** Where a job's files go: the only part of jobs/ that touches targets, behind an interface, because it may take another user's rights. */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { localIoError, systemCode } from '../errors.ts'
import { PartFile } from '../transfer/part-file.ts'
import { RangePart } from '../transfer/range-part.ts'
import type { Delivery } from '../transfer/request.ts'
import { deliverStaged, discardStaged, stagedPath, syncDirectory } from '../transfer/staged-part.ts'
import type { Job, JobFile } from './job.ts'

export interface JobTargets {
  /** The part of a file, as an earlier turn left it. @throws SHORTHAUL_TARGET_UNWRITABLE, SHORTHAUL_DISK_FULL */
  open(job: Job, file: JobFile): Promise<Delivery>
  /**
   * Gives a transferred file its name. Harmless when that was done already.
   * @returns false when the part is gone, and the target is not what was transferred
   * @throws SHORTHAUL_TARGET_UNWRITABLE
   */
  deliver(job: Job, file: JobFile): Promise<boolean>
  /** Removes the part, if there is one. */
  discard(job: Job, file: JobFile): Promise<void>
}

/** What a target needs of a job and of a file. */
export type TargetJob = Pick<Job, 'id'>
export type TargetFile = Pick<JobFile, 'index' | 'target' | 'ranges' | 'bytesTotal' | 'foundSha256'>

/** As the user that this process runs as. */
export class OwnTargets implements JobTargets {
  open(job: TargetJob, file: TargetFile): Promise<Delivery> {
    const { target, ranges } = file
    const staged = pathOf(job, file)
    return ranges === null ? PartFile.openStaged(target, staged) : RangePart.openStaged({ target, staged }, ranges)
  }

  async deliver(job: TargetJob, file: TargetFile): Promise<boolean> {
    if (await deliverStaged(file.target, pathOf(job, file))) return true
    // After a crash, or a disk that failed, between the rename and its record: the name may not be on disk yet.
    if (file.foundSha256 === null || (await hashOf(file)) !== file.foundSha256) return false
    await syncName(file.target)
    return true
  }

  async discard(job: TargetJob, file: TargetFile): Promise<void> {
    // Durably: nobody looks for it again.
    if (await discardStaged(pathOf(job, file))) await syncName(file.target)
  }
}

function pathOf(job: TargetJob, file: TargetFile): string {
  return stagedPath(file.target, { id: job.id, index: file.index })
}

async function syncName(target: string): Promise<void> {
  try {
    await syncDirectory(dirname(target))
  } catch (cause) {
    throw localIoError('write', target, cause, 'SHORTHAUL_TARGET_UNWRITABLE')
  }
}

async function hashOf({ target, bytesTotal }: TargetFile): Promise<string | null> {
  try {
    const found = await stat(target)
    if (!found.isFile() || (bytesTotal !== null && found.size !== bytesTotal)) return null
    const hash = createHash('sha256')
    for await (const chunk of createReadStream(target)) hash.update(chunk as Buffer)
    return hash.digest('hex')
  } catch (cause) {
    if (systemCode(cause) === 'ENOENT') return null
    throw localIoError('read', target, cause, 'SHORTHAUL_TARGET_UNWRITABLE')
  }
}
