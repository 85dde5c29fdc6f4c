import fc from 'fast-check'
import t from 'tap'
import { FAULT_KINDS, type Fault, placesOf, planOf } from './schedule.ts'

const SOME_OPTIONS = fc.record({
  seed: fc.integer({ min: 0, max: 1_000_000 }),
  minutes: fc.double({ min: 0.2, max: 6, noNaN: true }),
  hosts: fc.integer({ min: 2, max: 12 }),
  pace: fc.double({ min: 0.1, max: 2, noNaN: true }),
})

function faultsOf(events: ReturnType<typeof planOf>['events']): ({ readonly atMs: number } & Fault)[] {
  return events.flatMap((event) => (event.kind === 'job' || event.kind === 'crowd' ? [] : [event]))
}

function endMs(fault: { readonly atMs: number } & Fault): number {
  return fault.atMs + ('durationMs' in fault ? fault.durationMs : 0)
}

t.test('the same seed gives the same plan, another seed another one', (t) => {
  const options = { seed: 7, minutes: 2, hosts: 6, pace: 1 }
  t.strictSame(planOf(options), planOf(options))
  t.notSame(planOf(options).events, planOf({ ...options, seed: 8 }).events)
  t.notSame(planOf(options).fetches, planOf({ ...options, seed: 8 }).fetches)
  t.end()
})

t.test('a run of a few minutes has every kind of fault', (t) => {
  const seen = new Set(faultsOf(planOf({ seed: 3, minutes: 4, hosts: 6, pace: 1 }).events).map(({ kind }) => kind))
  t.strictSame([...seen].sort(), [...FAULT_KINDS].sort())
  t.end()
})

t.test('every plan can be carried out: hosts, resources and ranges are there, in the order of time', (t) => {
  fc.assert(
    fc.property(SOME_OPTIONS, (options) => {
      const { resources, fetches, events, hosts, durationMs } = planOf(options)
      const isThere = (resource: number) => resources[resource] !== undefined
      if (fetches.length !== hosts || !fetches.flat().every(({ resource }) => isThere(resource))) return false
      let lastMs = 0
      for (const event of events) {
        if (event.atMs < lastMs || event.atMs > durationMs) return false
        lastMs = event.atMs
        if ('host' in event && (event.host < 1 || event.host > hosts)) return false
        if ('resource' in event && !isThere(event.resource)) return false
        if (event.kind === 'lan-split' && (event.hosts.length === 0 || event.hosts.length === hosts)) return false
        if (event.kind !== 'job' || event.range === null) continue
        const { startBytes, endBytes } = event.range
        if (startBytes < 0 || startBytes >= endBytes || endBytes > (resources[event.resource]?.bytes ?? 0)) return false
      }
      return true
    }),
    { numRuns: 60 },
  )
  t.end()
})

t.test('no two faults are at one thing at the same time, and all end before the run does', (t) => {
  fc.assert(
    fc.property(SOME_OPTIONS, (options) => {
      const { events, durationMs } = planOf(options)
      const freeFromMs = new Map<string, number>()
      for (const fault of faultsOf(events)) {
        if (endMs(fault) > durationMs) return false
        for (const place of placesOf(fault)) {
          if (fault.atMs < (freeFromMs.get(place) ?? 0)) return false
          freeFromMs.set(place, endMs(fault))
        }
      }
      return true
    }),
    { numRuns: 60 },
  )
  t.end()
})
