/** Our errors as the numbers that BITS has for them (bitsmsg.h, winerror.h), because scripts compare those. Pure. */
import type { ErrorCode } from '../../errors.ts'
import { ERROR_TABLE, EXIT } from '../../errors.ts'
import type { JobError } from '../../jobs/job.ts'

/** E_FAIL: for what BITS has no number. */
const E_FAIL = 0x80004005

export const HRESULTS: Readonly<Partial<Record<ErrorCode, number>>> = {
  SHORTHAUL_USAGE: 0x80070057, // E_INVALIDARG
  SHORTHAUL_URL_INVALID: 0x80070057,
  SHORTHAUL_CONFLICT: 0x80070057,
  SHORTHAUL_DAEMON_UNREACHABLE: 0x80070426, // ERROR_SERVICE_NOT_ACTIVE
  SHORTHAUL_CONTROL_IO: 0x800706be, // RPC_S_CALL_FAILED
  SHORTHAUL_JOB_NOT_FOUND: 0x80200001, // BG_E_NOT_FOUND
  SHORTHAUL_JOB_STATE: 0x80200002, // BG_E_INVALID_STATE
  SHORTHAUL_JOB_LIMIT: 0x80200049, // BG_E_TOO_MANY_JOBS_PER_USER
  SHORTHAUL_JOB_TIMEOUT: 0x80200054, // BG_E_MAXDOWNLOAD_TIMEOUT
  SHORTHAUL_FORBIDDEN: 0x80070005, // E_ACCESSDENIED
  SHORTHAUL_ORIGIN_NOT_FOUND: 0x80190194, // BG_E_HTTP_ERROR_404
  SHORTHAUL_ORIGIN_REFUSED: 0x80190193, // BG_E_HTTP_ERROR_403
  SHORTHAUL_ORIGIN_ERROR: 0x801901f7, // BG_E_HTTP_ERROR_503
  SHORTHAUL_ORIGIN_REDIRECT: 0x80072f7c, // ERROR_HTTP_REDIRECT_FAILED
  SHORTHAUL_ORIGIN_PROTOCOL: 0x8020001b, // BG_E_INVALID_SERVER_RESPONSE
  SHORTHAUL_ORIGIN_CHANGED: 0x80200073, // BG_E_REMOTE_FILE_CHANGED
  SHORTHAUL_ORIGIN_TIMEOUT: 0x80072ee2, // ERROR_WINHTTP_TIMEOUT
  SHORTHAUL_ORIGIN_UNREACHABLE: 0x8020002d, // BG_E_CONNECT_FAILURE
  SHORTHAUL_ORIGIN_TLS: 0x80072f8f, // ERROR_WINHTTP_SECURE_FAILURE
  SHORTHAUL_SEGMENT_CORRUPT: 0x80200053, // BG_E_VALIDATION_FAILED
  SHORTHAUL_DIGEST_MISMATCH: 0x80200053,
  SHORTHAUL_TARGET_UNWRITABLE: 0x80070005,
  SHORTHAUL_DISK_FULL: 0x80070070, // ERROR_DISK_FULL
}

/** @param isEmpty the job has no files, which is a number of its own: BG_E_EMPTY */
export function hresultOf(code: ErrorCode, { isEmpty = false }: { readonly isEmpty?: boolean } = {}): number {
  return isEmpty ? 0x80200003 : (HRESULTS[code] ?? E_FAIL)
}

/** 0x80200001 */
export function hexOf(hresult: number): string {
  return `0x${hresult.toString(16).padStart(8, '0')}`
}

/** BG_ERROR_CONTEXT: where it went wrong. */
export function contextOf({ code, fileIndex }: JobError): string {
  if (ERROR_TABLE[code].exit === EXIT.local)
    return '0x00000004 - The error occurred while the local file was processed.'
  if (fileIndex === null) return '0x00000002 - The error occurred in the queue manager.'
  return '0x00000005 - The error occurred while the remote file was processed.'
}
