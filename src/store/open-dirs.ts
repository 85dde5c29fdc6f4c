/**
 * The data directories that this process has open.
 *
 * LevelDB's lock is an fcntl lock: it keeps other processes out, but a failed second open in the same process closes its
 * descriptor and thereby drops the lock (LevelDB 1.20 env_posix.cc, measured). So a second open of one directory in one
 * process must never reach level.
 *
 * Does not see worker threads: a data directory belongs to one thread.
 */
const REGISTRY = Symbol.for('shorthaul/open-data-dirs')

// On globalThis, because two copies of the package in one process would otherwise not know of each other.
const holder = globalThis as { [REGISTRY]?: Set<string> }

function openDirs(): Set<string> {
  holder[REGISTRY] ??= new Set()
  return holder[REGISTRY]
}

/**
 * @param realPath the directory without symbolic links
 * @returns what gives the directory up (idempotent), or null when this process has it open already
 */
export function claimDir(realPath: string): (() => void) | null {
  const dirs = openDirs()
  if (dirs.has(realPath)) return null
  dirs.add(realPath)
  let isReleased = false
  return () => {
    if (isReleased) return
    isReleased = true
    dirs.delete(realPath)
  }
}
