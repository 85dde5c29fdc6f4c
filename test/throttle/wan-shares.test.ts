import fc from 'fast-check'
import t from 'tap'
import { GOVERNED, PRIORITIES } from '../../src/throttle/priority.ts'
import { PHASES } from '../../src/throttle/wan-sample.ts'
import {
  isUserAmong,
  leadOf,
  shareOf,
  topPriority,
  type WanReport,
  type WanUser,
} from '../../src/throttle/wan-shares.ts'

const MBIT = 125_000
const FLOOR = 0.25 * MBIT

function reportOf(rest: Partial<WanReport> = {}): WanReport {
  return {
    priority: 'normal',
    readBytesPerSec: 0,
    arrivedBytesPerSec: 0,
    isLimited: true,
    isUserHere: false,
    law: { phase: 'cruise', bytesPerSec: 0, capacityBytesPerSec: null },
    ...rest,
  }
}

const rate = fc.double({ min: 0, max: 1e9, noNaN: true })
const report = fc.record<WanReport>({
  priority: fc.constantFrom(...PRIORITIES),
  readBytesPerSec: rate,
  arrivedBytesPerSec: rate,
  isLimited: fc.boolean(),
  isUserHere: fc.boolean(),
  law: fc.record({
    phase: fc.constantFrom(...PHASES),
    bytesPerSec: rate,
    capacityBytesPerSec: fc.option(rate),
  }),
})
const users = fc
  .uniqueArray(fc.string({ minLength: 1, maxLength: 4 }), { minLength: 1, maxLength: 12 })
  .chain((keys) => fc.tuple(...keys.map((key) => fc.record<WanUser>({ key: fc.constant(key), report }))))
const total = fc.maxSafeNat()

const sum = (values: readonly number[]) => values.reduce((before, value) => before + value, 0)

/** All of them divide the same. */
function shares(all: readonly WanUser[], totalBytesPerSec: number): Map<string, number> {
  const options = { users: all, totalBytesPerSec, floorBytesPerSec: FLOOR }
  return new Map(all.map(({ key }) => [key, shareOf(key, options)]))
}

await t.test('those with the most urgent work together get the total or less, all others a floor or less', async () => {
  fc.assert(
    fc.property(users, total, (all, totalBytesPerSec) => {
      const top = topPriority(all)
      const byKey = shares(all, totalBytesPerSec)
      const of = (isTop: boolean) =>
        sum(
          all.filter((user) => (user.report.priority === top) === isTop).map(({ key }) => byKey.get(key) ?? Number.NaN),
        )
      return of(true) <= totalBytesPerSec * (1 + 1e-9) && of(false) <= FLOOR * (1 + 1e-9)
    }),
  )
})

await t.test('who wants more gets no less than an even share, who wants less at least a quarter of it', async () => {
  fc.assert(
    fc.property(users, total, (all, totalBytesPerSec) => {
      const peers = all.filter((user) => user.report.priority === topPriority(all))
      const byKey = shares(all, totalBytesPerSec)
      const even = totalBytesPerSec / peers.length
      return peers.every(({ key, report }) => {
        const share = byKey.get(key) ?? -1
        return report.isLimited ? share >= even * (1 - 1e-9) : share >= (even / 4) * (1 - 1e-9)
      })
    }),
  )
})

await t.test('when somebody wants more, nothing of the total is left over', async () => {
  fc.assert(
    fc.property(users, total, (all, totalBytesPerSec) => {
      const peers = all.filter((user) => user.report.priority === topPriority(all))
      if (!peers.some((user) => user.report.isLimited)) return true
      const byKey = shares(all, totalBytesPerSec)
      return sum(peers.map(({ key }) => byKey.get(key) ?? 0)) >= totalBytesPerSec * (1 - 1e-9)
    }),
  )
})

await t.test('in whatever order they are known, the answer is the same', async () => {
  fc.assert(
    fc.property(
      users.chain((all) => fc.tuple(fc.constant(all), fc.shuffledSubarray(all, { minLength: all.length }))),
      total,
      ([all, shuffled], totalBytesPerSec) => {
        const one = shares(all, totalBytesPerSec)
        const other = shares(shuffled, totalBytesPerSec)
        return leadOf(all)?.key === leadOf(shuffled)?.key && [...one].every(([key, share]) => other.get(key) === share)
      },
    ),
  )
})

await t.test('what a modest one cannot use goes to the others, with something to spare', async (t) => {
  const all: WanUser[] = [
    { key: 'a', report: reportOf() },
    { key: 'b', report: reportOf({ isLimited: false, readBytesPerSec: 2 * MBIT }) },
    { key: 'c', report: reportOf() },
  ]
  const byKey = shares(all, 12 * MBIT)
  t.equal(byKey.get('b'), 2.5 * MBIT)
  t.equal(byKey.get('a'), 4.75 * MBIT)
  t.equal(byKey.get('c'), 4.75 * MBIT)
})

await t.test('less urgent work gets a trickle, and who is not among them nothing', async (t) => {
  const all: WanUser[] = [
    { key: 'a', report: reportOf({ priority: 'low' }) },
    { key: 'b', report: reportOf({ priority: 'high' }) },
    { key: 'c', report: reportOf({ priority: 'normal' }) },
    { key: 'd', report: reportOf({ priority: 'foreground' }) },
  ]
  const byKey = shares(all, 100 * MBIT)
  t.equal(byKey.get('b'), 100 * MBIT)
  t.equal(byKey.get('a'), FLOOR / 4)
  t.equal(byKey.get('c'), FLOOR / 4)
  t.equal(shareOf('x', { users: all, totalBytesPerSec: 100 * MBIT, floorBytesPerSec: FLOOR }), 0)
})

await t.test('the lead is the lowest key of those with the most urgent governed work', async (t) => {
  t.equal(leadOf([]), null)
  t.equal(leadOf([{ key: 'a', report: reportOf({ priority: 'foreground' }) }]), null, 'foreground needs none')
  t.equal(topPriority([{ key: 'a', report: reportOf({ priority: null }) }]), null)
  fc.assert(
    fc.property(users, (all) => {
      const top = GOVERNED.find((level) => all.some((user) => user.report.priority === level)) ?? null
      const keys = all.filter((user) => user.report.priority === top).map(({ key }) => key)
      const least = keys.reduce<string | null>((one, key) => (one === null || key < one ? key : one), null)
      return topPriority(all) === top && (leadOf(all)?.key ?? null) === (top === null ? null : least)
    }),
  )
})

await t.test('a person waits where foreground work reads, or where a machine says so', async (t) => {
  const of = (rest: Partial<WanReport>) => isUserAmong([{ key: 'a', report: reportOf(rest) }])
  t.notOk(isUserAmong([]))
  t.notOk(of({ readBytesPerSec: 1e6 }))
  t.notOk(of({ priority: 'foreground' }), 'not where it waits for its origin')
  t.ok(of({ priority: 'foreground', readBytesPerSec: 1 }))
  t.ok(of({ isUserHere: true }))
})
