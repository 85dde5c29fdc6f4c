/** "Did you mean …?": the nearest known word, or nothing when all are far. */

/** Beyond this no key is near, and the quadratic distance is not worth its time on hostile input. */
const MAX_WORD_LENGTH = 64

/** The `known` word nearest to `word` or beginning with it; null when more than a third of it would have to change. */
export function nearest(word: string, known: Iterable<string>): string | null {
  if (word.length > MAX_WORD_LENGTH) return null
  let best: string | null = null
  let bestDistance = Math.max(2, Math.floor(word.length / 3)) + 1
  for (const candidate of known) {
    const isBeginning = word.length > 2 && candidate.toLowerCase().startsWith(word.toLowerCase())
    const distance = isBeginning ? 1 : editDistance(word.toLowerCase(), candidate.toLowerCase())
    if (distance < bestDistance) {
      best = candidate
      bestDistance = distance
    }
  }
  return best
}

/** Levenshtein: insertions, deletions and replacements that turn one text into the other. */
export function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, column) => column)
  for (let row = 1; row <= a.length; row++) {
    const current = [row]
    for (let column = 1; column <= b.length; column++) {
      const replaced = (previous[column - 1] ?? 0) + (a[row - 1] === b[column - 1] ? 0 : 1)
      current.push(Math.min(replaced, (previous[column] ?? 0) + 1, (current[column - 1] ?? 0) + 1))
    }
    previous = current
  }
  return previous[b.length] ?? 0
}
