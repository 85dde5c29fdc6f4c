/**
 * Stands before what a DHT node of ours does for others, and drops what our own agents never ask for, or strangers too often.
 * What is dropped gets no answer.
 *
 * Does not know who is a member: the DHT is open to everybody on the network segment.
 */
import type DHT from 'hyperdht'
import type { DhtAddress, DhtRequest } from 'hyperdht'
import type { Clock } from '../clock.ts'
import { HandshakeGate } from './handshake-gate.ts'

// lib/constants.js of hyperdht 6.34
const PEER_HANDSHAKE = 0
const FIRST_OF_VALUES = 6
const LAST_OF_VALUES = 10

export interface DhtGuardOptions {
  readonly clock: Clock
  /** Our own node that relays handshakes to this one, and has judged them already; null: none does. */
  readonly ownRelay: DhtAddress | null
}

export function guardDht(dht: DHT, { clock, ownRelay }: DhtGuardOptions): void {
  const gate = new HandshakeGate(clock.monotonicMs())
  const answer = dht.onrequest.bind(dht)
  dht.onrequest = (request) => {
    const { command, from } = request
    // Values that anybody may put, up to 1 KiB each: agents neither put nor get any.
    if (command >= FIRST_OF_VALUES && command <= LAST_OF_VALUES) return true
    if (command === PEER_HANDSHAKE) {
      const isOwnRelay = ownRelay !== null && from.host === ownRelay.host && from.port === ownRelay.port
      const address = (isOwnRelay ? relayedFor(request) : null) ?? from.host
      if (!gate.admit(address, clock.monotonicMs())) return true
    }
    return answer(request)
  }
}

/**
 * IPv4 of the client that a relay speaks for; null when it names none.
 *
 * flags (1: names the client) | mode | length, noise | IPv4 4, port 2 (lib/messages.js of hyperdht 6.34)
 */
function relayedFor({ value }: DhtRequest): string | null {
  if (value === null || value.byteLength < 4 || ((value[0] ?? 0) & 1) === 0) return null
  const lengthByte = value[2] ?? 0
  // A handshake has a few hundred bytes: one byte of length, or three.
  if (lengthByte > 0xfd) return null
  const start = lengthByte < 0xfd ? 3 + lengthByte : value.byteLength < 5 ? null : 5 + value.readUInt16LE(3)
  if (start === null || start + 4 > value.byteLength) return null
  return value.subarray(start, start + 4).join('.')
}
