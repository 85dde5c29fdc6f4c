/**
 * The closed list of errors that shorthaul raises on purpose. Callers switch on `code`, never on a message or a class.
 * docs/errors.md is generated from this table, and a test fails when it drifts.
 *
 * Does not hold: errors of programming (TypeError and the like), which are bugs and are left to crash.
 */

/** What the process exits with when the error ends a command. */
export const EXIT = {
  ok: 0,
  usage: 2,
  origin: 3,
  network: 4,
  verification: 5,
  local: 6,
  interrupted: 130,
} as const
export type ExitCode = (typeof EXIT)[keyof typeof EXIT]

interface ErrorEntry {
  readonly exit: ExitCode
  /** True when the same request may succeed later without anybody changing anything. */
  readonly retryable: boolean
  readonly cause: string
  readonly whatToDo: string
}

function entry(exit: ExitCode, retryable: boolean, cause: string, whatToDo: string): ErrorEntry {
  return { exit, retryable, cause, whatToDo }
}

export const ERROR_TABLE = {
  // Usage and configuration
  SHORTHAUL_USAGE: entry(
    EXIT.usage,
    false,
    'The command line or an argument is not valid.',
    'Read the message; `shorthaul help VERB` lists what is accepted.',
  ),
  SHORTHAUL_URL_INVALID: entry(
    EXIT.usage,
    false,
    'The URL cannot be parsed, or its scheme is not http, https or file.',
    'Give an absolute URL, for example https://example.org/file.iso.',
  ),
  SHORTHAUL_CONFIG_INVALID: entry(
    EXIT.usage,
    false,
    'The configuration file or an environment variable has an unknown key or a value out of range.',
    'The message names the key and what was expected; `shorthaul config check` tests a file.',
  ),
  SHORTHAUL_SECRET_INVALID: entry(
    EXIT.usage,
    false,
    'The branch secret file is missing or is not 32 bytes in base64.',
    'Copy the file from a machine of the branch, or make one with `shorthaul branch init`.',
  ),
  SHORTHAUL_DAEMON_UNREACHABLE: entry(
    EXIT.usage,
    false,
    'The command needs a running agent and none answers on the control socket.',
    'Start `shorthaul daemon`, or name its socket in control.socket.',
  ),
  // Origin
  SHORTHAUL_ORIGIN_NOT_FOUND: entry(
    EXIT.origin,
    false,
    'The origin answered 404 or 410, or the file of a file: URL does not exist.',
    'Check the URL.',
  ),
  SHORTHAUL_ORIGIN_REFUSED: entry(
    EXIT.origin,
    false,
    'The origin refused the request: 401, 403, 407 or another 4xx status.',
    'Check credentials and permissions at the origin.',
  ),
  SHORTHAUL_ORIGIN_REDIRECT: entry(
    EXIT.origin,
    false,
    'A redirect leads nowhere: too many of them, a loop, no Location, or a scheme that is not allowed.',
    'Try the final URL.',
  ),
  SHORTHAUL_ORIGIN_PROTOCOL: entry(
    EXIT.origin,
    false,
    'The origin answered something that HTTP does not allow, such as a wrong Content-Range.',
    'Report it to the operator of the origin; `shorthaul doctor --origin URL` shows what it does.',
  ),
  SHORTHAUL_ORIGIN_CHANGED: entry(
    EXIT.origin,
    true,
    'The resource changed at the origin while it was being fetched, more often than we start over.',
    'Run the command again; nothing of the two generations was mixed.',
  ),
  SHORTHAUL_RANGE_INVALID: entry(
    EXIT.origin,
    false,
    'The content ends before a range that was asked for does, or the ranges overlap.',
    'Ask for bytes that the content has, each once; only the last range may be without an end.',
  ),
  SHORTHAUL_ORIGIN_ERROR: entry(
    EXIT.network,
    true,
    'The origin answered 408, 425, 429 or 5xx.',
    'Try again later; Retry-After is honoured.',
  ),
  SHORTHAUL_ORIGIN_TIMEOUT: entry(
    EXIT.network,
    true,
    'The origin did not answer, or stopped sending, within the time allowed.',
    'Check the network and try again; the part is kept.',
  ),
  SHORTHAUL_ORIGIN_UNREACHABLE: entry(
    EXIT.network,
    true,
    'No connection to the origin: name not found, refused, reset or cut short.',
    'Check the network and try again; the part is kept.',
  ),
  SHORTHAUL_ORIGIN_TLS: entry(
    EXIT.network,
    false,
    'The TLS handshake with the origin failed, for example an unknown or expired certificate.',
    'Check the clock and the certificate; a private CA goes into origin.caFile.',
  ),
  SHORTHAUL_ORIGIN_DISALLOWED: entry(
    EXIT.network,
    false,
    'The branch has not all of the content, and the caller forbade the origin (--no-origin).',
    'Run it without --no-origin, or when a neighbour has the content.',
  ),
  // Verification
  SHORTHAUL_SEGMENT_CORRUPT: entry(
    EXIT.verification,
    true,
    'Bytes do not hash to what their segment promises.',
    'Nothing: the segment is dropped, charged to its source and fetched elsewhere.',
  ),
  SHORTHAUL_DIGEST_MISMATCH: entry(
    EXIT.verification,
    false,
    'The whole content does not have the SHA-256 that was pinned or declared.',
    'Check the digest; if it is right, the origin serves something else.',
  ),
  SHORTHAUL_MANIFEST_INVALID: entry(
    EXIT.verification,
    false,
    'A manifest or a statement cannot be decoded, breaks a limit or has a wrong signature; or a published file has none.',
    'Of a neighbour: nothing, it is dropped, and the log names the sender. Of a published file: run `shorthaul publish`.',
  ),
  // Local
  SHORTHAUL_TARGET_UNWRITABLE: entry(
    EXIT.local,
    false,
    'The target cannot be written: directory missing, read-only or not permitted.',
    'Create the directory or choose another target with -o.',
  ),
  SHORTHAUL_DISK_FULL: entry(
    EXIT.local,
    true,
    'The disk of the target or of the data directory is full.',
    'Free space and run the command again; the part is kept.',
  ),
  SHORTHAUL_STORE_IO: entry(
    EXIT.local,
    true,
    'Reading or writing the data directory failed.',
    'The message names the file; check the disk. `shorthaul cache verify` repairs the index.',
  ),
  SHORTHAUL_STORE_VERSION: entry(
    EXIT.local,
    false,
    'The data directory was written by a newer shorthaul.',
    'Use that version, or another data directory.',
  ),
  SHORTHAUL_DATA_DIR_IN_USE: entry(
    EXIT.local,
    true,
    'Another shorthaul process owns the data directory.',
    'Use its control socket, stop it, or give another --data-dir.',
  ),
  SHORTHAUL_PORT_IN_USE: entry(
    EXIT.local,
    false,
    'A port that the configuration names is taken.',
    'Choose another port, or 0 for any free one.',
  ),
  SHORTHAUL_NETWORK_INTERFACE: entry(
    EXIT.local,
    false,
    'No usable IPv4 interface, or the one that the configuration names does not exist.',
    'Set network.interface; `shorthaul doctor` lists what was found.',
  ),
  SHORTHAUL_CONTROL_IO: entry(EXIT.local, true, 'The connection to the local agent broke.', 'Run the command again.'),
  // Jobs
  SHORTHAUL_JOB_NOT_FOUND: entry(
    EXIT.usage,
    false,
    'There is no such job or file of it, or it belongs to another user.',
    'List your jobs with `shorthaul job list --all`; an administrator sees those of others.',
  ),
  SHORTHAUL_JOB_STATE: entry(
    EXIT.usage,
    false,
    'The state of the job does not allow what was asked for.',
    '`shorthaul job why JOB` says where it stands.',
  ),
  SHORTHAUL_JOB_LIMIT: entry(
    EXIT.usage,
    false,
    'More jobs of one user, or more files of one job, than the configuration allows.',
    'Complete or cancel jobs, or raise jobs.maxPerUser or jobs.maxFilesPerJob.',
  ),
  SHORTHAUL_JOB_TIMEOUT: entry(
    EXIT.network,
    false,
    'A job reached its deadline, its longest transfer time, or its longest time without progress.',
    'Mend what kept it, then `shorthaul job resume JOB`; what was fetched is kept.',
  ),
  SHORTHAUL_CONFLICT: entry(
    EXIT.usage,
    false,
    'An idempotency key was used before, for something else.',
    'Use a new key for a new request.',
  ),
  SHORTHAUL_FORBIDDEN: entry(
    EXIT.usage,
    false,
    'The caller may not do this: it needs another user, an administrator, or a setting of the agent.',
    'The message says what is needed.',
  ),
  // Peers
  SHORTHAUL_PEER_UNREACHABLE: entry(
    EXIT.network,
    true,
    'A peer cannot be reached, or its session ended.',
    'Nothing: another source is used.',
  ),
  SHORTHAUL_PEER_STALLED: entry(
    EXIT.network,
    true,
    'A peer stopped sending in the middle of a segment.',
    'Nothing: another source is used.',
  ),
  SHORTHAUL_PEER_BUSY: entry(
    EXIT.network,
    true,
    'A peer serves as many uploads as it allows.',
    'Nothing: it is asked again after its Retry-After.',
  ),
  SHORTHAUL_PEER_MISSING: entry(
    EXIT.network,
    true,
    'A peer no longer has a segment that it announced.',
    'Nothing: another source is used.',
  ),
  SHORTHAUL_PEER_PROTOCOL: entry(
    EXIT.network,
    false,
    'A peer sent something that the protocol does not allow.',
    'Nothing: its session is closed; the log names it. Check for different versions.',
  ),
  SHORTHAUL_PEER_NOT_MEMBER: entry(
    EXIT.network,
    false,
    'A peer did not prove the branch secret in time.',
    'Give all machines of the branch the same secret file.',
  ),
  SHORTHAUL_PEER_LIED: entry(
    EXIT.verification,
    true,
    'A member of the branch signed hashes of bytes that the origin does not have, and what was fetched rested on them.',
    'Nothing of it was kept. `shorthaul quarantine` names the machine; look at what is wrong with it.',
  ),
  // Ending
  SHORTHAUL_ABORTED: entry(
    EXIT.interrupted,
    true,
    'The caller interrupted the operation.',
    'Run the same command again to resume.',
  ),
} as const satisfies Record<string, ErrorEntry>

