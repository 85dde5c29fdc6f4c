import t from 'tap'
import { parseCommand } from '../../bench/command.ts'
import type { Scenario } from '../../bench/scenario.ts'

const known = ['solo', 'crowd'].map(
  (name): Scenario => ({ name, title: name, defaultRuns: 1, bars: [], run: () => Promise.reject(new Error(name)) }),
)

void t.test('the command line of the bench', async (t) => {
  await t.test('names scenarios; all is every one of them', async (t) => {
    t.same(
      parseCommand(['crowd'], known).scenarios.map((one) => one.name),
      ['crowd'],
    )
    t.equal(parseCommand(['all', '--json'], known).scenarios, known)
  })

  await t.test('leaves to the scenario what is not given', async (t) => {
    const own = { runs: null, sizeBytes: null, hosts: null, wanMbit: null, originMbit: null, htmlFile: null }
    const line = { fifoMs: null, rttMs: null, only: null }
    t.match(parseCommand(['solo'], known), { ...own, ...line, isJson: false })
    const args = ['solo', '--runs', '2', '--size', '1024', '--hosts', '4', '--wan', '12.5', '--html', 'f']
    t.match(parseCommand(args, known), { runs: 2, sizeBytes: 1024, hosts: 4, wanMbit: 12.5, htmlFile: 'f' })
    const slow = ['solo', '--fifo-ms', '10', '--rtt-ms', '7.5', '--only', 'shorthaul']
    t.match(parseCommand(slow, known), { fifoMs: 10, rttMs: 7.5, only: 'shorthaul' })
  })

  await t.test('refuses the rest, and shows how it is used', async (t) => {
    const wrong = [
      [],
      ['no'],
      ['solo', '--runs', '0'],
      ['solo', '--hosts', '1.5'],
      ['solo', '--size', 'big'],
      ['--no'],
      ['solo', '--fifo-ms', '0.5'],
    ]
    for (const args of wrong) t.throws(() => parseCommand(args, known), { message: /--runs N/ }, args.join(' '))
  })
})
