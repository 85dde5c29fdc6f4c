/** The few figures that the reports give of repeated measurements. */

/** @throws RangeError when there are none. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const [low, high] = [sorted[Math.floor((sorted.length - 1) / 2)], sorted[Math.floor(sorted.length / 2)]]
  if (low === undefined || high === undefined) throw new RangeError('No values to take the median of')
  return (low + high) / 2
}

export function rounded(value: number, digits = 0): number {
  return Number(value.toFixed(digits))
}
