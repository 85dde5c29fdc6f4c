/** Whole segments whose bytes follow from their number, alike in every process of a test. */
import { SEGMENT_BYTES } from '../../src/content/segmentation.ts'
import { generatedContent } from '../support/generated-content.ts'

export function partSegment(index: number, lengthBytes = SEGMENT_BYTES): Buffer {
  return generatedContent(index + 1, lengthBytes).read(0, lengthBytes)
}
