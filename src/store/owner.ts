/** owner.json: who has the data directory open. For people and messages only; the lock is level's. */
import { readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Clock } from '../clock.ts'
import { ShorthaulError } from '../errors.ts'

/** After the lock is had. @param root `<dataDir>/store/v1` */
export async function writeOwner(root: string, clock: Clock): Promise<void> {
  const owner = { pid: process.pid, startedAtMs: clock.nowMs() }
  await writeFile(join(root, 'owner.json'), `${JSON.stringify(owner)}\n`, { mode: 0o600 })
}

export async function removeOwner(root: string): Promise<void> {
  await rm(join(root, 'owner.json'), { force: true })
}

/** @returns the error that names the owner, as far as it is known */
export async function inUseError(dataDir: string, root: string, cause?: unknown): Promise<ShorthaulError> {
  const text = await readFile(join(root, 'owner.json'), 'utf8').catch(() => '')
  const pid = /"pid":(\d+)/.exec(text)?.[1] ?? null
  const owner = pid === null ? 'another process' : pid === String(process.pid) ? 'this process' : `process ${pid}`
  return new ShorthaulError(
    'SHORTHAUL_DATA_DIR_IN_USE',
    `Cannot open the data directory "${dataDir}": ${owner} uses it; stop it, talk to its control socket, ` +
      'or choose another directory with --data-dir',
    { cause, details: { path: dataDir, pid: pid === null ? null : Number(pid) } },
  )
}
