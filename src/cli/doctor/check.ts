/** One finding of `doctor`: what was looked at, how it is, and what to do. */
import { isShorthaulError, systemCode } from '../../errors.ts'

export interface Check {
  readonly name: string
  /** `warn`: works, but less well than it could, or cannot be told; `fail`: will not work. */
  readonly state: 'ok' | 'warn' | 'fail'
  readonly message: string
  /** What to do; null when nothing is to be done. */
  readonly hint: string | null
}

export function ok(name: string, message: string, hint: string | null = null): Check {
  return { name, state: 'ok', message, hint }
}

export function warn(name: string, message: string, hint: string | null = null): Check {
  return { name, state: 'warn', message, hint }
}

export function fail(name: string, message: string, hint: string | null = null): Check {
  return { name, state: 'fail', message, hint }
}

/** An error in a few words. */
export function reasonOf(error: unknown): string {
  if (isShorthaulError(error)) return error.message
  return systemCode(error) ?? (error instanceof Error ? error.message : String(error))
}
