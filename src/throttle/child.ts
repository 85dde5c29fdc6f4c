/** Asks a program of the system something short. Knows nothing of what is asked. */
import { type ExecFileException, execFile } from 'node:child_process'

export type ChildAnswer =
  | { readonly kind: 'done'; readonly stdout: string }
  /** There is no such program here, or none that this user may run. */
  | { readonly kind: 'missing' }
  /** It failed, was too slow, said too much or was aborted. */
  | { readonly kind: 'failed'; readonly message: string }

export interface ChildOptions {
  readonly signal: AbortSignal
  readonly deadlineMs: number
}

/** Never rejects; the child is gone when it resolves, or was sent SIGKILL. */
export type RunChild = (command: string, args: readonly string[], options: ChildOptions) => Promise<ChildAnswer>

const MAX_OUTPUT_BYTES = 64 * 1024
const MAX_MESSAGE_LENGTH = 300

export const runChild: RunChild = (command, args, { signal, deadlineMs }) =>
  new Promise((resolve) => {
    const options = {
      signal,
      timeout: deadlineMs,
      maxBuffer: MAX_OUTPUT_BYTES,
      killSignal: 'SIGKILL',
      windowsHide: true,
    } as const
    const child = execFile(command, args, options, (error, stdout, stderr) => {
      if (error === null) resolve({ kind: 'done', stdout })
      else if (isMissing(error)) resolve({ kind: 'missing' })
      else resolve({ kind: 'failed', message: describe({ error, stderr, deadlineMs, isAborted: signal.aborted }) })
    })
    // A program that waits for input would wait for ever; one that has ended breaks the pipe.
    child.stdin?.on('error', () => {})
    child.stdin?.end()
  })

/** EACCES also says that a directory of PATH cannot be read, and that none of the others has the program. */
function isMissing({ code }: ExecFileException): boolean {
  return code === 'ENOENT' || code === 'EACCES'
}

interface Failure {
  readonly error: Error & { readonly killed?: boolean }
  readonly stderr: string
  readonly deadlineMs: number
  readonly isAborted: boolean
}

function describe({ error, stderr, deadlineMs, isAborted }: Failure): string {
  if (isAborted) return 'aborted'
  if (error.killed === true) return `no answer in ${deadlineMs} ms`
  return (stderr.trim() || error.message).slice(0, MAX_MESSAGE_LENGTH)
}
