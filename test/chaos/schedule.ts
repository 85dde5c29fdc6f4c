/**
 * What happens in a chaos run, as a list made from a seed: what each host fetches, and which faults come when. Pure: the
 * same options give the same plan, so that a run that failed can be had again.
 *
 * How far a host gets in its list of fetches depends on the machine; what stands in the list, and all that has a time,
 * does not.
 */
import { type Random, seededRandom } from '../../src/clock.ts'
import type { ChaosEvent, ChaosPlan, ChaosResource, Fault, FaultKind, FetchPlan, PlanOptions } from './plan.ts'

export type * from './plan.ts'

const KIB = 1024
const MIB = 1024 * KIB
/** Small files are many; sizes on both sides of a segment's end; the mean is about 5 MiB. */
const SIZES = [
  KIB,
  20 * KIB,
  300 * KIB,
  MIB,
  MIB + 1,
  2 * MIB - 1,
  3 * MIB,
  3 * MIB,
  8 * MIB + 12_345,
  16 * MIB,
  24 * MIB,
]
/** A fetch draws from so many resources; with each second fetch of a host the oldest of them is replaced. */
const WINDOW = 12
const CROWD_SIZES = [3 * MIB, 8 * MIB, 24 * MIB]
/** No host gets further than that in a minute; a list that ends begins anew. */
const FETCHES_PER_MINUTE = 60
const FAULT_EVERY_MS = 3500
const JOB_EVERY_MS = 4000
const CROWD_EVERY_MS = 14_000
/** The branch is whole and at work before the first fault, and faults end before the run does. */
const FIRST_FAULT_MS = 4000
const LAST_MS = 2000
const MIN_FAULT_MS = 4000
const MAX_FAULT_MS = 14_000

/** How often each kind comes in a deck; a deck is dealt to its end before the next, so that no kind is left out. */
const DECK: Readonly<Record<FaultKind, number>> = {
  'daemon-killed': 3,
  'fetch-killed': 3,
  'host-cut': 1,
  'host-slow': 1,
  'lan-split': 1,
  'wan-slow': 1,
  'wan-cut': 1,
  'disk-full': 2,
  'peer-bad': 3,
  'origin-status': 2,
  'origin-cuts': 1,
  'origin-ignores-range': 1,
  'origin-gone': 1,
  'origin-silent': 1,
  'origin-changed': 3,
}

export const FAULT_KINDS = Object.keys(DECK) as readonly FaultKind[] // the keys of a literal are its type's

export function planOf(options: PlanOptions): ChaosPlan {
  const { seed, minutes, hosts, pace } = options
  const durationMs = Math.round(minutes * 60_000)
  const fetchCount = Math.max(20, Math.ceil(minutes * pace * FETCHES_PER_MINUTE))
  // Each part has a generator of its own, so that a change of one does not change the others.
  const resources = resourcesOf(seededRandom(seed * 16 + 1), { seed, count: WINDOW + Math.ceil(fetchCount / 2) })
  const fetches = Array.from({ length: hosts }, (_, at) =>
    fetchesOf(seededRandom(seed * 16 + 2 + at * 7919), fetchCount),
  )
  const crowd = crowdsOf(seededRandom(seed * 16 + 3), { seed, durationMs, pace, first: resources.length })
  const events: ChaosEvent[] = [
    ...crowd.events,
    ...jobsOf(seededRandom(seed * 16 + 4), { durationMs, hosts, pace, resources }),
    ...faultsOf(seededRandom(seed * 16 + 5), { durationMs, hosts, pace }),
  ]
  events.sort((one, other) => one.atMs - other.atMs)
  return { ...options, durationMs, resources: [...resources, ...crowd.resources], fetches, events }
}

function resourcesOf(random: Random, { seed, count }: { seed: number; count: number }): ChaosResource[] {
  return Array.from({ length: count }, (_, at) => ({ seed: contentSeed(seed, at), bytes: pick(random, SIZES) }))
}

/** Other runs have other content, within what a path can name. */
function contentSeed(seed: number, at: number): number {
  return (seed % 10_000) * 10_000 + at
}

function fetchesOf(random: Random, count: number): FetchPlan[] {
  return Array.from({ length: count }, (_, at) => ({
    resource: Math.floor(at / 2) + Math.floor(random() * WINDOW),
    isPinned: random() < 0.3,
    useOrigin: random() >= 0.12,
    priority: random() < 0.1 ? 'normal' : 'foreground',
  }))
}

interface Crowds {
  readonly resources: ChaosResource[]
  readonly events: ChaosEvent[]
}

function crowdsOf(random: Random, about: { seed: number; durationMs: number; pace: number; first: number }): Crowds {
  const resources: ChaosResource[] = []
  const events: ChaosEvent[] = []
  for (let atMs = 1000; atMs < about.durationMs - LAST_MS; atMs += (CROWD_EVERY_MS / about.pace) * (0.5 + random())) {
    const at = about.first + resources.length
    resources.push({ seed: contentSeed(about.seed, at), bytes: pick(random, CROWD_SIZES) })
    events.push({ kind: 'crowd', atMs: Math.round(atMs), resource: at })
  }
  return { resources, events }
}