export type ErrorCode = keyof typeof ERROR_TABLE

export interface ShorthaulErrorOptions {
  readonly cause?: unknown
  /** Facts for machines: status, url (redacted), path, expected, found. Never a secret. */
  readonly details?: Readonly<Record<string, unknown>>
  /** Overrides the table, for the few codes whose retryability depends on the case. */
  readonly retryable?: boolean
}

export class ShorthaulError extends Error {
  override readonly name = 'ShorthaulError'
  readonly code: ErrorCode
  readonly retryable: boolean
  readonly details: Readonly<Record<string, unknown>>

  /** @param message "Cannot <verb> <thing>: <now>, expected <wanted>"; no final period, no secrets. */
  constructor(code: ErrorCode, message: string, options: ShorthaulErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.retryable = options.retryable ?? ERROR_TABLE[code].retryable
    this.details = options.details ?? {}
  }

  get exit(): ExitCode {
    return ERROR_TABLE[this.code].exit
  }
}

export function isShorthaulError(error: unknown, code?: ErrorCode): error is ShorthaulError {
  return error instanceof ShorthaulError && (code === undefined || error.code === code)
}

/** The `code` of a Node system error (ENOENT, ECONNREFUSED, ...), looked for along the chain of causes. */
export function systemCode(error: unknown): string | undefined {
  for (let current = error, depth = 0; current instanceof Error && depth < 5; current = current.cause, depth++) {
    const code = (current as { code?: unknown }).code
    if (typeof code === 'string' && !code.startsWith('SHORTHAUL_')) return code
  }
  return undefined
}

