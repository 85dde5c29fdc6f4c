/**
 * Time and randomness, injected everywhere so that policies are repeatable and tests own both.
 * Nothing in src/ calls Date.now, performance.now or Math.random outside this file.
 */
import { randomBytes } from 'node:crypto'

export interface Clock {
  /** Wall clock, milliseconds since the epoch. May step; never used for durations. */
  nowMs(): number
  /** Monotonic milliseconds from an arbitrary start; the only source of durations and deadlines. */
  monotonicMs(): number
  /** Resolves after `delayMs`; rejects with the signal's reason when aborted. */
  sleep(delayMs: number, options?: { signal?: AbortSignal | undefined }): Promise<void>
}

/** Uniform in [0, 1). */
export type Random = () => number

export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  sleep: (delayMs, options = {}) =>
    new Promise((resolve, reject) => {
      const { signal } = options
      if (signal?.aborted) {
        reject(signal.reason)
        return
      }
      const onAbort = () => {
        clearTimeout(timer)
        reject(signal?.reason)
      }
      const timer = setTimeout(() => {
        signal?.removeEventListener('abort', onAbort)
        resolve()
      }, delayMs)
      signal?.addEventListener('abort', onAbort, { once: true })
    }),
}

export const systemRandom: Random = () => Math.random()

/** One that nobody can predict from what it gave before, as `systemRandom` can be. */
export const secretRandom: Random = () => randomBytes(6).readUIntBE(0, 6) / 2 ** 48

/** A repeatable generator (mulberry32) for tests and the simulator; not for secrets. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
}

/** Cryptographic randomness: keys, nonces, identities. */
export function secretBytes(lengthBytes: number): Buffer {
  return randomBytes(lengthBytes)
}