function jobsOf(
  random: Random,
  about: { durationMs: number; hosts: number; pace: number; resources: readonly ChaosResource[] },
): ChaosEvent[] {
  const { durationMs, hosts, pace, resources } = about
  const events: ChaosEvent[] = []
  for (let atMs = 1500; atMs < durationMs - LAST_MS; atMs += (JOB_EVERY_MS / pace) * (0.5 + random())) {
    // Where the fetches are by then, about.
    const oldest = Math.floor((atMs / durationMs) * (resources.length - WINDOW))
    const resource = oldest + Math.floor(random() * WINDOW)
    const bytes = resources[resource]?.bytes ?? 1
    events.push({
      kind: 'job',
      atMs: Math.round(atMs),
      host: hostOf(random, hosts),
      resource,
      range: random() < 0.4 ? rangeOf(random, bytes) : null,
      isPinned: random() < 0.2,
      priority: random() < 0.5 ? 'foreground' : 'normal',
      autoComplete: random() < 0.7,
    })
  }
  return events
}

function rangeOf(random: Random, bytes: number): { startBytes: number; endBytes: number } {
  const startBytes = Math.floor(random() * bytes)
  return { startBytes, endBytes: startBytes + 1 + Math.floor(random() * (bytes - startBytes)) }
}

function faultsOf(random: Random, about: { durationMs: number; hosts: number; pace: number }): ChaosEvent[] {
  const events: ChaosEvent[] = []
  /** What is at fault, until when: two faults of one thing would end each other. */
  const busyUntilMs = new Map<string, number>()
  let deck: FaultKind[] = []
  const endMs = about.durationMs - LAST_MS
  for (
    let atMs = FIRST_FAULT_MS;
    atMs < endMs - MIN_FAULT_MS;
    atMs += (FAULT_EVERY_MS / about.pace) * (0.5 + random())
  ) {
    for (let tries = 0; tries < 4; tries++) {
      if (deck.length === 0) deck = shuffled(random)
      const kind = deck.shift() ?? 'fetch-killed'
      const longestMs = Math.min(MAX_FAULT_MS, endMs - atMs)
      const durationMs = Math.round(MIN_FAULT_MS + random() * (longestMs - MIN_FAULT_MS))
      const fault = faultOf(random, { kind, hosts: about.hosts, durationMs })
      const places = placesOf(fault)
      if (places.some((place) => (busyUntilMs.get(place) ?? 0) > atMs)) {
        deck.push(kind) // its turn comes when the other has ended
        continue
      }
      for (const place of places) busyUntilMs.set(place, atMs + durationMs + 1000)
      events.push({ atMs: Math.round(atMs), ...fault })
      break
    }
  }
  return events
}

function faultOf(random: Random, about: { kind: FaultKind; hosts: number; durationMs: number }): Fault {
  const { kind, hosts, durationMs } = about
  switch (kind) {
    case 'daemon-killed':
      // Most come back at once, as a service manager has it; others leave the commands to themselves for a while.
      return { kind, host: hostOf(random, hosts), durationMs: random() < 0.7 ? 0 : durationMs }
    case 'fetch-killed':
      return { kind, host: hostOf(random, hosts) }
    case 'host-cut':
      return { kind, host: hostOf(random, hosts), durationMs }
    case 'host-slow':
      return { kind, host: hostOf(random, hosts), mbit: 5, durationMs }
    case 'lan-split': {
      const all = Array.from({ length: hosts }, (_, at) => at + 1)
      const apart = all.filter(() => random() < 0.5)
      return { kind, hosts: apart.length === 0 || apart.length === hosts ? [hosts] : apart, durationMs }
    }
    case 'wan-slow':
      return { kind, mbit: 2, durationMs }
    case 'wan-cut':
      return { kind, durationMs: Math.min(durationMs, 10_000) }
    case 'disk-full':
      return { kind, disk: random() < 0.5 ? 'data' : 'targets', durationMs }
    case 'peer-bad':
      return { kind, mode: pick(random, ['corrupt', 'stall', 'deny'] as const), durationMs }
    case 'origin-status': {
      const status = pick(random, [429, 500, 503] as const)
      return { kind, status, retryAfterSeconds: status === 500 ? null : pick(random, [1, 3]), durationMs }
    }
    case 'origin-cuts':
      return { kind, afterBytes: pick(random, [256 * KIB, 2 * MIB]), durationMs }
    case 'origin-ignores-range':
    case 'origin-gone':
    case 'origin-silent':
      return { kind, durationMs }
    case 'origin-changed':
      return { kind, isCut: random() < 0.5 }
  }
}

/** What nobody else may be at while the fault lasts. */
export function placesOf(fault: Fault): readonly string[] {
  switch (fault.kind) {
    case 'daemon-killed':
    case 'host-cut':
    case 'host-slow':
      return [`host ${fault.host}`]
    case 'lan-split':
      return ['lan']
    case 'wan-slow':
    case 'wan-cut':
      return ['wan']
    case 'disk-full':
      return [`disk ${fault.disk}`]
    case 'peer-bad':
      return ['bad peer']
    case 'origin-status':
    case 'origin-cuts':
    case 'origin-ignores-range':
    case 'origin-gone':
    case 'origin-silent':
    case 'origin-changed':
      return ['origin']
    case 'fetch-killed':
      return []
  }
}

function shuffled(random: Random): FaultKind[] {
  const cards = FAULT_KINDS.flatMap((kind) => Array.from({ length: DECK[kind] }, () => kind))
  for (let at = cards.length - 1; at > 0; at--) {
    const other = Math.floor(random() * (at + 1))
    const [one, two] = [cards[at], cards[other]]
    if (one === undefined || two === undefined) continue
    cards[at] = two
    cards[other] = one
  }
  return cards
}

function hostOf(random: Random, hosts: number): number {
  return 1 + Math.floor(random() * hosts)
}

function pick<T>(random: Random, from: readonly [T, ...T[]] | readonly T[]): T {
  const found = from[Math.floor(random() * from.length)]
  if (found === undefined) throw new RangeError('Cannot pick from nothing')
  return found
}
