import t from 'tap'
import {
  DEFAULT_NOTIFY,
  parseCommand,
  parseDeadline,
  parseRange,
  settingsOf,
  splitAtDashes,
  statesOf,
} from '../../src/cli/job/job-options.ts'

const NOW_MS = Date.UTC(2026, 10, 26)
const CONTEXT = { nowMs: NOW_MS, commandArguments: [], notify: DEFAULT_NOTIFY }
const REFUSED = { code: 'SHORTHAUL_USAGE' }

void t.test('only what was given is set', async (t) => {
  t.same(settingsOf({ json: true, config: 'x' }, CONTEXT), {})
  t.same(settingsOf({ progressTimeout: true }, CONTEXT), {}, 'what commander makes of an absent --no-progress-timeout')
  t.same(
    settingsOf(
      {
        name: 'nightly',
        priority: 'low',
        peers: false,
        limitRate: '8Mbit/s',
        minRetryDelay: '1min',
        progressTimeout: '0s',
        maxTransferTime: '2h',
        deadline: '3h',
        costPolicy: 'standard',
        header: ['A: 1', 'A: 2'],
        autoComplete: true,
      },
      CONTEXT,
    ),
    {
      name: 'nightly',
      priority: 'low',
      usePeers: false,
      originMaxBytesPerSec: 1_000_000,
      minRetryDelayMs: 60_000,
      noProgressTimeoutMs: 0,
      maxTransferTimeMs: 7_200_000,
      deadlineAtMs: NOW_MS + 3 * 3_600_000,
      costPolicy: 'standard',
      autoComplete: true,
      headers: [
        ['A', '1'],
        ['A', '2'],
      ],
    },
  )
})

void t.test('what may be absent is taken away by a word', async (t) => {
  t.same(settingsOf({ limitRate: 'none', deadline: 'none', costPolicy: 'default' }, CONTEXT), {
    originMaxBytesPerSec: null,
    deadlineAtMs: null,
    costPolicy: null,
  })
  const notify = { command: ['/bin/a'], webhookUrl: 'https://a.example/', events: ['error'] as const }
  t.same(settingsOf({ notifyCommand: 'none', notifyUrl: 'none' }, { ...CONTEXT, notify }).notify, {
    command: null,
    webhookUrl: null,
    events: ['error'],
  })
  t.same(settingsOf({ notifyOn: 'acknowledged, error' }, { ...CONTEXT, notify }).notify, {
    ...notify,
    events: ['acknowledged', 'error'],
  })
})

void t.test('what is not valid is said with what would be', async (t) => {
  t.throws(() => settingsOf({ priority: 'urgent' }, CONTEXT), { ...REFUSED, message: /foreground, high, normal, low/ })
  t.throws(() => settingsOf({ costPolicy: 'free' }, CONTEXT), REFUSED)
  t.throws(() => settingsOf({ notifyOn: 'lunch' }, CONTEXT), { ...REFUSED, message: /file-transferred/ })
  t.throws(() => settingsOf({ maxTransferTime: '5' }, CONTEXT), REFUSED)
  t.throws(() => settingsOf({ header: ['no colon'] }, CONTEXT), REFUSED)
  t.throws(() => statesOf({ state: 'queued,asleep' }), REFUSED)
  t.same(statesOf({ state: 'queued,error' }), ['queued', 'error'])
  t.equal(statesOf({}), undefined)
})

void t.test('ranges include both ends, as those of curl', async (t) => {
  t.same(parseRange('0-0'), { startBytes: 0, endBytes: 1 })
  t.same(parseRange('500-999'), { startBytes: 500, endBytes: 1000 })
  t.same(parseRange('7-'), { startBytes: 7, endBytes: null })
  for (const wrong of ['', '-5', '5', '9-3', 'a-b', '1-2-3', '99999999999999999-']) {
    t.throws(() => parseRange(wrong), REFUSED, wrong)
  }
})

void t.test('a deadline is a moment or a duration', async (t) => {
  t.equal(parseDeadline('90min', NOW_MS), NOW_MS + 5_400_000)
  t.equal(parseDeadline('2026-11-27T06:00Z', NOW_MS), Date.UTC(2026, 10, 27, 6))
  t.equal(parseDeadline('2026-11-27 06:00:30+01:00', NOW_MS), Date.UTC(2026, 10, 27, 5, 0, 30))
  t.equal(parseDeadline('2026-11-27T06:00', NOW_MS), new Date(2026, 10, 27, 6).getTime(), 'local time')
  t.throws(() => parseDeadline('2026-11-25T06:00Z', NOW_MS), { ...REFUSED, message: /over/ })
  for (const wrong of ['2026-11-27', '2026-13-40T99:00', 'tomorrow', '']) {
    t.throws(() => parseDeadline(wrong, NOW_MS), REFUSED, wrong)
  }
})

void t.test('a command is words, without a shell', async (t) => {
  t.same(parseCommand('/bin/a', ['-x', 'b c']), ['/bin/a', '-x', 'b c'])
  t.same(parseCommand('["/bin/a","b c"]', []), ['/bin/a', 'b c'])
  t.equal(parseCommand('none', []), null)
  for (const wrong of ['[', '[]', '[1]']) t.throws(() => parseCommand(wrong, []), REFUSED, wrong)
  t.same(splitAtDashes(['u', '-a', 'b'], ['node', 'x', 'job', 'create', 'u', '--', '-a', 'b']), {
    before: ['u'],
    after: ['-a', 'b'],
  })
  t.same(splitAtDashes(['u'], ['node', 'x', 'u']), { before: ['u'], after: [] })
})
