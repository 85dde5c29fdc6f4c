import fc from 'fast-check'
import t from 'tap'
import { PositionSet } from '../../src/content/position-set.ts'

const CAPACITY = 77 // no multiple of 8

await t.test('it behaves like a Set that ignores what the content does not have', async () => {
  const index = fc.integer({ min: -10, max: CAPACITY + 10 })
  const step = fc.oneof(
    fc.record({ do: fc.constantFrom('add', 'delete'), start: index }),
    fc.record({ do: fc.constantFrom('addRange', 'deleteRange'), start: index, end: index }),
  )
  const runsOf = (values: readonly number[]) => {
    const runs: { start: number; end: number }[] = []
    for (const value of values) {
      const last = runs.at(-1)
      if (last?.end === value) last.end++
      else runs.push({ start: value, end: value + 1 })
    }
    return runs
  }
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      const set = new PositionSet(CAPACITY)
      const model = new Set<number>()
      for (const { do: verb, start, ...rest } of steps) {
        const end = 'end' in rest ? Number(rest.end) : start + 1
        for (let position = start; position < end; position++) {
          if (position < 0 || position >= CAPACITY) continue
          if (verb.startsWith('add')) model.add(position)
          else model.delete(position)
        }
        if (verb === 'add') set.add(start)
        else if (verb === 'delete') set.delete(start)
        else if (verb === 'addRange') set.addRange({ start, end })
        else set.deleteRange({ start, end })
      }
      const expected = [...model].sort((a, b) => a - b)
      for (let at = -2; at < CAPACITY + 10; at++) {
        if (set.has(at) !== model.has(at)) return false
        if (set.next(at) !== (expected.find((value) => value >= at) ?? -1)) return false
      }
      return (
        set.size === model.size &&
        set.isFull === (model.size === CAPACITY) &&
        JSON.stringify([...set.values()]) === JSON.stringify(expected) &&
        JSON.stringify(set.ranges()) === JSON.stringify(runsOf(expected))
      )
    }),
    { numRuns: 300 },
  )
})

await t.test('with another set it does what Sets do, and touches nothing but itself', async () => {
  const positions = fc.uniqueArray(fc.nat(CAPACITY - 1), { maxLength: CAPACITY })
  const setOf = (values: Iterable<number>) => {
    return PositionSet.of(
      CAPACITY,
      [...values].map((start) => ({ start, end: start + 1 })),
    )
  }
  const isSame = (set: PositionSet, model: Iterable<number>) => {
    const expected = [...model].sort((a, b) => a - b)
    return set.size === expected.length && JSON.stringify([...set.values()]) === JSON.stringify(expected)
  }
  fc.assert(
    fc.property(positions, positions, fc.integer({ min: -5, max: CAPACITY + 5 }), (ours, others, from) => {
      const [set, other] = [setOf(ours), setOf(others)]
      const [union, rest, copy] = [set.copy(), set.copy(), set.copy()]
      union.addAll(other)
      rest.deleteAll(other)
      copy.clear()
      copy.add(3)
      const common = ours.filter((index) => index >= from && others.includes(index))
      return (
        isSame(set, ours) &&
        isSame(other, others) &&
        isSame(union, new Set([...ours, ...others])) &&
        isSame(
          rest,
          ours.filter((index) => !others.includes(index)),
        ) &&
        isSame(copy, [3]) &&
        set.nextCommon(other, from) === (common.length > 0 ? Math.min(...common) : -1)
      )
    }),
    { numRuns: 500 },
  )
})

await t.test('add() and delete() say whether they changed anything', async (t) => {
  const set = new PositionSet(3)
  t.same([set.add(1), set.add(1), set.add(3), set.add(-1)], [true, false, false, false])
  t.same([set.delete(1), set.delete(1), set.delete(3)], [true, false, false])
})

await t.test('full and empty are the ends, also of content without segments', async (t) => {
  t.ok(PositionSet.full(9).isFull)
  t.same(PositionSet.full(9).ranges(), [{ start: 0, end: 9 }])
  t.ok(PositionSet.full(0).isFull)
  t.same(new PositionSet(0).ranges(), [])
  t.equal(new PositionSet(9).next(0), -1)
})

await t.test('a range from a stranger costs no more than the content', async (t) => {
  const set = new PositionSet(8)
  set.addRange({ start: -(2 ** 53), end: 2 ** 53 })
  t.ok(set.isFull)
  set.deleteRange({ start: 5, end: Number.POSITIVE_INFINITY })
  t.same(set.ranges(), [{ start: 0, end: 5 }])
  t.same(PositionSet.of(8, [{ start: 6, end: 2 ** 53 }]).ranges(), [{ start: 6, end: 8 }])
})
