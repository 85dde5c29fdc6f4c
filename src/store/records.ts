/** What the index knows of a resource; the plaintext side of the store, never sent to anyone. */
import type { ContentRoot, ResourceId } from '../content/ids.ts'
import type { Identification, Resource, Visibility } from '../content/resource.ts'

export interface ResourceRecord {
  readonly id: ResourceId
  readonly resource: Resource
  readonly visibility: Visibility
  /** After redirects, redacted: for people. */
  readonly finalUrl: string
  /** Set when the manifest is complete. */
  readonly root: ContentRoot | null
  /** SHA-256 of the whole, hex: pinned by a user, declared by the origin, or computed at delivery; null when unknown. */
  readonly sha256: string | null
  /** What a user pinned and the whole was found to have; null: nobody did. */
  readonly pinnedSha256: string | null
  /** What the origin declared last of this generation; proven when it is `sha256`. */
  readonly declaredSha256: string | null
  /** The newest signed word on what the URL names; ours or a neighbour's. */
  readonly identification: Identification | null
  readonly createdAtMs: number
  readonly lastUsedAtMs: number
  readonly isPinned: boolean
}
