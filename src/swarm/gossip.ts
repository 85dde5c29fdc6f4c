/**
 * Who tells whom what about the fetchers of one resource. Pure: (what was heard, now, random) -> what to send.
 *
 * A fetcher tells its neighbours of itself. Who has more neighbours in the crowd than a fetcher is connected to would never
 * hear of it, so everybody passes on what it knows of the few that matter, but only to those who do not hear it first-hand:
 * in a branch where all are connected, each tells each once that it needs no telling, and nothing is passed on after that.
 *
 * Bounded: MAX_FETCHERS states, to at most FANOUT neighbours for each change, at most every RELAY_MS.
 */
import type { Random } from '../clock.ts'
import type { ToldState } from '../content/fetcher-state.ts'
import type { AgentKey } from '../content/ids.ts'
import type { Crowd } from './crowd.ts'
import { Knowledge } from './knowledge.ts'

/** Long enough that the others' word comes first, short enough that ranks get about in a few rounds. */
const RELAY_MS = 60
/** Each change reaches 1 - e^-8 of the branch; the rest hear the next one. */
const FANOUT = 8
/** While it fetches: to other fetchers, whose lead measures by it, and to everybody. */
const RENEW_FOR_FETCHERS_MS = 250
const RENEW_MS = 1000

export class Gossip {
  readonly #crowd: Crowd
  readonly #self: AgentKey
  readonly #random: Random
  /** In the crowd. */
  readonly #neighbours: AgentKey[] = []
  /** Where a neighbour is in the list. */
  readonly #places = new Map<AgentKey, number>()
  /** What the neighbours know, by the agent that it is about. */
  readonly #known = new Map<AgentKey, Knowledge>()
  #relayAtMs: number | null = null
  #renewAtMs = 0
  #renewForFetchersAtMs = 0
  /** What everybody was told of us last: while it stands, and nobody is new, there is nothing to say. */
  #toldSequence = -1
  #hasNewNeighbour = false

  constructor(crowd: Crowd, options: { readonly self: AgentKey; readonly random: Random }) {
    this.#crowd = crowd
    this.#self = options.self
    this.#random = options.random
  }

  /** It takes part, or listens. */
  join(neighbour: AgentKey): void {
    this.#placeOf(neighbour)
  }

