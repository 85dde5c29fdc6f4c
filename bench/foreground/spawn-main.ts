/** The small programs of this folder that run inside lab hosts. */
import { fileURLToPath } from 'node:url'
import type { Lab, LabHost } from '../../test/lab/lab.ts'
import type { LabProcess } from '../../test/lab/lab-process.ts'

const HERE = fileURLToPath(new URL('.', import.meta.url))
const REPOSITORY = fileURLToPath(new URL('../..', import.meta.url))
const START_TIMEOUT_MS = 20_000

export interface MainOptions {
  readonly host: LabHost
  readonly args: readonly (string | number)[]
}

/** Resolves with its first line; the lab ends it when nobody else does. */
export async function spawnMain(lab: Lab, name: `${string}-main.ts`, options: MainOptions): Promise<LabProcess> {
  const args = ['--import=tsx', `${HERE}${name}`, ...options.args.map(String)]
  const process_ = lab.spawn(options.host, process.execPath, args, { cwd: REPOSITORY })
  await process_.waitForLine(() => true, { timeoutMs: START_TIMEOUT_MS })
  return process_
}
