/** The SHA-256 of the whole representation, in the fields and URLs by which origins declare it. Parsers only; all total. */
import { parseDictionary } from 'structured-headers'

/** Value of the Want-Repr-Digest request field: SHA-256, most preferred. */
export const WANT_REPR_DIGEST = 'sha-256=10'

const SHA256_BYTES = 32
/** 32 bytes in base64: 43 digits and one of padding. */
const BASE64_OF_32 = /^[A-Za-z0-9+/]{43}=$/
/** Of the OCI distribution specification: the name of a repository, then what is named by its digest. */
const OCI_PATH = /^\/v2\/(?:[a-z0-9._-]+\/){1,64}(?:blobs|manifests)\/sha256(?::|%3A)([0-9a-f]{64})$/i

/**
 * RFC 9530.
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

/**
 * RFC 3230, which RFC 9530 made obsolete: `SHA-256=<base64>` in a list of algorithms, whose names know no case.
 * @returns null also when there are two SHA-256 that differ
 */
export function parseLegacyDigest(value: string): string | null {
  const found = new Set<string | null>()
  for (const member of value.split(',')) {
    const at = member.indexOf('=')
    if (member.slice(0, Math.max(0, at)).trim().toLowerCase() !== 'sha-256') continue
    found.add(hexOf(member.slice(at + 1).trim()))
  }
  const [first] = found
  return found.size === 1 ? (first ?? null) : null
}

/**
 * What S3 and its likes say of an object.
 * @param type of the field x-amz-checksum-type; null: absent. Without it a composite is told by the count of its parts
 *   behind the value (`<base64>-3`): that is a digest of digests, and says nothing of the whole.
 */
export function parseAmzChecksum(value: string, type: string | null): string | null {
  if (type !== null && type.toUpperCase() !== 'FULL_OBJECT') return null
  return hexOf(value.trim())
}

/** `/v2/<name>/blobs/sha256:<hex>` of an OCI registry, and the same for manifests: the URL is the name of the bytes. */
export function sha256OfUrl(url: URL): string | null {
  return OCI_PATH.exec(url.pathname)?.[1]?.toLowerCase() ?? null
}

/** Null unless it is the one base64 of 32 bytes. */
function hexOf(base64: string): string | null {
  if (!BASE64_OF_32.test(base64)) return null
  const bytes = Buffer.from(base64, 'base64')
  return bytes.toString('base64') === base64 ? bytes.toString('hex') : null
}
