/** What a transfer is asked for, what it tells while it runs, and what it returns. Plain data: it crosses the control socket. */
import type { AgentKey, ResourceId, SegmentHash } from '../content/ids.ts'
import type { VerifiedBytes } from '../content/verified.ts'
import type { Priority } from '../throttle/priority.ts'
import type { Hold } from '../throttle/wan-governor.ts'
import type { ShownTrust } from './shown-trust.ts'

/** A part of a URL: half-open; null: to the end. */
export interface FileRange {
  readonly startBytes: number
  readonly endBytes: number | null
}

export interface TransferRequest {
  /** Absolute http, https or file URL. */
  readonly url: string
  readonly headers: readonly (readonly [name: string, value: string])[]
  /** Lower-case hex of what must be in the target: pins the result, whatever the origin says. */
  readonly sha256: string | null
  readonly priority: Priority
  readonly usePeers: boolean
  readonly useOrigin: boolean
  /** Cap on bytes from the origin; null: none. The LAN is not capped by it. */
  readonly originMaxBytesPerSec: number | null
  /** `auto`, the default: as the agent's environment says; `none`; or the URL of a proxy, perhaps with a secret in it. */
  readonly proxy?: string | undefined
  /**
   * What the target wants of the content, in the order in which it stands there; without overlap, and only the last may be
   * open. The delivery must have been opened for the same. Null, or absent: all.
   */
  readonly ranges?: readonly FileRange[] | null | undefined
}

export interface SourceBytes {
  readonly cache: number
  readonly peer: number
  readonly origin: number
}

export interface TransferProgress {
  readonly event: 'progress'
  readonly bytesDone: number
  /** Null while the origin has not said. */
  readonly bytesTotal: number | null
  /** Over the last seconds. */
  readonly bytesPerSec: number
  readonly sources: SourceBytes
}

/** Something the user should hear once: a degradation, a restart, a liar. */
export interface TransferNote {
  readonly event: 'note'
  readonly note:
    | 'no-head'
    | 'no-range'
    | 'no-length'
    | 'no-validator'
    | 'weak-validator'
    | 'private'
    | 'origin-changed'
    | 'origin-retry'
    | 'peer-corrupt'
    | 'hash-disputed'
    | 'peer-lied'
    | 'cache-full'
    | 'held'
    /** What the origin declares came over plain http. */
    | 'declared-in-clear'
    /** The origin names a manifest that was not had, or is of something else. */
    | 'manifest-unused'
  readonly message: string
  readonly peer?: AgentKey
}

/** Said when nothing may be had from the origin for now. */
export function heldNote({ text }: Hold): TransferNote {
  return { event: 'note', note: 'held', message: `Waiting: ${text}` }
}

export type TransferEvent = TransferProgress | TransferNote

export interface TransferResult {
  readonly bytes: number
  readonly sha256: string
  /** How the content of the target is known. */
  readonly trust: ShownTrust
  readonly sources: SourceBytes
  /** Fetched but not in the target: corrupt, cut, duplicate, of an old generation, or beside the ranges that are wanted. */
  readonly wastedBytes: number
  /** Had from the origin to compare with what neighbours gave. */
  readonly checkedBytes: number
  readonly durationMs: number
}

/** A part whose content another process of the same user may write (lent-part.ts). */
export interface PartOffer {
  /** For messages. */
  readonly target: string
  /** Of the part. */
  readonly path: string
  /** Tells whether another process finds the same file at `path`: device and inode. */
  readonly file: string
}

/**
 * Where verified bytes go. Implementations: PartFile (a file), PipeDelivery (a stream, in order), RemoteDelivery (the
 * other end of the control socket). The transfer calls begin, then write in any order within the window, then digest,
 * then complete; or abandon at any time. Lengths are those of the content, also when the target wants only a part of it.
 */
export interface Delivery {
  /** Hashes of the whole segments that an earlier run left, by position; [] when there are none or nobody may look. */
  leftOver(): Promise<readonly (SegmentHash | null)[]>
  /** @param lengthBytes null when the origin does not say; it is then known at `complete` */
  begin(content: { readonly resource: ResourceId | null; readonly lengthBytes: number | null }): Promise<void>
  /** Accepts a position that `leftOver` reported: its bytes are there already. */
  keep(index: number): Promise<void>
  /** Resolves when the bytes are no longer needed: their buffer is then used again. */
  write(index: number, segment: VerifiedBytes): Promise<void>
  /** First position that may not be written yet. Infinity unless order matters. */
  windowEnd(): number
  /** Calls back when the window moved. */
  onWindow(listener: () => void): void
  /** Throws away what was written: another generation comes. @throws when that is impossible (a pipe already wrote) */
  restart(): Promise<void>
  /** SHA-256 of all bytes of the target, hex; all positions that it wants are there. */
  digest(lengthBytes: number): Promise<string>
  /** Makes the target appear, whole. */
  complete(lengthBytes: number): Promise<void>
  /** Ends without a target; what can be resumed is kept. Idempotent, and harmless after complete. */
  abandon(): Promise<void>
  /** The file that holds the bytes while the transfer runs, when this process can read it; else null. */
  readonly localPath: string | null
  /** For a process that writes the content by itself, from `begin` to `digest`. Absent: nobody can. */
  offer?(): Promise<PartOffer>
}
