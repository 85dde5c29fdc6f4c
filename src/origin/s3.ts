/** What Amazon S3 has to be asked for before it tells the SHA-256 of an object. Pure. */

const S3_HOST = /^(?:.+\.)?s3[.-](?:[a-z0-9-]+\.){0,3}amazonaws\.com(?:\.cn)?$/
const SIGNED_QUERY = ['X-Amz-Signature', 'X-Amz-Algorithm', 'Signature', 'AWSAccessKeyId']

/**
 * S3 sends x-amz-checksum-sha256 only when asked. But whoever signs a request signs its x-amz- fields too: one that comes
 * to it later makes S3 refuse the whole (SignatureDoesNotMatch). So only what nobody signed is asked with it; the answers
 * of all others, S3 or not, are read when they come.
 * @param fields names in lower case, that go out with the request
 */
export function s3Fields(url: URL, fields: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  if (!S3_HOST.test(url.hostname)) return {}
  const query = new Set([...url.searchParams.keys()].map((name) => name.toLowerCase()))
  const isSigned =
    fields.authorization !== undefined ||
    Object.keys(fields).some((name) => name.startsWith('x-amz-')) ||
    SIGNED_QUERY.some((name) => query.has(name.toLowerCase()))
  return isSigned ? {} : { 'x-amz-checksum-mode': 'ENABLED' }
}
