/**
 * The secrets on disk: the branch secret, which all agents of a branch share, the seed of this agent's own identity, and
 * the token of its control API. Makes and reads the files; does not derive keys from them (peers/ does).
 *
 * Invariants: no secret is ever part of a message, an error or a log; a file is complete or absent.
 */
import { join } from 'node:path'
import { secretBytes } from '../clock.ts'
import { ShorthaulError, systemCode } from '../errors.ts'
import { createExclusive, readSmallFile, replaceDurably, type SmallFile } from './exclusive-file.ts'
import { type BranchSecrets, formatSecretFile, parseSecretFile, SECRET_BYTES } from './secret-file.ts'

export { SECRET_BYTES } from './secret-file.ts'

export interface BranchSecret extends BranchSecrets {
  readonly path: string
  /** For people, when the file can be read by others than its owner; null when all is well. */
  readonly warning: string | null
}

export interface IdentitySeed {
  /** 32 bytes, the seed of the Ed25519 key pair. */
  readonly seed: Buffer
  readonly path: string
  readonly warning: string | null
}

const TOKEN = /^[\w.~+/=-]{32,512}$/

/** @throws SHORTHAUL_SECRET_INVALID when the file is missing, cannot be read or is not as secret-file.ts says */
export async function readSecret(path: string): Promise<BranchSecret> {
  const file = await read(path, 'SHORTHAUL_SECRET_INVALID', 'the branch secret')
  if (file === null) throw invalidSecret(path, 'no such file')
  const secrets = parseSecretFile(file.content.toString('latin1'))
  // Says how long it is and not what it says: it may be another secret, or almost this one.
  if (secrets === null) throw invalidSecret(path, `${file.content.byteLength} bytes that are not 32 bytes in base64`)
  return { ...secrets, path, warning: exposure(file, path) }
}

function invalidSecret(path: string, found: string): ShorthaulError {
  return new ShorthaulError(
    'SHORTHAUL_SECRET_INVALID',
    `Cannot read the branch secret "${path}": ${found}, expected one line of 44 characters, ` +
      'and after it only what `shorthaul branch rotate` writes',
    { details: { path } },
  )
}

/**
 * Makes a new branch secret: 32 random bytes in base64 and a newline, mode 0600, durable. Never replaces a file.
 * @param rosterKey public key of the administrator when the branch has a roster
 * @throws SHORTHAUL_TARGET_UNWRITABLE also when the file exists, SHORTHAUL_DISK_FULL
 */
export async function createSecret(path: string, rosterKey: Buffer | null = null): Promise<BranchSecret> {
  return writeNew(path, {
    secret: secretBytes(SECRET_BYTES),
    previous: null,
    wireKey: null,
    rosterKey,
    inviteSeed: null,
  })
}

/**
 * The secrets of a branch that invited this machine, in a new file or in the place of one of the same branch.
 * @throws SHORTHAUL_TARGET_UNWRITABLE also when the file is another branch's, SHORTHAUL_SECRET_INVALID,
 *   SHORTHAUL_DISK_FULL
 */
export async function writeJoined(path: string, secrets: BranchSecrets): Promise<BranchSecret> {
  if ((await read(path, 'SHORTHAUL_SECRET_INVALID', 'the branch secret')) === null) return writeNew(path, secrets)
  const old = await readSecret(path)
  if (!old.secret.equals(secrets.secret)) {
    throw new ShorthaulError(
      'SHORTHAUL_TARGET_UNWRITABLE',
      `Cannot join: "${path}" holds the secret of another branch, expected none or that of the one that invites; ` +
        'remove it to leave that branch, or name another with --out',
      { details: { path } },
    )
  }
  return replace(path, secrets)
}

/** The branch of the file has a roster from now; its secret stays. @throws SHORTHAUL_TARGET_UNWRITABLE, SHORTHAUL_DISK_FULL */
export async function addRosterKey(old: BranchSecret, rosterKey: Buffer): Promise<BranchSecret> {
  return replace(old.path, { ...old, rosterKey, inviteSeed: null })
}

async function writeNew(path: string, secrets: BranchSecrets): Promise<BranchSecret> {
  if (await createExclusive(path, Buffer.from(formatSecretFile(secrets)), 'the branch secret')) {
    return { ...secrets, path, warning: null }
  }
  throw new ShorthaulError(
    'SHORTHAUL_TARGET_UNWRITABLE',
    `Cannot create the branch secret "${path}": the file exists, expected none`,
    { details: { path } },
  )
}

async function replace(path: string, secrets: BranchSecrets): Promise<BranchSecret> {
  await replaceDurably(path, Buffer.from(formatSecretFile(secrets)), 'the branch secret')
  return { ...secrets, path, warning: null }
}

/**
 * A new secret in the place of the one in the file, which stays good for the window; the wire key stays what it is.
 * The file is replaced whole, durably, mode 0600, and keeps its owner.
 *
 * @param options nowMs wall clock; windowMs 0: the old secret is worth nothing from now; wireKey what is in force now
 * @throws SHORTHAUL_SECRET_INVALID also while the window of a rotation before is open (two secrets at most are good at
 *   once), unless windowMs is 0; SHORTHAUL_TARGET_UNWRITABLE, SHORTHAUL_DISK_FULL
 */
