import fc from 'fast-check'
import t from 'tap'
import {
  formatBytes,
  formatDuration,
  formatRate,
  parseBytes,
  parseDuration,
  parseRate,
  printBytes,
  printDuration,
  printRate,
} from '../../src/config/units.ts'

await t.test('sizes are read in binary and decimal units', async (t) => {
  const cases: [string, number][] = [
    ['0', 0],
    ['4096', 4096],
    ['20GiB', 20 * 2 ** 30],
    ['256KiB', 262144],
    ['10MB', 10_000_000],
    ['10 MB', 10_000_000],
    ['1kB', 1000],
    ['1KB', 1000],
    ['1.5GiB', 1.5 * 2 ** 30],
    ['0.29kB', 290],
    ['1TiB', 2 ** 40],
    [' 7B ', 7],
  ]
  for (const [text, bytes] of cases) t.equal(parseBytes(text), bytes, text)
})

await t.test('what is not exactly a size is refused, with what was expected', async (t) => {
  // biome-ignore format: a row of texts reads better
  const refused = [
    '', ' ', '-1', '+1', '1e9', '0x10', '1,5GiB', '1.GiB', '.5GiB', '1.5', '20G', '20gib', '20Mb', '20  GiB', '20MiB/s',
    'GiB', '1 toString', '1__proto__', 'NaN', 'Infinity', '99999999999999999999', '9007199254740992', '20GiB\u0000',
    '٢', '10000TiB',
  ]
  for (const text of refused) {
    t.throws(
      () => parseBytes(text),
      { code: 'SHORTHAUL_USAGE', message: /Cannot read the size .*expected/s },
      JSON.stringify(text),
    )
  }
  t.throws(() => parseBytes('9'.repeat(1e6)), { code: 'SHORTHAUL_USAGE' }, 'a huge text is refused')
  t.match(catchMessage(() => parseBytes('x'.repeat(1e6))).length < 400, true, 'and its echo is cut')
})

await t.test('rates are bytes per second, whether written in bytes or in bits', async (t) => {
  t.equal(parseRate('5MiB/s'), 5 * 2 ** 20)
  t.equal(parseRate('50Mbit/s'), 6_250_000)
  t.equal(parseRate('20 Mbit/s'), 2_500_000)
  t.equal(parseRate('1Gbit/s'), 125_000_000)
  t.equal(parseRate('64kbit/s'), 8000)
  t.equal(parseRate('65536'), 65536)
  t.equal(parseRate('10MB/s'), 10_000_000)
  t.equal(parseRate('10Mbit'), 1_250_000, 'a rate is meant')
  for (const text of ['5MiB', '50MB', '50Mbps', '50Mb', '50Mb/s', '50mbit/s', '5 / s', '1Mibit/s', 'Mbit/s']) {
    t.throws(() => parseRate(text), { code: 'SHORTHAUL_USAGE', message: /the rate/ }, text)
  }
})

await t.test('durations need a unit', async (t) => {
  t.equal(parseDuration('90d'), 90 * 86_400_000)
  t.equal(parseDuration('30s'), 30_000)
  t.equal(parseDuration('5m'), 300_000)
  t.equal(parseDuration('5 min'), 300_000)
  t.equal(parseDuration('1.5h'), 5_400_000)
  t.equal(parseDuration('250ms'), 250)
  t.equal(parseDuration('2w'), 14 * 86_400_000)
  for (const text of ['90', '90D', '1h30m', 'd', '-1s', '1y']) {
    t.throws(() => parseDuration(text), { code: 'SHORTHAUL_USAGE', message: /the duration/ }, text)
  }
})

await t.test('what is printed is read back as the same number', async () => {
  const whole = fc.oneof(
    fc.nat({ max: Number.MAX_SAFE_INTEGER }),
    fc.tuple(fc.nat({ max: 5000 }), fc.constantFrom(1, 2 ** 10, 2 ** 20, 2 ** 30, 2 ** 40)).map(([n, f]) => n * f),
  )
  fc.assert(fc.property(whole, (n) => parseBytes(printBytes(n)) === n))
  fc.assert(fc.property(whole, (n) => parseRate(printRate(n)) === n))
  fc.assert(fc.property(whole, (n) => parseDuration(printDuration(n)) === n))
})

await t.test('printing chooses the largest unit that divides', async (t) => {
  t.equal(printBytes(20 * 2 ** 30), '20GiB')
  t.equal(printBytes(1000), '1000')
  t.equal(printBytes(0), '0')
  t.equal(printRate(5 * 2 ** 20), '5MiB/s')
  t.equal(printRate(2_000_000), '2MB/s')
  t.equal(printRate(6_250_000), '50Mbit/s')
  t.equal(printRate(1000), '1kB/s')
  t.equal(printRate(1001), '1001')
  t.equal(printDuration(90 * 86_400_000), '90d')
  t.equal(printDuration(0), '0ms')
})

await t.test('formats for people use binary units and never show 1024 of a smaller one', async (t) => {
  t.equal(formatBytes(0), '0 B')
  t.equal(formatBytes(1023), '1023 B')
  t.equal(formatBytes(1023.9), '1.0 KiB')
  t.equal(formatBytes(1536), '1.5 KiB')
  t.equal(formatBytes(2 ** 20 - 1), '1.0 MiB')
  t.equal(formatBytes(20 * 2 ** 30), '20.0 GiB')
  t.equal(formatBytes(-1), '?')
  t.equal(formatBytes(Number.NaN), '?')
  t.equal(formatRate(5 * 2 ** 20), '5.0 MiB/s')
  fc.assert(
    fc.property(fc.double({ min: 0, max: 2 ** 59, noNaN: true }), (n) => {
      const [number] = formatBytes(n).split(' ')
      return Number(number) < 1024 && (n < 1 || Number(number) >= 1)
    }),
  )
})

await t.test('durations for people have at most two units and carry when they round', async (t) => {
  const cases: [number, string][] = [
    [0, '0 ms'],
    [250, '250 ms'],
    [999.6, '1.0 s'],
    [12_345, '12.3 s'],
    [59_940, '59.9 s'],
    [59_960, '1 min'],
    [245_000, '4 min 5 s'],
    [3_599_700, '1 h'],
    [7_800_000, '2 h 10 min'],
    [86_399_999, '1 d'],
    [90 * 86_400_000, '90 d'],
    [Number.NaN, '?'],
    [Number.POSITIVE_INFINITY, 'for ever'],
  ]
  for (const [durationMs, text] of cases) t.equal(formatDuration(durationMs), text)
  fc.assert(
    fc.property(
      fc.double({ min: 0, max: 1e12, noNaN: true }),
      (n) => !/\b60 (s|min)|24 h|1000 ms/.test(formatDuration(n)),
    ),
  )
})

function catchMessage(run: () => unknown): string {
  try {
    run()
  } catch (error: unknown) {
    return (error as Error).message
  }
  return ''
}
