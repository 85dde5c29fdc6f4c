import fc from 'fast-check'
import t from 'tap'
import { formatProgress, formatShare, ProgressLine } from '../../src/cli/progress.ts'
import type { TransferProgress } from '../../src/transfer/request.ts'

const MIB = 2 ** 20

function progress(rest: Partial<TransferProgress> = {}): TransferProgress {
  const sources = { cache: 0, peer: 75 * MIB, origin: 25 * MIB }
  return { event: 'progress', bytesDone: 100 * MIB, bytesTotal: 400 * MIB, bytesPerSec: 10 * MIB, sources, ...rest }
}

void t.test('a wide terminal shows bar, bytes, rate, time left and shares', async (t) => {
  t.equal(
    formatProgress(progress(), 120),
    ' 25 % [######..................]  100.0 MiB / 400.0 MiB  10.0 MiB/s 30.0 s left  peers 75 %, origin 25 %',
  )
})

void t.test('a narrow terminal goes without the bar', async (t) => {
  t.equal(formatProgress(progress(), 60), '100.0 MiB / 400.0 MiB  10.0 MiB/s 30.0 s left  peers 75 %, ')
})

void t.test('whatever is to be shown, the line stays within the terminal', async () => {
  const bytes = fc.nat(2 ** 31 - 1)
  const any = fc.record({
    event: fc.constant('progress' as const),
    bytesDone: bytes,
    bytesTotal: fc.option(bytes),
    bytesPerSec: fc.double({ min: 0, max: 1e12, noNaN: true }),
    sources: fc.record({ cache: bytes, peer: bytes, origin: bytes }),
  })
  fc.assert(
    fc.property(any, fc.integer({ min: 1, max: 200 }), (given, columns) => {
      // One less than the width: some terminals wrap when the last column is written.
      const line = formatProgress(given, columns)
      return line.length < columns && !line.includes('NaN') && !line.includes('Infinity')
    }),
  )
})

void t.test('a bar that does not fit in whole is left out', async (t) => {
  const { length } = formatProgress(progress(), 200)
  t.ok(formatProgress(progress(), length + 1).startsWith(' 25 % ['))
  t.notOk(formatProgress(progress(), length).includes('['))
})

void t.test('an unknown length shows neither bar nor time left', async (t) => {
  const line = formatProgress(progress({ bytesTotal: null }), 120)
  t.equal(line, '100.0 MiB  10.0 MiB/s  peers 75 %, origin 25 %')
})

void t.test('an empty content is done, not not-a-number', async (t) => {
  const sources = { cache: 0, peer: 0, origin: 0 }
  const line = formatProgress(progress({ bytesDone: 0, bytesTotal: 0, bytesPerSec: 0, sources }), 120)
  t.equal(line, '100 % [########################]  0 B / 0 B  0 B/s')
})

void t.test('shares name only what took part', async (t) => {
  t.equal(formatShare({ cache: 0, peer: 0, origin: 0 }), '')
  t.equal(formatShare({ cache: 0, peer: 3, origin: 1 }), 'peers 75 %, origin 25 %')
  t.equal(formatShare({ cache: 5, peer: 0, origin: 0 }), 'cache 100 %')
})

void t.test('a line is drawn on a terminal only, and cleared once', async (t) => {
  const written: string[] = []
  const stream = (rest: object) => {
    const fake = { isTTY: true, columns: 80, write: (text: string) => written.push(text), ...rest }
    return fake as unknown as NodeJS.WriteStream
  }
  const silent = new ProgressLine(stream({ isTTY: false }))
  silent.draw(progress())
  silent.clear()
  t.same(written, [])
  const line = new ProgressLine(stream({}))
  line.draw(progress())
  line.clear()
  line.clear()
  t.equal(written.length, 2)
  t.equal(written[1], '\r\u001b[2K')
  // Some pseudo-terminals say that they have no columns.
  new ProgressLine(stream({ columns: 0 })).draw(progress())
  t.match(written[2], /100\.0 MiB/)
})