export async function rotateSecret(
  old: BranchSecret,
  options: { readonly nowMs: number; readonly windowMs: number; readonly wireKey: Buffer },
): Promise<BranchSecret> {
  const { nowMs, windowMs, wireKey } = options
  const { previous, path } = old
  if (windowMs > 0 && previous !== null && previous.validUntilMs > nowMs) {
    const until = new Date(previous.validUntilMs).toISOString()
    throw new ShorthaulError(
      'SHORTHAUL_SECRET_INVALID',
      `Cannot rotate the branch secret "${path}": a rotation is under way until ${until}, expected none; ` +
        'a window of 0 ends it and makes both old secrets worthless',
      { details: { path } },
    )
  }
  return replace(path, {
    secret: secretBytes(SECRET_BYTES),
    previous: windowMs > 0 ? { secret: old.secret, validUntilMs: nowMs + windowMs } : null,
    wireKey,
    rosterKey: old.rosterKey,
    inviteSeed: null, // the file is copied to other machines
  })
}

/**
 * The secret in `<dir>/branch.secret`, made when missing. Processes that race for it all get the same one.
 * @throws SHORTHAUL_SECRET_INVALID, SHORTHAUL_TARGET_UNWRITABLE, SHORTHAUL_DISK_FULL
 */
export async function ensureUserSecret(dir: string): Promise<BranchSecret & { readonly isNew: boolean }> {
  const path = join(dir, 'branch.secret')
  const fresh = secretBytes(SECRET_BYTES)
  const isMissing = (await read(path, 'SHORTHAUL_SECRET_INVALID', 'the branch secret')) === null
  const isNew =
    isMissing && (await createExclusive(path, Buffer.from(`${fresh.toString('base64')}\n`), 'the branch secret'))
  return { ...(await readSecret(path)), isNew }
}

/**
 * The seed in `<dataDir>/identity.seed`, 32 raw bytes, made when missing. Processes that race for it get the same one.
 * @throws SHORTHAUL_STORE_IO when it cannot be read or has another length, SHORTHAUL_TARGET_UNWRITABLE,
 *   SHORTHAUL_DISK_FULL
 */
export async function ensureIdentitySeed(dataDir: string): Promise<IdentitySeed> {
  const path = join(dataDir, 'identity.seed')
  const what = 'the identity of this agent'
  let file = await read(path, 'SHORTHAUL_STORE_IO', what)
  if (file === null) {
    await createExclusive(path, secretBytes(SECRET_BYTES), what)
    file = await read(path, 'SHORTHAUL_STORE_IO', what)
  }
  if (file?.content.byteLength !== SECRET_BYTES) {
    const found = file === null ? 'it vanished' : `${file.content.byteLength} bytes`
    throw new ShorthaulError(
      'SHORTHAUL_STORE_IO',
      `Cannot read ${what} "${path}": ${found}, expected ${SECRET_BYTES}; without the file a new one is made`,
      { details: { path }, retryable: false },
    )
  }
  return { seed: file.content, path, warning: exposure(file, path) }
}

/**
 * The seed of the administrator's key, made when missing: one line of base64, as the secret has it. Whoever has it says
 * who belongs to the branch.
 * @throws SHORTHAUL_SECRET_INVALID, SHORTHAUL_TARGET_UNWRITABLE, SHORTHAUL_DISK_FULL
 */
export async function ensureAdminSeed(path: string): Promise<IdentitySeed> {
  const line = Buffer.from(`${secretBytes(SECRET_BYTES).toString('base64')}\n`)
  await createExclusive(path, line, ADMIN_KEY)
  return readAdminSeed(path)
}

/** @throws SHORTHAUL_SECRET_INVALID */
export async function readAdminSeed(path: string): Promise<IdentitySeed> {
  const file = await read(path, 'SHORTHAUL_SECRET_INVALID', ADMIN_KEY)
  const secrets = file === null ? null : parseSecretFile(file.content.toString('latin1'))
  if (file === null || secrets === null) {
    const found = file === null ? 'no such file' : `${file.content.byteLength} bytes that are not 32 bytes in base64`
    throw new ShorthaulError('SHORTHAUL_SECRET_INVALID', `Cannot read ${ADMIN_KEY} "${path}": ${found}`, {
      details: { path },
    })
  }
  return { seed: secrets.secret, path, warning: exposure(file, path) }
}

const ADMIN_KEY = "the administrator's key"

export interface ControlToken {
  /** 32 to 512 characters that stand in a header field as they are. */
  readonly token: string
  readonly path: string
  readonly warning: string | null
}

/**
 * The token for the control API over TCP, made when missing. Processes that race for it get the same one.
 * @throws SHORTHAUL_SECRET_INVALID, SHORTHAUL_TARGET_UNWRITABLE, SHORTHAUL_DISK_FULL
 */
export async function ensureControlToken(path: string): Promise<ControlToken> {
  const what = 'the control token'
  let file = await read(path, 'SHORTHAUL_SECRET_INVALID', what)
  if (file === null) {
    await createExclusive(path, Buffer.from(`${secretBytes(SECRET_BYTES).toString('hex')}\n`), what)
    file = await read(path, 'SHORTHAUL_SECRET_INVALID', what)
  }
  const token = file?.content.toString('latin1').trim() ?? ''
  if (file !== null && TOKEN.test(token)) return { token, path, warning: exposure(file, path) }
  throw new ShorthaulError(
    'SHORTHAUL_SECRET_INVALID',
    `Cannot read ${what} "${path}": expected one line of 32 to 512 letters, digits and any of - . _ ~ + / =`,
    { details: { path } },
  )
}

async function read(
  path: string,
  code: 'SHORTHAUL_SECRET_INVALID' | 'SHORTHAUL_STORE_IO',
  what: string,
): Promise<SmallFile | null> {
  try {
    return await readSmallFile(path)
  } catch (error: unknown) {
    const found = systemCode(error) ?? (error instanceof Error ? error.message : String(error))
    throw new ShorthaulError(code, `Cannot read ${what} "${path}": ${found}`, { cause: error, details: { path } })
  }
}

function exposure(file: SmallFile, path: string): string | null {
  return file.isExposed ? `"${path}" can be read by other users; make it private with: chmod 600 "${path}"` : null
}