/** Throws SHORTHAUL_ABORTED when the signal is aborted; keeps a ShorthaulError that was given as the reason. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw abortError(signal)
}

export function abortError(signal: AbortSignal): ShorthaulError {
  if (isShorthaulError(signal.reason)) return signal.reason
  return new ShorthaulError('SHORTHAUL_ABORTED', 'Interrupted', { cause: signal.reason })
}

/** A disk that is full and a directory that cannot be written are told apart here, once, for all local I/O. */
export function localIoError(action: string, path: string, cause: unknown, otherwise: ErrorCode): ShorthaulError {
  const system = systemCode(cause)
  const code = system === 'ENOSPC' || system === 'EDQUOT' ? 'SHORTHAUL_DISK_FULL' : otherwise
  return new ShorthaulError(code, `Cannot ${action} "${path}": ${system ?? String(cause)}`, {
    cause,
    details: { path, system },
  })
}

/** Removes user info, query and fragment: what may stand in a log or in an error. */
export function redactUrl(url: string | URL): string {
  try {
    const parsed = new URL(url)
    const query = parsed.search === '' ? '' : '?…'
    return `${parsed.protocol}//${parsed.host}${parsed.pathname}${query}`
  } catch {
    return '(invalid URL)'
  }
}

export function assertNever(value: never): never {
  throw new Error(`Unexpected value ${JSON.stringify(value)}`)
}
