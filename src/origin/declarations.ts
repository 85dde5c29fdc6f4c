/**
 * What an answer declares of its content before a byte of it has come: its SHA-256, and where a manifest of its segments
 * is to be had. Pure.
 *
 * All declarations that there are must agree: no content can satisfy two that differ, so that none is chosen.
 */
import { parseAmzChecksum, parseLegacyDigest, parseReprDigest, sha256OfUrl } from './digest-fields.ts'
import { parseLinks } from './link-field.ts'
import { isLoopback } from './loopback.ts'
import { contentCoding, listField, type ResponseFields, singleField } from './response-fields.ts'

/** Of a manifest as `shorthaul publish` writes it: docs/manifest.md. */
export const MANIFEST_MEDIA_TYPE = 'application/vnd.shorthaul.manifest'

export interface Declarations {
  /** Lower-case hex; null when nothing is declared, or when declarations differ. */
  readonly declaredSha256: string | null
  /** Which declarations differ, in a few words for the user; null: none do. */
  readonly declaredConflict: string | null
  readonly manifestUrl: string | null
}

export interface DeclaringAnswer {
  readonly status: number
  readonly fields: ResponseFields
  /** That was asked for, before redirects: it may name its content by digest. */
  readonly askedUrl: URL
  /** Where the answer came from. */
  readonly url: URL
}

export function judgeDeclarations(answer: DeclaringAnswer): Declarations {
  const manifestUrl = manifestUrlOf(answer)
  // A digest covers the representation with its content coding. We ask for identity; what comes encoded all the same is
  // not the content that anybody described.
  const declared = contentCoding(answer.fields) === null ? digestsOf(answer) : []
  const distinct = new Set(declared.map(({ sha256 }) => sha256))
  const [sha256 = null] = distinct
  if (distinct.size <= 1) return { declaredSha256: sha256, declaredConflict: null, manifestUrl }
  const conflict = declared.map(({ by, sha256 }) => `${by} says ${sha256}`).join(', ')
  return { declaredSha256: null, declaredConflict: conflict, manifestUrl }
}

function digestsOf({ status, fields, askedUrl }: DeclaringAnswer): { readonly by: string; readonly sha256: string }[] {
  const legacy = fields['repr-digest'] === undefined && status !== 206
  const amzType = singleField(fields, 'x-amz-checksum-type')
  const amz = status !== 206 || amzType !== null
  const found = [
    { by: 'Repr-Digest', sha256: parseReprDigest(listField(fields, 'repr-digest')) },
    // Servers disagree on what they mean in a part of the content, so there they are left alone.
    { by: 'Digest', sha256: legacy ? parseLegacyDigest(listField(fields, 'digest')) : null },
    {
      by: 'x-amz-checksum-sha256',
      sha256: amz ? parseAmzChecksum(singleField(fields, 'x-amz-checksum-sha256') ?? '', amzType) : null,
    },
    { by: 'the URL', sha256: sha256OfUrl(askedUrl) },
  ]
  return found.flatMap(({ by, sha256 }) => (sha256 === null ? [] : [{ by, sha256 }]))
}

/**
 * Only from the same origin as the content and only over https: from anywhere else it would be somebody else's word. Plain
 * http counts on this machine itself, where nobody is on the line.
 */
function manifestUrlOf({ fields, url }: DeclaringAnswer): string | null {
  if (url.protocol !== 'https:' && !isLoopback(url.hostname)) return null
  for (const { target, parameters } of parseLinks(listField(fields, 'link'))) {
    // A link with an anchor is about something else than this answer (RFC 8288 §3.2).
    if (parameters.has('anchor') || !URL.canParse(target, url.href)) continue
    const relations = (parameters.get('rel') ?? '').toLowerCase().split(/[ \t]+/)
    const type = (parameters.get('type') ?? '').split(';', 1)[0]?.trim().toLowerCase()
    if (!relations.includes('describedby') || type !== MANIFEST_MEDIA_TYPE) continue
    const found = new URL(target, url.href)
    found.hash = ''
    const isOwn = found.origin === url.origin && found.username === '' && found.password === ''
    if (isOwn) return found.href
  }
  return null
}
