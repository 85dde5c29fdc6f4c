/** Signals to processes of ours. */
import type { ChildProcess } from 'node:child_process'

/**
 * Ends it at once. One that never started (no descriptors left) has no number, and Node.js would send the signal to number
 * 0: our own process group.
 */
export function killChild(child: Pick<ChildProcess, 'pid' | 'kill'>): void {
  if (child.pid !== undefined) child.kill('SIGKILL')
}
