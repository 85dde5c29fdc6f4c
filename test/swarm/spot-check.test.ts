import fc from 'fast-check'
import t from 'tap'
import { seededRandom } from '../../src/clock.ts'
import { SEGMENT_BYTES } from '../../src/content/segmentation.ts'
import { SPOT_CHECK_BYTES, sampleAround, spotCheckChance, spotCheckRange } from '../../src/swarm/spot-check.ts'

const segmentBytes = fc.integer({ min: 1, max: SEGMENT_BYTES })

await t.test('all members together sample less than a hundredth of a segment on average', async () => {
  fc.assert(
    fc.property(segmentBytes, fc.integer({ min: 1, max: 5000 }), (bytes, memberCount) => {
      const sampleBytes = Math.min(SPOT_CHECK_BYTES, bytes)
      const receivers = Math.max(1, memberCount - 1)
      return receivers * spotCheckChance(bytes, memberCount) * sampleBytes <= 0.006 * bytes * 1.000001
    }),
  )
})

await t.test('who is alone with another checks every whole segment, and short content seldom', async (t) => {
  t.equal(spotCheckChance(SEGMENT_BYTES, 2), 1)
  t.equal(spotCheckChance(SEGMENT_BYTES, 1), 1)
  t.ok(spotCheckChance(SEGMENT_BYTES, 6) > 0.3)
  t.ok(spotCheckChance(20_000, 6) < 0.01)
})

await t.test('a sample lies in the segment and is as long as one is', async () => {
  fc.assert(
    fc.property(segmentBytes, fc.nat(), (bytes, seed) => {
      const { start, end } = spotCheckRange(bytes, seededRandom(seed))
      return start >= 0 && end <= bytes && end - start === Math.min(SPOT_CHECK_BYTES, bytes)
    }),
  )
})

await t.test('no place in a segment is safe from samples', async (t) => {
  const random = seededRandom(1)
  const isSeen = new Array<boolean>(256).fill(false)
  for (let count = 0; count < 4000; count++) {
    const { start, end } = spotCheckRange(SEGMENT_BYTES, random)
    isSeen[Math.floor(start / 4096)] = true
    isSeen[Math.floor((end - 1) / 4096)] = true
  }
  t.ok(isSeen.every(Boolean))
})

await t.test('a sample around a place has it', async () => {
  fc.assert(
    fc.property(segmentBytes, fc.nat(), (bytes, at) => {
      const offset = at % bytes
      const { start, end } = sampleAround(offset, bytes)
      return start >= 0 && end <= bytes && start <= offset && offset < end
    }),
  )
})
