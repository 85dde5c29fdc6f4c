#!/usr/bin/env node
/** The entry of the command line. Loads nothing itself before the compile cache is on: what is loaded earlier is not cached. */
import nodeModule from 'node:module'
import { homedir } from 'node:os'
import { isAbsolute, join } from 'node:path'

/** Node.js 22.1 and later. */
interface WithCompileCache {
  enableCompileCache?(directory: string): unknown
}

const base = process.env.XDG_CACHE_HOME ?? ''
// A directory of this user's own: Node's default is below /tmp, where others could leave code for us.
const directory = join(isAbsolute(base) ? base : join(homedir(), '.cache'), 'shorthaul', 'compiled')
;(nodeModule as WithCompileCache).enableCompileCache?.(directory)

const { run } = await import('./run.ts')
await run()
