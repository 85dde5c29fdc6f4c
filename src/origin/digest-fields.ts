/** Digest Fields, RFC 9530: the SHA-256 of the whole representation, when the origin declares it. */
import { parseDictionary } from 'structured-headers'

/** Value of the Want-Repr-Digest request field: SHA-256, most preferred. */
export const WANT_REPR_DIGEST = 'sha-256=10'

const SHA256_BYTES = 32

/**
 * @param value a Repr-Digest field; Content-Digest is of no use, it covers one message and not the representation
 * @returns lower-case hex, or null when there is no well-formed `sha-256` member; never throws
 */
export function parseReprDigest(value: string): string | null {
  try {
    const bytes = parseDictionary(value).get('sha-256')?.[0]
    if (!(bytes instanceof ArrayBuffer) || bytes.byteLength !== SHA256_BYTES) return null
    return Buffer.from(bytes).toString('hex')
  } catch {
    return null // the library throws ParseError for what is not a structured dictionary: as good as absent
  }
}
