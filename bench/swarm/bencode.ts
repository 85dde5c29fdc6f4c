/** Bencode of BEP 3, one way: for torrents and the answers of our tracker. */

export type Bencodable = number | string | Uint8Array | readonly Bencodable[] | { readonly [key: string]: Bencodable }

/** @throws RangeError for a number that is no safe integer. */
export function bencode(value: Bencodable): Buffer {
  if (typeof value === 'number') {
    if (!Number.isSafeInteger(value)) throw new RangeError(`Cannot bencode ${value}: expected a whole number`)
    return Buffer.from(`i${value}e`)
  }
  if (typeof value === 'string') return byteString(Buffer.from(value))
  if (value instanceof Uint8Array) return byteString(value)
  if (isList(value)) return wrap('l', value.map(bencode))
  // BEP 3: keys in the order of their raw bytes, which is not the order of UTF-16 units.
  const entries = Object.entries(value).map(([key, own]) => ({ key: Buffer.from(key), own }))
  entries.sort((a, b) => Buffer.compare(a.key, b.key))
  return wrap(
    'd',
    entries.flatMap(({ key, own }) => [byteString(key), bencode(own)]),
  )
}

/** Array.isArray does not narrow readonly arrays out of a union. */
function isList(value: Bencodable): value is readonly Bencodable[] {
  return Array.isArray(value)
}

function byteString(bytes: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from(`${bytes.length}:`), bytes])
}

function wrap(kind: 'l' | 'd', parts: readonly Buffer[]): Buffer {
  return Buffer.concat([Buffer.from(kind), ...parts, Buffer.from('e')])
}
