/** The Link field, RFC 8288 §3: targets and their parameters. Bounded and total; decides nothing about them. */

export interface Link {
  /** A URI reference, as it stands. */
  readonly target: string
  /** Names in lower case; of several of one name the first counts, as the RFC says of `rel`. */
  readonly parameters: ReadonlyMap<string, string>
}

const MAX_FIELD_CHARS = 16 * 1024
const MAX_LINKS = 64

// Sticky, so that each begins where the one before ended. None can match in two ways: no back-tracking.
const TARGET = /[ \t]*<([^<>]*)>/y
const PARAMETER =
  /[ \t]*;[ \t]*(?:([!#$%&'*+\-.^_`|~0-9A-Za-z]+)[ \t]*(?:=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s",;]*)))?)?/y
const SEPARATOR = /[ \t]*(?:,[ \t]*)+/y

/** @returns the links up to the first that is malformed; of a longer field than 16 KiB, none */
export function parseLinks(field: string): Link[] {
  const links: Link[] = []
  if (field.length > MAX_FIELD_CHARS) return links
  let at = skip(SEPARATOR, field, 0)
  while (links.length < MAX_LINKS) {
    TARGET.lastIndex = at
    const target = TARGET.exec(field)?.[1]
    if (target === undefined) break
    at = TARGET.lastIndex
    const parameters = new Map<string, string>()
    for (;;) {
      PARAMETER.lastIndex = at
      const found = PARAMETER.exec(field)
      if (!found) break
      at = PARAMETER.lastIndex
      const [, name, quoted, token] = found
      if (name === undefined) continue
      const value = quoted === undefined ? (token ?? '') : quoted.replace(/\\(.)/g, '$1')
      if (!parameters.has(name.toLowerCase())) parameters.set(name.toLowerCase(), value)
    }
    const end = skip(SEPARATOR, field, at)
    if (end === at && field.slice(at).trim() !== '') break // something else stands behind it: it is not what it seems
    links.push({ target: target.trim(), parameters })
    if (end === at) break
    at = end
  }
  return links
}

function skip(pattern: RegExp, text: string, from: number): number {
  pattern.lastIndex = from
  return pattern.test(text) ? pattern.lastIndex : from
}
