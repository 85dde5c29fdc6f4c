/**
 * What is known of a resource so far: position -> (hash, trust, signers), sparse. Sealed into a manifest when complete.
 *
 * Invariants:
 * 1. A hash is only entered from a statement whose signature was checked, from our own fetch, or from a trusted manifest.
 * 2. Two members that disagree about a position: neither is believed, the position is unknown again and stays disputed
 *    until we fetched it ourselves. Our own word is final among members.
 * 3. A hash that a digest of the whole vouches for (declared, pinned) is never replaced by a statement.
 *
 * Pure: holds no bytes, does no I/O.
 */
import { ShorthaulError } from '../errors.ts'
import { contentRoot } from './digest.ts'
import type { AgentKey, SegmentHash } from './ids.ts'
import type { Manifest } from './manifest.ts'
import { segmentCount } from './segmentation.ts'
import type { Statement } from './statement.ts'

/** How a hash is known, weakest first: a member signed it, the origin declared it, the user pinned it. */
export type Trust = 'attested' | 'declared' | 'pinned'

export interface DraftEntry {
  readonly hash: SegmentHash
  readonly trust: Trust
  /** Who signed it, first come first; null when a digest of the whole vouches for it and nobody's word is known. */
  readonly signer: AgentKey | null
}

export class Draft {
  readonly lengthBytes: number
  readonly segmentCount: number
  readonly #self: AgentKey
  readonly #entries = new Map<number, DraftEntry>()
  /** With what members said of each, as far as it is kept. */
  readonly #disputed = new Map<number, readonly DraftEntry[]>()

  /** @param self our own key: what it signed outranks what others signed */
  constructor(lengthBytes: number, self: AgentKey) {
    this.lengthBytes = lengthBytes
    this.segmentCount = segmentCount(lengthBytes)
    this.#self = self
  }

  get knownCount(): number {
    return this.#entries.size
  }

  get isComplete(): boolean {
    return this.#entries.size === this.segmentCount
  }

  entry(index: number): DraftEntry | undefined {
    return this.#entries.get(index)
  }

  /** Positions of which no member is believed, in no order. */
  get disputed(): Iterable<number> {
    return this.#disputed.keys()
  }

  isDisputed(index: number): boolean {
    return this.#disputed.has(index)
  }

  /**
   * Enters an authentic statement; the caller has checked its signature.
   * @returns positions that became known, or whose first signer did, and positions that became disputed by it
   */
  add(statement: Statement): { readonly learnt: number[]; readonly disputed: number[] } {
    const learnt: number[] = []
    const disputed: number[] = []
    const isOwn = statement.signer === this.#self
    for (const [offset, hash] of statement.hashes.entries()) {
      const index = statement.firstIndex + offset
      if (index >= this.segmentCount) break
      const known = this.#entries.get(index)
      if (isOwn) {
        // A digest of the whole outranks even us: we fetched something else then, or it is an old word of ours.
        if (known !== undefined && known.trust !== 'attested' && known.hash !== hash) continue
        if (known?.hash !== hash) learnt.push(index)
        this.#disputed.delete(index)
        this.#entries.set(index, { hash, trust: known?.hash === hash ? known.trust : 'attested', signer: this.#self })
      } else if (known === undefined) {
        if (this.#disputed.has(index)) continue
        this.#entries.set(index, { hash, trust: 'attested', signer: statement.signer })
        learnt.push(index)
      } else if (known.hash === hash && known.signer === null) {
        // A digest vouches for it here; others, who do not have that, need the word of somebody.
        this.#entries.set(index, { ...known, signer: statement.signer })
        learnt.push(index)
      } else if (known.hash !== hash && known.trust === 'attested' && known.signer !== this.#self) {
        this.#entries.delete(index)
        this.#disputed.set(index, [known, { hash, trust: 'attested', signer: statement.signer }])
        disputed.push(index)
      }
    }
    return { learnt, disputed }
  }

  /**
   * Enters a whole manifest that a digest vouches for; it overrules what members signed, and what we did.
   * @throws SHORTHAUL_MANIFEST_INVALID when it is of content of another length
   */
  addManifest(manifest: Manifest, trust: Exclude<Trust, 'attested'>): void {
    if (manifest.lengthBytes !== this.lengthBytes || manifest.hashes.length !== this.segmentCount) {
      throw new ShorthaulError(
        'SHORTHAUL_MANIFEST_INVALID',
        `Cannot use a manifest: it is of ${manifest.lengthBytes} bytes, expected ${this.lengthBytes}`,
      )
    }
    for (const [index, hash] of manifest.hashes.entries()) {
      const known = this.#entries.get(index)
      this.#disputed.delete(index)
      this.#entries.set(index, { hash, trust, signer: known?.hash === hash ? known.signer : null })
    }
  }

  /** True when a digest vouches for every position: nobody's word is needed. */
  get isVouchedFor(): boolean {
    if (!this.isComplete) return false
    for (const { trust } of this.#entries.values()) if (trust === 'attested') return false
    return true
  }

  /** Takes back what `addManifest` entered, because the content contradicts it. What we fetched ourselves stays. */
  withdrawManifest(): void {
    for (const [index, { hash, trust, signer }] of this.#entries) {
      if (trust === 'attested') continue
      if (signer === this.#self) this.#entries.set(index, { hash, trust: 'attested', signer })
      else this.#entries.delete(index)
    }
  }

  /** Forgets a position whose bytes turned out wrong, so that it is fetched from the origin. */
  dispute(index: number): void {
    const known = this.#entries.get(index)
    this.#entries.delete(index)
    this.#disputed.set(index, known ? [known] : [])
  }

  /** Members that signed another hash of the position than this, which we had from the origin. */
  contradictors(index: number, hash: SegmentHash): AgentKey[] {
    const known = this.#entries.get(index)
    const said = [...(known ? [known] : []), ...(this.#disputed.get(index) ?? [])]
    const isForeign = (entry: DraftEntry) => entry.trust === 'attested' && entry.signer !== this.#self
    return said.filter((entry) => entry.hash !== hash && isForeign(entry)).flatMap(({ signer }) => signer ?? [])
  }

  /**
   * Forgets all that rests on the word of one member, so that it is learnt anew, from others.
   * @returns the positions that were known by it
   */
  forget(signer: AgentKey): number[] {
    const forgotten: number[] = []
    for (const [index, entry] of this.#entries) {
      if (entry.signer !== signer || entry.trust !== 'attested') continue
      this.#entries.delete(index)
      forgotten.push(index)
    }
    return forgotten
  }

  /** @throws SHORTHAUL_MANIFEST_INVALID when positions are missing */
  seal(): Manifest {
    const hashes: SegmentHash[] = []
    for (let index = 0; index < this.segmentCount; index++) {
      const entry = this.#entries.get(index)
      if (!entry) {
        throw new ShorthaulError('SHORTHAUL_MANIFEST_INVALID', `Cannot seal a draft: position ${index} is unknown`)
      }
      hashes.push(entry.hash)
    }
    return { lengthBytes: this.lengthBytes, hashes, root: contentRoot(hashes, this.lengthBytes) }
  }
}
