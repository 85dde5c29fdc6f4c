/** What whoever uses an agent is told when a daemon takes its place: not to go on alone, but to wait for that daemon. */
import { isShorthaulError, ShorthaulError } from '../errors.ts'

export function handedOver(options: { readonly cause?: unknown } = {}): ShorthaulError {
  const details = { hasSuccessor: true }
  return new ShorthaulError('SHORTHAUL_CONTROL_IO', 'A daemon takes the place of the agent', { ...options, details })
}

export function hasSuccessor(error: unknown): boolean {
  return isShorthaulError(error, 'SHORTHAUL_CONTROL_IO') && error.details.hasSuccessor === true
}
