import pino from 'pino'
import t from 'tap'
import { systemClock } from '../../src/clock.ts'
import { ChildCounters, netstatTotals, openNic, parsePairLine } from '../../src/throttle/nic.ts'

const log = pino({ level: 'silent' })
const clock = systemClock

/** As `netstat -w 1 -I en0` prints it on macOS. */
const NETSTAT = `            input          (en0)           output
   packets  errs      bytes    packets  errs      bytes colls
   6190210     0 7443246713    3144166     0  397338938     0
       873     0    1208331        410     0      28484     0
        12     0       1290         11     0       1484     0
`.split('\n')

await t.test('netstat: lines add up, the first is left out, heads say nothing', async (t) => {
  const parse = netstatTotals()
  t.same(NETSTAT.map(parse), [
    null,
    null,
    { receivedBytes: 0, sentBytes: 0 },
    { receivedBytes: 1_208_331, sentBytes: 28_484 },
    { receivedBytes: 1_209_621, sentBytes: 29_968 },
    null,
  ])
  t.same(parse('  1 0 100 1 0 200 0 7'), { receivedBytes: 1_209_721, sentBytes: 30_168 }, 'with drops')
})

await t.test('the loop on Windows prints pairs', async (t) => {
  t.same(parsePairLine('123 4567890123\r'), { receivedBytes: 123, sentBytes: 4_567_890_123 })
  for (const line of ['', '12', '1 2 3', 'a b', '-1 2', '1.5 2']) t.equal(parsePairLine(line), null)
})

await t.test('Linux: the files of the interface are the counters', async (t) => {
  const statistics = () => ({ rx_bytes: '1234\n', tx_bytes: '99\n' }) // t.testdir refuses one object twice
  const directory = t.testdir({
    lan0: { statistics: statistics(), speed: '1000\n' },
    wlan0: { statistics: statistics(), speed: '-1\n' },
    odd0: { statistics: { rx_bytes: '\n', tx_bytes: '1\n' } },
  })
  const lan = openNic({ clock, log }, { interfaceName: 'lan0', platform: 'linux', directory })
  t.match(await lan.read(), { receivedBytes: 1234, sentBytes: 99, atMs: Number })
  t.equal(await lan.linkBytesPerSec(), 125_000_000)
  const wlan = openNic({ clock, log }, { interfaceName: 'wlan0', platform: 'linux', directory })
  t.equal(await wlan.linkBytesPerSec(), null)
  for (const interfaceName of ['odd0', 'gone0', '../lan0', '..', '', '-x', 'a\0b']) {
    const nic = openNic({ clock, log }, { interfaceName, platform: 'linux', directory })
    t.equal(await nic.read(), null, interfaceName)
    t.equal(await nic.linkBytesPerSec(), null, interfaceName)
    await nic.close()
  }
})

await t.test('where no system is known there are no counters', async (t) => {
  t.equal(await openNic({ clock, log }, { interfaceName: 'lan0', platform: 'aix' }).read(), null)
})

await t.test('a child that prints is read line by line, and ends with its reader', async (t) => {
  const program =
    "process.stdout.write('head\\n1 2\\n3 '); process.stdin.once('data', () => {}); setInterval(() => {}, 1e6)"
  const nic = new ChildCounters(
    { clock, log },
    {
      command: process.execPath,
      args: ['-e', `${program}; setTimeout(() => console.log('4'), 20)`],
      parse: parsePairLine,
    },
  )
  t.match(await nic.read(), { receivedBytes: 1, sentBytes: 2 })
  t.match(await nic.read(), { receivedBytes: 3, sentBytes: 4 })
  await nic.close()
  await nic.close()
  t.equal(await nic.read(), null)
})

await t.test('a child that cannot be had or that ends is not tried again', async (t) => {
  const missing = new ChildCounters({ clock, log }, { command: '/nonexistent/x', args: [], parse: parsePairLine })
  t.equal(await missing.read(), null)
  t.equal(await missing.read(), null)
  await missing.close()
  const ending = new ChildCounters(
    { clock, log },
    { command: process.execPath, args: ['-e', ''], parse: parsePairLine },
  )
  t.equal(await ending.read(), null)
  await ending.close()
})
