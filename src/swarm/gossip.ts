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

/** Long enough that the others' word comes first, short enough that ranks get about in a few rounds. */
const RELAY_MS = 60
/** Each change reaches 1 - e^-8 of the branch; the rest hear the next one. */
const FANOUT = 8
/** While it fetches: to other fetchers, whose lead measures by it, and to everybody. */
const RENEW_FOR_FETCHERS_MS = 250
const RENEW_MS = 1000

interface Known {
  sequence: number
  isDirect: boolean
  /** It heard of the agent from us, and so whether we hear it first-hand. */
  isTold: boolean
}

export class Gossip {
  readonly #crowd: Crowd
  readonly #self: AgentKey
  readonly #random: Random
  /** For each neighbour in the crowd: what it knows, as far as we know. */
  readonly #neighbours = new Map<AgentKey, Map<AgentKey, Known>>()
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
    if (this.#neighbours.has(neighbour)) return
    this.#neighbours.set(neighbour, new Map())
    this.#hasNewNeighbour = true
  }

  leave(neighbour: AgentKey, nowMs: number): void {
    this.#neighbours.delete(neighbour)
    for (const known of this.#neighbours.values()) known.delete(neighbour)
    this.#crowd.left(neighbour, nowMs)
  }

  /** True when the neighbour said that it is connected to that agent. */
  hearsFirstHand(neighbour: AgentKey, agent: AgentKey): boolean {
    return this.#neighbours.get(neighbour)?.get(agent)?.isDirect ?? false
  }

  /** @returns true when something of it is news */
  heard(neighbour: AgentKey, told: readonly ToldState[], nowMs: number): boolean {
    this.join(neighbour)
    const knows = this.#neighbours.get(neighbour)
    let isNews = false
    for (const { state, isDirect } of told) {
      const isOwnWord = state.agent === neighbour
      const known = knows?.get(state.agent)
      knows?.set(state.agent, {
        sequence: Math.max(state.sequence, known?.sequence ?? 0),
        isDirect: isDirect || (known?.isDirect ?? false),
        isTold: known?.isTold ?? false,
      })
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
    const isFetcher = fetchers.includes(this.#self)
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
    for (const [neighbour, knows] of this.#neighbours) {
      const told = knows.get(this.#self)?.sequence ?? -1
      const isDue = isRenewalForAll || (isRenewal && fetchers.includes(neighbour))
      if (told >= (isDue ? state.sequence : this.#crowd.urgentSequence)) continue
      knows.set(this.#self, { sequence: state.sequence, isDirect: true, isTold: true })
      messages.set(neighbour, [{ state, isDirect: true }])
    }
  }

  #relay(messages: Map<AgentKey, ToldState[]>, nowMs: number): void {
    for (const agent of this.#crowd.notable(nowMs)) {
      const state = this.#crowd.stateOf(agent)
      if (!state) continue
      const isDirect = this.#crowd.isDirect(agent)
      const ignorant: AgentKey[] = []
      for (const [neighbour, knows] of this.#neighbours) {
        if (neighbour === agent) continue
        const known = knows.get(agent)
        // Once each, so that it knows that we hear the agent, whether or not it needs our word.
        if (!known?.isTold) this.#tell(messages, neighbour, { state, isDirect })
        else if (!known.isDirect && known.sequence < state.sequence) ignorant.push(neighbour)
      }
      for (const neighbour of this.#some(ignorant)) this.#tell(messages, neighbour, { state, isDirect })
    }
  }

  #tell(messages: Map<AgentKey, ToldState[]>, neighbour: AgentKey, told: ToldState): void {
    const knows = this.#neighbours.get(neighbour)
    const known = knows?.get(told.state.agent)
    const isDirect = known?.isDirect ?? false
    knows?.set(told.state.agent, { sequence: told.state.sequence, isDirect, isTold: true })
    const message = messages.get(neighbour)
    if (message) message.push(told)
    else messages.set(neighbour, [told])
  }

  #some(neighbours: AgentKey[]): readonly AgentKey[] {
    for (let at = 0; at < Math.min(FANOUT, neighbours.length); at++) {
      const other = at + Math.floor(this.#random() * (neighbours.length - at))
      const here = neighbours[at]
      const there = neighbours[other]
      if (here === undefined || there === undefined) break
      neighbours[at] = there
      neighbours[other] = here
    }
    return neighbours.slice(0, FANOUT)
  }
}
