/**
 * When to tell neighbours what we got. At once when little is to be told; gathered when much is, so that a crowd is not
 * busy with news: 64 listeners of a slow transfer hear of us four times per second, of a fast one every eight segments.
 */

const PAUSE_PER_LISTENER_MS = 4
const SHORT_PAUSE_PER_LISTENER_MS = 1
/** So many are worth a message before the pause is over. */
const ENOUGH_SEGMENTS = 8

/** How long to wait after the last news, in all. @param pendingCount positions that wait to be told */
export function newsPauseMs(listenerCount: number, pendingCount: number): number {
  const perListenerMs = pendingCount >= ENOUGH_SEGMENTS ? SHORT_PAUSE_PER_LISTENER_MS : PAUSE_PER_LISTENER_MS
  return perListenerMs * listenerCount
}
