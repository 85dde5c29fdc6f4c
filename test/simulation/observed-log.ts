/** A logger that keeps nothing but what must never be logged: an error that nobody raised on purpose. */
import type { Logger } from 'pino'
import { isShorthaulError } from '../../src/errors.ts'

/** @param onBug called with an error that is no ShorthaulError, and with what was said about it */
export function observedLog(onBug: (text: string) => void): Logger {
  const say = (fields: unknown, text?: unknown) => {
    const err = typeof fields === 'object' && fields !== null ? (fields as { err?: unknown }).err : undefined
    if (err instanceof Error && !isShorthaulError(err)) onBug(`${String(text)}: ${err.stack ?? err.message}`)
  }
  const log = { trace: say, debug: say, info: say, warn: say, error: say, fatal: say, level: 'trace', child: () => log }
  return log as unknown as Logger // what our code calls
}
