/**
 * Secrets of jobs at rest: header fields for origins, the login of a proxy, the key of a webhook. AES-256-GCM under a key in a file of its own
 * (0600), so that a copy of the database alone gives nothing away. Who can read the data directory reads both.
 */
import { createCipheriv, createDecipheriv } from 'node:crypto'
import { join } from 'node:path'
import { secretBytes } from '../clock.ts'
import { createExclusive, readSmallFile } from '../config/exclusive-file.ts'
import { ShorthaulError } from '../errors.ts'

const KEY_BYTES = 32
const NONCE_BYTES = 12
const TAG_BYTES = 16

export interface JobSecrets {
  readonly headers: readonly (readonly [name: string, value: string])[]
  /** Signs what the webhook is sent; null: unsigned. */
  readonly webhookSecret: string | null
  /** The URL of the proxy with its login; null, or absent: it has none. */
  readonly proxy?: string | null
}

export const NO_SECRETS: JobSecrets = { headers: [], webhookSecret: null }

export class Vault {
  readonly #key: Buffer

  private constructor(key: Buffer) {
    this.#key = key
  }

  /** Makes the key when there is none. @throws SHORTHAUL_SECRET_INVALID, SHORTHAUL_TARGET_UNWRITABLE */
  static async open(dataDir: string): Promise<Vault> {
    const path = join(dataDir, 'jobs', 'key')
    await createExclusive(path, secretBytes(KEY_BYTES), 'the key of the jobs')
    const file = await readSmallFile(path)
    if (file?.content.byteLength !== KEY_BYTES) {
      throw new ShorthaulError('SHORTHAUL_SECRET_INVALID', `Cannot use "${path}": expected ${KEY_BYTES} bytes`, {
        details: { path },
      })
    }
    return new Vault(Buffer.from(file.content))
  }

  /** @param about what it belongs to: sealed text is of no use elsewhere */
  seal(secrets: JobSecrets, about: string): string | null {
    const { headers, webhookSecret, proxy = null } = secrets
    if (headers.length === 0 && webhookSecret === null && proxy === null) return null
    const nonce = secretBytes(NONCE_BYTES)
    const cipher = createCipheriv('aes-256-gcm', this.#key, nonce).setAAD(Buffer.from(about))
    const sealed = Buffer.concat([cipher.update(JSON.stringify(secrets)), cipher.final()])
    return Buffer.concat([nonce, cipher.getAuthTag(), sealed]).toString('base64')
  }

  /** @throws SHORTHAUL_SECRET_INVALID when the key is another one */
  open(sealed: string | null, about: string): JobSecrets {
    if (sealed === null) return NO_SECRETS
    const bytes = Buffer.from(sealed, 'base64')
    try {
      const decipher = createDecipheriv('aes-256-gcm', this.#key, bytes.subarray(0, NONCE_BYTES), {
        // Node takes shorter tags, which are easier to guess.
        authTagLength: TAG_BYTES,
      })
      decipher.setAAD(Buffer.from(about)).setAuthTag(bytes.subarray(NONCE_BYTES, NONCE_BYTES + TAG_BYTES))
      const plain = Buffer.concat([decipher.update(bytes.subarray(NONCE_BYTES + TAG_BYTES)), decipher.final()])
      return JSON.parse(plain.toString('utf8')) as JobSecrets // sealed by us
    } catch (cause) {
      throw new ShorthaulError(
        'SHORTHAUL_SECRET_INVALID',
        'Cannot open the header fields of the job: they were sealed with another key; set them again',
        { cause },
      )
    }
  }
}
