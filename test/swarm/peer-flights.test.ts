import t from 'tap'
import { type AgentKey, idFromBytes } from '../../src/content/ids.ts'
import { PositionSet } from '../../src/content/position-set.ts'
import { PeerFlights } from '../../src/swarm/peer-flights.ts'
import type { Flight } from '../../src/swarm/stragglers.ts'

const MIB = 1024 * 1024
const key = (seed: number) => idFromBytes<AgentKey>(Buffer.alloc(32, seed))
const [SLOW, FAST] = [key(1), key(2)]

function setUp() {
  const flights = new PeerFlights<Flight>({ maxCount: 6 })
  let index = 0
  const begin = (peer: AgentKey, startedAtMs: number): Flight => {
    const flight = { index: index++, peer, startedAtMs }
    flights.begin(flight)
    return flight
  }
  return { flights, begin }
}

void t.test('room grows as segments come quickly, and what is under way takes of it', (t) => {
  const { flights, begin } = setUp()
  t.equal(flights.room(0, 0), 2)
  const some = [begin(FAST, 0), begin(FAST, 0)]
  t.equal(flights.room(0, 0), 0)
  for (const flight of some) flights.landed(flight, 100)
  t.equal(flights.room(0, 100), 4, 'a place is taken until its segment is stored')
  for (const flight of some) flights.end(flight)
  t.equal(flights.room(0, 100), 6)
  t.equal(flights.room(1, 100), 4, 'for who fetches from the origin too, it grows one by one')
  t.end()
})

void t.test('over a slow link few are asked for, and none by who fetches for all', (t) => {
  const { flights, begin } = setUp()
  begin(SLOW, 0)
  t.equal(flights.room(1, 1000), 1)
  t.equal(flights.room(1, 2500), -1, 'nothing came for long')
  t.equal(flights.room(0, 2500), 1)
  t.end()
})

// Found: two that hung at one neighbour were all that was asked for, and the others were never tried.
void t.test('where nothing comes for long, one more is asked for', (t) => {
  const { flights, begin } = setUp()
  begin(SLOW, 0)
  begin(SLOW, 0)
  t.equal(flights.room(0, 2500), 0)
  t.equal(flights.room(0, 3500), 1)
  begin(FAST, 3500)
  t.equal(flights.room(0, 3500), 0)
  t.end()
})

void t.test(
  'a neighbour is believed to be no faster than the oldest that it owes, and is left for a faster one',
  (t) => {
    const { flights, begin } = setUp()
    const late = begin(SLOW, 0)
    begin(SLOW, 1900)
    begin(FAST, 1990)
    t.equal(flights.rateOf(SLOW, 10 * MIB, 2000), MIB / 2)
    t.equal(flights.rateOf(FAST, 10 * MIB, 2000), 10 * MIB)
    t.same(
      flights.of(SLOW).map(({ index }) => index),
      [0, 1],
    )
    const peers = [SLOW, FAST].map((peer) => ({
      key: peer,
      holds: PositionSet.full(8),
      inFlightCount: flights.of(peer).length,
      bytesPerSec: flights.rateOf(peer, 10 * MIB, 2000),
      state: 'ready' as const,
    }))
    t.same(flights.overtaken(peers, { nowMs: 2000, perPeerInFlight: 2 }), [late])
    flights.end(late)
    t.same(flights.overtaken(peers, { nowMs: 2000, perPeerInFlight: 2 }), [])
    t.end()
  },
)
