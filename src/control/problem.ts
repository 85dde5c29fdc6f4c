/** Errors on the wire: problem details (RFC 9457), and which status they go with. The client reads them in client.ts. */
import type { ServerResponse } from 'node:http'
import { ERROR_TABLE, type ErrorCode, isShorthaulError, ShorthaulError } from '../errors.ts'

export const PROBLEM_TYPE = 'application/problem+json'

export interface Problem {
  /** One for each code. */
  readonly type: string
  readonly title: string
  readonly status: number
  readonly detail: string
  readonly code: ErrorCode
  /** The same request may succeed later. */
  readonly retryable: boolean
  readonly details: Readonly<Record<string, unknown>>
}

/** A request that HTTP itself has a status for; carries it, and the header fields that belong to it. */
export class Refusal extends ShorthaulError {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>

  constructor(status: number, message: string, options: { code?: ErrorCode; headers?: Record<string, string> } = {}) {
    super(options.code ?? 'SHORTHAUL_USAGE', message, { details: { status } })
    this.status = status
    this.headers = options.headers ?? {}
  }
}

/** Statuses of codes; what is not here went wrong between the agent and others (502). */
const STATUSES: Partial<Record<ErrorCode, number>> = {
  SHORTHAUL_USAGE: 400,
  SHORTHAUL_URL_INVALID: 400,
  SHORTHAUL_FORBIDDEN: 403,
  SHORTHAUL_JOB_NOT_FOUND: 404,
  SHORTHAUL_JOB_STATE: 409,
  SHORTHAUL_CONFLICT: 409,
  SHORTHAUL_TARGET_UNWRITABLE: 422,
  SHORTHAUL_JOB_LIMIT: 429,
  SHORTHAUL_STORE_IO: 500,
  SHORTHAUL_CONTROL_IO: 503,
  SHORTHAUL_ABORTED: 503,
  SHORTHAUL_ORIGIN_TIMEOUT: 504,
  SHORTHAUL_DISK_FULL: 507,
}

export function problemOf(error: ShorthaulError): Problem {
  const { code, message, retryable, details } = error
  return {
    type: `urn:shorthaul:error:${code.replace('SHORTHAUL_', '').replaceAll('_', '-').toLowerCase()}`,
    title: ERROR_TABLE[code].cause,
    status: statusOf(error),
    detail: message,
    code,
    retryable,
    details,
  }
}

function statusOf(error: ShorthaulError): number {
  if (error instanceof Refusal) return error.status
  if (isUnexpected(error)) return 500
  return STATUSES[error.code] ?? 502
}

/** Answers with an error. Does nothing else: whether it is worth a line in the log is for the server to say. */
export function sendProblem(response: ServerResponse, error: ShorthaulError): void {
  const problem = problemOf(error)
  const headers = error instanceof Refusal ? error.headers : {}
  response.writeHead(problem.status, { 'content-type': PROBLEM_TYPE, 'cache-control': 'no-store', ...headers })
  response.end(JSON.stringify(problem))
}

/** What is thrown without being one of ours is a bug, and is told as one. */
export function asShorthaul(error: unknown): ShorthaulError {
  if (isShorthaulError(error)) return error
  const message = error instanceof Error ? error.message : String(error)
  return new ShorthaulError('SHORTHAUL_CONTROL_IO', `Unexpected failure: ${message}`, {
    cause: error,
    details: { isUnexpected: true },
    retryable: false,
  })
}

function isUnexpected({ details }: ShorthaulError): boolean {
  return details.isUnexpected === true
}