  leave(neighbour: AgentKey, nowMs: number): void {
    const place = this.#places.get(neighbour)
    if (place !== undefined) {
      this.#neighbours.splice(place, 1)
      this.#places.delete(neighbour)
      for (const [at, other] of this.#neighbours.entries()) this.#places.set(other, at)
      for (const known of this.#known.values()) known.remove(place)
    }
    this.#known.delete(neighbour)
    this.#crowd.left(neighbour, nowMs)
  }

  /** True when the neighbour said that it is connected to that agent. */
  hearsFirstHand(neighbour: AgentKey, agent: AgentKey): boolean {
    const place = this.#places.get(neighbour)
    return place !== undefined && (this.#known.get(agent)?.isDirect(place) ?? false)
  }

  /** @returns true when something of it is news */
  heard(neighbour: AgentKey, told: readonly ToldState[], nowMs: number): boolean {
    const place = this.#placeOf(neighbour)
    let isNews = false
    for (const { state, isDirect } of told) {
      const isOwnWord = state.agent === neighbour
      this.#knownOf(state.agent).heard(place, { sequence: state.sequence, isDirect })
      if (this.#crowd.hear(state, { isDirect: isOwnWord }, nowMs)) isNews = true
    }
    if (isNews && this.#relayAtMs === null) this.#relayAtMs = nowMs + RELAY_MS * (0.5 + this.#random())
    return isNews
  }

  /** When `due` has something to say by itself, monotonic; infinite when it has not. @param isActive we take part */
  nextAtMs(isActive: boolean): number {
    return Math.min(
      this.#relayAtMs ?? Number.POSITIVE_INFINITY,
      isActive ? this.#renewForFetchersAtMs : Number.POSITIVE_INFINITY,
    )
  }

  /** What to send now, by neighbour. Assumed sent. */
  due(isActive: boolean, nowMs: number): Map<AgentKey, ToldState[]> {
    const messages = new Map<AgentKey, ToldState[]>()
    this.#tellOwn(messages, { isActive, nowMs })
    if (this.#relayAtMs !== null && nowMs >= this.#relayAtMs) {
      this.#relayAtMs = null
      this.#relay(messages, nowMs)
    }
    return messages
  }

  #tellOwn(messages: Map<AgentKey, ToldState[]>, options: { isActive: boolean; nowMs: number }): void {
    const { isActive, nowMs } = options
    const fetchers = isActive ? this.#crowd.fetchers(nowMs) : []
    // Also who no longer is one by its rank, and still has a stream: all wait for what it claims.
    const isFetcher = isActive && (fetchers.includes(this.#self) || this.#crowd.ownStreamCount > 0)
    const isRenewal = isFetcher && nowMs >= this.#renewForFetchersAtMs
    const isRenewalForAll = isFetcher && nowMs >= this.#renewAtMs
    if (isRenewal) {
      this.#crowd.renew()
      this.#renewForFetchersAtMs = nowMs + RENEW_FOR_FETCHERS_MS
      if (isRenewalForAll) this.#renewAtMs = nowMs + RENEW_MS
    }
    if (!isFetcher) this.#renewForFetchersAtMs = nowMs + RENEW_FOR_FETCHERS_MS
    const { urgentSequence } = this.#crowd
    if (!isRenewal && !this.#hasNewNeighbour && urgentSequence <= this.#toldSequence) return
    this.#hasNewNeighbour = false
    this.#toldSequence = Math.max(urgentSequence, this.#toldSequence)
    const state = this.#crowd.ownState(nowMs)
    const known = this.#knownOf(this.#self)
    for (const [place, neighbour] of this.#neighbours.entries()) {
      const isDue = isRenewalForAll || (isRenewal && fetchers.includes(neighbour))
      if (known.sequence(place) >= (isDue ? state.sequence : urgentSequence)) continue
      known.tell(place, state.sequence)
      known.heard(place, { sequence: state.sequence, isDirect: true })
      messages.set(neighbour, [{ state, isDirect: true }])
    }
  }

  #relay(messages: Map<AgentKey, ToldState[]>, nowMs: number): void {
    for (const told of this.#crowd.notable(nowMs)) {
      const { agent, sequence } = told.state
      const known = this.#knownOf(agent)
      const ignorant: number[] = []
      const tell = (place: number) => {
        const neighbour = this.#neighbours[place]
        if (neighbour === undefined || neighbour === agent) return
        known.tell(place, sequence)
        const message = messages.get(neighbour)
        if (message) message.push(told)
        else messages.set(neighbour, [told])
      }
      for (let place = 0; place < this.#neighbours.length; place++) {
        // Once each, so that it knows that we hear the agent, whether or not it needs our word.
        if (!known.isTold(place)) tell(place)
        else if (!known.isDirect(place) && known.sequence(place) < sequence) ignorant.push(place)
      }
      for (const place of this.#some(ignorant)) tell(place)
    }
  }

  #placeOf(neighbour: AgentKey): number {
    const place = this.#places.get(neighbour)
    if (place !== undefined) return place
    this.#places.set(neighbour, this.#neighbours.length)
    this.#hasNewNeighbour = true
    return this.#neighbours.push(neighbour) - 1
  }

  #knownOf(agent: AgentKey): Knowledge {
    let known = this.#known.get(agent)
    if (!known) {
      known = new Knowledge()
      this.#known.set(agent, known)
    }
    return known
  }

  /** A few of them, any. */
  #some(places: number[]): readonly number[] {
    for (let at = 0; at < Math.min(FANOUT, places.length); at++) {
      const other = at + Math.floor(this.#random() * (places.length - at))
      const here = places[at]
      const there = places[other]
      if (here === undefined || there === undefined) break
      places[at] = there
      places[other] = here
    }
    return places.slice(0, FANOUT)
  }
}
