/**
 * How content is cut: fixed segments of 1 MiB, the last one shorter. The size is a protocol constant, part of every
 * resource's identity, and not a setting: agents with different values could not share.
 */
export const SEGMENT_BYTES = 1024 * 1024

/**
 * The longest content we handle: 1 TiB, so 1,048,576 segments and 32 MiB of hashes.
 * It bounds what a stranger's length field can make us allocate.
 */
export const MAX_CONTENT_BYTES = 2 ** 40
export const MAX_SEGMENT_COUNT = MAX_CONTENT_BYTES / SEGMENT_BYTES

/** Half-open range of bytes, [start, end). */
export interface ByteRange {
  readonly start: number
  readonly end: number
}

/** Half-open range of segment positions, [start, end). */
export interface SegmentRange {
  readonly start: number
  readonly end: number
}

export function segmentCount(lengthBytes: number): number {
  return Math.ceil(lengthBytes / SEGMENT_BYTES)
}

/** The bytes of the segment at `index` in content of `lengthBytes`. */
export function segmentBytes(index: number, lengthBytes: number): ByteRange {
  const start = index * SEGMENT_BYTES
  return { start, end: Math.min(start + SEGMENT_BYTES, lengthBytes) }
}

export function segmentLength(index: number, lengthBytes: number): number {
  const { start, end } = segmentBytes(index, lengthBytes)
  return Math.max(0, end - start)
}

export function isContentLength(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0 && value <= MAX_CONTENT_BYTES
}
