/**
 * What the agent asks of a process that runs as the owner of jobs, and what that answers: frames of transfer/frames.ts over
 * its stdin and stdout. Each call is answered once; answers come in any order.
 */
import { ERROR_TABLE, type ErrorCode, ShorthaulError } from '../errors.ts'
import type { JobId } from './job.ts'
import type { TargetFile } from './job-targets.ts'
import type { Program } from './program.ts'

export type OwnerRequest =
  /** @param file a number by which it is called from then on */
  | { readonly op: 'open'; readonly file: number; readonly of: FileOfJob }
  /** In pages: a frame is short. Answered with hashes from there on, fewer than LEFT_OVER_PAGE at the end. */
  | { readonly op: 'left-over'; readonly file: number; readonly from: number }
  | { readonly op: 'begin'; readonly file: number; readonly lengthBytes: number | null }
  | { readonly op: 'keep'; readonly file: number; readonly index: number }
  /** The next frame is the segment; answered when its bytes are in the file. */
  | { readonly op: 'write'; readonly file: number }
  | { readonly op: 'restart'; readonly file: number }
  | { readonly op: 'digest'; readonly file: number; readonly lengthBytes: number }
  /** Its number means nothing afterwards, unless it fails. */
  | { readonly op: 'complete'; readonly file: number; readonly lengthBytes: number }
  | { readonly op: 'abandon'; readonly file: number }
  | { readonly op: 'deliver'; readonly of: FileOfJob }
  | { readonly op: 'discard'; readonly of: FileOfJob }
  | { readonly op: 'run'; readonly program: Program }
  /** Kills the program of an earlier call. */
  | { readonly op: 'stop'; readonly run: number }

export interface FileOfJob {
  readonly job: JobId
  readonly file: TargetFile
}

export type OwnerCall = OwnerRequest & { readonly frame: 'call'; readonly call: number }

export interface ErrorAnswer {
  readonly code: ErrorCode
  readonly message: string
  readonly retryable: boolean
}

export type OwnerAnswer =
  | { readonly frame: 'answer'; readonly call: number; readonly value: unknown }
  | { readonly frame: 'answer'; readonly call: number; readonly error: ErrorAnswer }

/** Answered without being called, when the process has become the owner. */
export const READY_CALL = 0
export const LEFT_OVER_PAGE = 500
const MAX_MESSAGE_CHARS = 2000

export function errorAnswer(error: unknown): ErrorAnswer {
  const known =
    error instanceof ShorthaulError
      ? error
      : new ShorthaulError('SHORTHAUL_TARGET_UNWRITABLE', `Unexpected failure: ${String(error)}`)
  return { code: known.code, message: known.message.slice(0, MAX_MESSAGE_CHARS), retryable: known.retryable }
}

/** What the other process said is not believed to have any form. */
export function errorOf(answer: unknown): ShorthaulError {
  const { code, message, retryable } = Object(answer) as Record<string, unknown>
  if (typeof code !== 'string' || !Object.hasOwn(ERROR_TABLE, code) || typeof message !== 'string') {
    return new ShorthaulError(
      'SHORTHAUL_TARGET_UNWRITABLE',
      'Cannot write as the owner of the job: no reason was given',
    )
  }
  return new ShorthaulError(code as ErrorCode, message.slice(0, MAX_MESSAGE_CHARS), { retryable: retryable === true })
}
