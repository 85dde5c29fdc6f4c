/** What the simulated messages would have in bytes: the frame as src/peers/wire.ts makes it, and what carries it. */
import type { ToldState } from '../../src/content/fetcher-state.ts'
import { toldStatesLength } from '../../src/peers/wire-fields.ts'

/** Noise frame, protomux, UDX, UDP and IP headers of a small message. */
const CARRIER_BYTES = 100
/** GET with its fields, and the head of the answer, over TLS. */
export const REQUEST_BYTES = 500
const STATEMENT_BYTES = 4 + 2 + 32 + 64 + 32

export const INTEREST_BYTES = CARRIER_BYTES + 34

export function claimBytes(told: readonly ToldState[]): number {
  return CARRIER_BYTES + 33 + toldStatesLength(told)
}

export function haveBytes(have: { readonly rangeCount: number; readonly statementCount: number }): number {
  return CARRIER_BYTES + 33 + 4 + 8 * have.rangeCount + STATEMENT_BYTES * have.statementCount
}
