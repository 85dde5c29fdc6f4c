/**
 * Runs a program of somebody for whom we do something: without a shell, without input, with few variables, for a while,
 * and with an end to what it may say. Does not ask whether the program may be run.
 */
import { spawn } from 'node:child_process'
import { userInfo } from 'node:os'
import { parse } from 'node:path'
import type { Readable } from 'node:stream'
import { killChild } from '../child-signal.ts'
import { systemCode } from '../errors.ts'
import type { JobOwner } from './job.ts'

export interface Program {
  /** Absolute, without links. */
  readonly path: string
  /** What it is told it was called by, and the arguments: as they are. */
  readonly argv: readonly string[]
  /** Besides PATH, HOME, USER and LANG. */
  readonly variables: Readonly<Record<string, string>>
  /** Then it is killed, with all that it started. */
  readonly deadlineMs: number
}

export type ProgramEnd =
  | {
      readonly kind: 'ended'
      /** Null: by a signal. */
      readonly exitCode: number | null
      /** It did not end by itself. */
      readonly isKilled: boolean
      /** The beginning of what it said. */
      readonly output: string
    }
  | { readonly kind: 'not-started'; readonly message: string }
  /** It cannot be run as its owner, today or later. */
  | { readonly kind: 'refused'; readonly message: string }

/** Never rejects for what the program does. When the signal is aborted, the program is killed. */
export type RunAsOwner = (
  owner: JobOwner,
  program: Program,
  options: { readonly signal: AbortSignal },
) => Promise<ProgramEnd>

const MAX_OUTPUT_BYTES = 16 * 1024
/** For what it said last and is still in the pipes. */
const DRAIN_MS = 500
const PATH = '/usr/local/bin:/usr/bin:/bin'
const isPosix = process.platform !== 'win32'

/** As the user of this process. */
export function runProgram(program: Program, { signal }: { readonly signal: AbortSignal }): Promise<ProgramEnd> {
  return new Promise((resolve) => {
    if (signal.aborted) {
      resolve({ kind: 'not-started', message: 'aborted' })
      return
    }
    const { path, argv, variables, deadlineMs } = program
    const [argv0 = path, ...args] = argv
    const child = spawn(path, args, {
      argv0,
      cwd: parse(path).root,
      env: { ...ownEnvironment(), ...variables },
      shell: false,
      stdio: ['ignore', 'pipe', 'pipe'],
      // A group of its own, so that what it started can be killed with it.
      detached: isPosix,
      windowsHide: true,
    })
    let end: (how: ProgramEnd) => void = resolve
    child.once('error', (error) => {
      end({ kind: 'not-started', message: `it cannot be started: ${systemCode(error) ?? error.message}` })
    })
    // Without descriptors there are no pipes, whatever the types say; the error follows.
    if (!(child.stdout as Readable | undefined) || !(child.stderr as Readable | undefined)) return
    const output = [heard(child.stdout), heard(child.stderr)]
    let isKilled = false
    const kill = () => {
      isKilled = true
      try {
        if (isPosix && child.pid !== undefined) process.kill(-child.pid, 'SIGKILL')
        else killChild(child)
      } catch {
        // It has ended just now.
      }
    }
    const timer = setTimeout(kill, deadlineMs)
    signal.addEventListener('abort', kill, { once: true })
    end = (how) => {
      clearTimeout(timer)
      signal.removeEventListener('abort', kill)
      resolve(how)
    }
    let exitCode: number | null = null
    child.once('exit', (code) => {
      exitCode = code
      // What it left running in the background may keep the pipes open for ever.
      setTimeout(() => {
        child.stdout.destroy()
        child.stderr.destroy()
      }, DRAIN_MS).unref()
    })
    child.once('close', () => end({ kind: 'ended', exitCode, isKilled, output: output.map((text) => text()).join('') }))
  })
}

/** All of the environment that a program gets from ours. */
export function ownEnvironment(): Record<string, string> {
  const { env } = process
  const user = accountOf()
  const kept: Record<string, string | undefined> = {
    PATH: env.PATH ?? (isPosix ? PATH : undefined),
    HOME: user?.homedir ?? env.HOME,
    USER: user?.username ?? env.USER,
    LANG: env.LANG ?? 'C.UTF-8',
    // Windows programs do not load without it.
    ...(isPosix ? {} : { SystemRoot: env.SystemRoot }),
  }
  return Object.fromEntries(Object.entries(kept).filter((pair): pair is [string, string] => pair[1] !== undefined))
}

function accountOf(): { readonly homedir: string; readonly username: string } | null {
  try {
    return userInfo()
  } catch {
    return null // a number without a name, as in many containers
  }
}

/** Reads to the end, so that nobody who writes waits, and keeps the beginning. */
function heard(stream: Readable): () => string {
  const chunks: Buffer[] = []
  let bytes = 0
  stream.on('error', () => {})
  stream.on('data', (chunk: Buffer) => {
    if (bytes >= MAX_OUTPUT_BYTES) return
    chunks.push(chunk.subarray(0, MAX_OUTPUT_BYTES - bytes))
    bytes += chunk.byteLength
  })
  return () => Buffer.concat(chunks).toString('utf8')
}
