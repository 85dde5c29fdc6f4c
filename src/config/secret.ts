/**
 * The two secrets on disk: the branch secret, which all agents of a branch share, and the seed of this agent's own
 * identity. Makes and reads the files; does not derive keys from them (peers/ does).
 *
 * Invariants: neither secret is ever part of a message, an error or a log; a file is complete or absent.
 */
import { join } from 'node:path'
import { secretBytes } from '../clock.ts'
import { ShorthaulError, systemCode } from '../errors.ts'
import { createExclusive, readSmallFile, type SmallFile } from './exclusive-file.ts'

export const SECRET_BYTES = 32

export interface BranchSecret {
  /** 32 bytes. */
  readonly secret: Buffer
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

const BASE64 = /^[A-Za-z0-9+/]{43}=$/

/** @throws SHORTHAUL_SECRET_INVALID when the file is missing, cannot be read or does not hold 32 bytes in base64 */
export async function readSecret(path: string): Promise<BranchSecret> {
  const file = await read(path, 'SHORTHAUL_SECRET_INVALID', 'the branch secret')
  if (file === null) throw invalidSecret(path, 'no such file')
  const text = file.content.toString('latin1').trim()
  const secret = Buffer.from(text, 'base64')
  // Re-encoded, because base64 decoding ignores stray bits: two different files must not be one secret.
  if (!BASE64.test(text) || secret.toString('base64') !== text) {
    // Says how long it is and not what it says: it may be another secret, or almost this one.
    throw invalidSecret(path, `${file.content.byteLength} bytes that are not 32 bytes in base64`)
  }
  return { secret, path, warning: exposure(file, path) }
}

function invalidSecret(path: string, found: string): ShorthaulError {
  return new ShorthaulError(
    'SHORTHAUL_SECRET_INVALID',
    `Cannot read the branch secret "${path}": ${found}, expected one line of 44 characters`,
    { details: { path } },
  )
}

/**
 * Makes a new branch secret: 32 random bytes in base64 and a newline, mode 0600, durable. Never replaces a file.
 * @throws SHORTHAUL_TARGET_UNWRITABLE also when the file exists, SHORTHAUL_DISK_FULL
 */
export async function createSecret(path: string): Promise<BranchSecret> {
  const secret = secretBytes(SECRET_BYTES)
  if (await createExclusive(path, Buffer.from(`${secret.toString('base64')}\n`), 'the branch secret')) {
    return { secret, path, warning: null }
  }
  throw new ShorthaulError(
    'SHORTHAUL_TARGET_UNWRITABLE',
    `Cannot create the branch secret "${path}": the file exists, expected none`,
    { details: { path } },
  )
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
