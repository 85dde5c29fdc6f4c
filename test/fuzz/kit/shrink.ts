/** A failing input made shorter while it still fails in the same way: for eyes. */
import { tryInput } from './fuzz.ts'
import type { FuzzTarget } from './target.ts'

const MAX_TRIES = 2000

export async function shrink(target: FuzzTarget, input: Uint8Array, error: Error): Promise<Buffer> {
  let shortest = Buffer.from(input)
  let triesLeft = MAX_TRIES
  const kind = kindOf(error)
  for (let width = shortest.byteLength >> 1; width >= 1; width >>= 1) {
    for (let start = 0; start < shortest.byteLength && triesLeft > 0; triesLeft--) {
      const shorter = Buffer.concat([shortest.subarray(0, start), shortest.subarray(start + width)])
      const found = await tryInput({ ...target, close: () => {} }, shorter)
      if (found !== null && kindOf(found) === kind) shortest = shorter
      else start += width
    }
  }
  return shortest
}

/** Numbers change with the input. */
function kindOf({ name, message }: Error): string {
  return `${name} ${message.replace(/\d+/g, 'n').slice(0, 60)}`
}
