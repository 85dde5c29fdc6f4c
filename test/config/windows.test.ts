import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { formatConfig } from '../../src/cli/config.ts'
import { type LoadOptions, loadConfig } from '../../src/config/load.ts'
import { type CapWindow, windows } from '../../src/config/windows.ts'
import { isShorthaulError } from '../../src/errors.ts'

const schedule = windows({ isCapOptional: false })
const maintenance = windows({ isCapOptional: true })

function load(options: Partial<LoadOptions> = {}) {
  return loadConfig({ file: null, env: {}, homeDir: '/home/someone', isRoot: false, workingDir: '/', ...options })
}

function loadText(t: Test, text: string) {
  const file = join(t.testdir(), 'config.yaml')
  writeFileSync(file, text)
  return load({ file })
}

async function problemOf(loading: Promise<unknown>): Promise<string> {
  try {
    await loading
  } catch (error: unknown) {
    if (!isShorthaulError(error, 'SHORTHAUL_CONFIG_INVALID')) throw error
    return String((error.details.problems as string[])[0])
  }
  throw new Error('The configuration was accepted')
}

const WORK: CapWindow = {
  days: ['mon', 'tue', 'wed', 'thu', 'fri'],
  from: '08:00',
  to: '18:00',
  wanMaxBytesPerSec: 2e6,
  wanMaxRatio: null,
}
const WEEKEND: CapWindow = {
  days: ['sat', 'sun'],
  from: '22:00',
  to: '06:00',
  wanMaxBytesPerSec: null,
  wanMaxRatio: 0.5,
}

await t.test('one line, a list of lines and a list of maps say the same', async (t) => {
  for (const text of [
    'throttle: { schedule: "mon-fri 08:00-18:00 2MB/s; sat,sun 22:00-06:00 50%" }',
    'throttle:\n  schedule: mon-fri 08:00-18:00 2MB/s; sat,sun 22:00-06:00 50%\n',
    'throttle:\n  schedule:\n    - mon-fri 8:00 - 18:00 16Mbit/s\n    - Sat-Sun 22:00-06:00 50%\n',
    `throttle:
  schedule:
    - { days: [mon, tue, wed, thu, fri], from: 08:00, to: 18:00, wanMaxBytesPerSec: 2MB/s }
    - days: [sat, sun]
      from: '22:00'
      to: '06:00'
      wanMaxRatio: 0.5
`,
  ]) {
    t.same((await loadText(t, text)).config.throttle.schedule, [WORK, WEEKEND], text)
  }
  const env = { SHORTHAUL_THROTTLE_SCHEDULE: 'mon-fri 08:00-18:00 2MB/s; sat,sun 22:00-06:00 50%' }
  t.same((await load({ env })).config.throttle.schedule, [WORK, WEEKEND])
  const overrides = { 'throttle.schedule': 'mon-fri 08:00-18:00 2MB/s;\n sat,sun 22:00-06:00 50%;' }
  t.same((await load({ overrides })).config.throttle.schedule, [WORK, WEEKEND])
})

await t.test('days are names, ranges, also over the weekend, and daily when left out', async (t) => {
  const daysOf = (text: string) => schedule.schema.parse(`${text} 08:00-18:00 0`)[0]?.days.join(' ')
  t.equal(daysOf('fri-mon'), 'mon fri sat sun')
  t.equal(daysOf('sun, mon-tue,mon'), 'mon tue sun')
  t.equal(daysOf('daily'), 'mon tue wed thu fri sat sun')
  t.equal(daysOf(''), 'mon tue wed thu fri sat sun')
  t.equal(
    schedule.schema.parse([{ days: ['mon-wed'], from: '1:00', to: '24:00', wanMaxRatio: '10%' }])[0]?.days.length,
    3,
  )
})

await t.test('0 stops and null is no cap; in maintenance no cap goes without saying', async (t) => {
  const limitOf = (text: string) => schedule.schema.parse(text)[0]?.wanMaxBytesPerSec
  t.equal(limitOf('daily 08:00-18:00 0'), 0)
  t.equal(limitOf('daily 08:00-18:00 null'), null)
  t.match(maintenance.schema.parse('daily 22:00-05:00'), [{ wanMaxBytesPerSec: null, wanMaxRatio: null }])
  t.match(maintenance.schema.parse([{ from: '22:00', to: '05:00', wanMaxBytesPerSec: null }]), [{ from: '22:00' }])
})

await t.test('the environment can say that there are none', async (t) => {
  for (const text of ['[]', ';', ' ; ']) {
    t.same((await load({ env: { SHORTHAUL_THROTTLE_SCHEDULE: text } })).config.throttle.schedule, [])
  }
})

await t.test('what is wrong is shown with its place and what was expected there', async (t) => {
  const cases: [string, RegExp][] = [
    ['08:00', /^throttle\.schedule\[0\]: "08:00", expected a window such as "mon-fri 08:00-18:00 2MB\/s"$/],
    ['daily 08:00-18:00 1; mon 1-2 0', /^throttle\.schedule\[0\]\.wanMaxBytesPerSec: "1", expected a rate such as/],
    ['daily 08:00-18:00 0; mon 1-2 0', /^throttle\.schedule\[1\]: "mon 1-2 0", expected a window/],
    ['mo-fr 08:00-18:00 0', /\[0\]\.days: "mo-fr", expected days such as mon-fri, "sat,sun" or daily$/],
    ['mon-tue-wed 08:00-18:00 0', /\[0\]\.days: "mon-tue-wed"/],
    ['daily 24:00-08:00 0', /\[0\]\.from: "24:00", expected a time from 00:00 to 23:59$/],
    ['daily 08:00-25:00 0', /\[0\]\.to: "25:00", expected a time from 00:00 to 24:00$/],
    ['daily 08:00-8:00 0', /\[0\]\.to: "8:00", expected another time than from; a whole day is 00:00-24:00$/],
    ['daily 08:00-18:00', /\[0\]: null, expected a limit: a rate such as/],
    ['daily 08:00-18:00 150%', /\[0\]\.wanMaxRatio: "150%", expected a share such as 0\.5 or 50%/],
    ['daily 08:00-18:00 2 megs', /\[0\]\.wanMaxBytesPerSec: "2 megs", expected a rate/],
    [
      '{ from: 08:00, to: 18:00, max: 0 }',
      /\[0\]: "max", expected only days, from, to, wanMaxBytesPerSec, wanMaxRatio$/,
    ],
    ['{ from: 8, to: 18:00, wanMaxRatio: 0 }', /\[0\]\.from: 8, expected a time/],
    ['{ to: 18:00, wanMaxRatio: 0 }', /\[0\]\.from: null, expected a time/],
    ['{ days: [], from: 08:00, to: 18:00, wanMaxRatio: 0 }', /\[0\]\.days: \[\], expected days/],
    [
      '{ from: 08:00, to: 18:00, wanMaxRatio: 0, wanMaxBytesPerSec: 0 }',
      /\[0\]: \[0,0\], expected one of wanMaxBytesPerSec and/,
    ],
    ['5', /^throttle\.schedule\[0\]: 5, expected a window such as .* or a map with days/],
  ]
  for (const [entry, expected] of cases) {
    const text = /^[{\d]\D/.test(entry) || entry === '5' ? `[${entry}]` : entry
    t.match(
      await problemOf(loadText(t, `throttle: { schedule: ${text.startsWith('[') ? text : JSON.stringify(text)} }`)),
      expected,
    )
  }
  t.match(
    await problemOf(load({ overrides: { 'throttle.schedule': 3 } })),
    /^throttle\.schedule \(command line\): 3, expected at most 50 windows/,
  )
  const many = Array(51).fill('daily 08:00-18:00 0').join(';')
  t.match(await problemOf(load({ env: { SHORTHAUL_THROTTLE_SCHEDULE: many } })), /expected at most 50 windows/)
})

await t.test('a huge or hostile text is refused at once', async (t) => {
  for (const text of ['x'.repeat(1e6), '; '.repeat(1e6), `${' '.repeat(4000)}-`, `${'-, '.repeat(1600)}08:00-18:00`]) {
    const result = schedule.schema.safeParse(text)
    if (result.success) t.same(result.data, [])
    else t.pass()
  }
  t.notOk(schedule.schema.safeParse([{ __proto__: null, from: '08:00', to: '18:00' }]).success)
})

await t.test('other limits: rates, shares, zones', async (t) => {
  const { config } = await loadText(
    t,
    'throttle: { wanMaxBytesPerSec: 10Mbit, wanMaxRatio: 7%, lanMaxBytesPerSec: 0, timeZone: Europe/Berlin, cost: roaming }\nserve: { maxBytesPerSec: 1.5MiB/s }\n',
  )
  t.match(config.throttle, {
    wanMaxBytesPerSec: 1_250_000,
    wanMaxRatio: 0.07,
    lanMaxBytesPerSec: 0,
    timeZone: 'Europe/Berlin',
    cost: 'roaming',
  })
  t.equal(config.serve.maxBytesPerSec, 1.5 * 2 ** 20)
  const env = { SHORTHAUL_THROTTLE_WAN_MAX_RATIO: '0.25', SHORTHAUL_THROTTLE_WAN_MAX_BYTES_PER_SEC: 'null' }
  t.match((await load({ env })).config.throttle, { wanMaxRatio: 0.25, wanMaxBytesPerSec: null })
  for (const zone of ['UTC', 'Etc/GMT+5', 'America/Argentina/Ushuaia', 'Asia/Kathmandu', 'Asia/Katmandu']) {
    t.equal((await load({ overrides: { 'throttle.timeZone': zone } })).config.throttle.timeZone, zone)
  }
  for (const [path, value] of [
    ['throttle.wanMaxBytesPerSec', '10'],
    ['throttle.wanMaxBytesPerSec', 999],
    ['throttle.wanMaxBytesPerSec', -1],
    ['throttle.wanMaxBytesPerSec', '5MiB'],
    ['throttle.wanMaxRatio', 50],
    ['throttle.wanMaxRatio', 0.001],
    ['throttle.wanMaxRatio', '101%'],
    ['throttle.wanMaxRatio', 'half'],
    ['throttle.wanMaxRatio', true],
    ['throttle.timeZone', 'Europe/Atlantis'],
    ['throttle.timeZone', 'constructor'],
    ['throttle.mode', 'on'],
    ['throttle.cost', 'unknown'],
  ] as const) {
    t.match(await problemOf(load({ overrides: { [path]: value } })), new RegExp(`^${path} .*, expected `))
  }
})

await t.test('what `config show` prints is read back the same, from YAML and from the environment', async (t) => {
  const time = fc.integer({ min: 0, max: 1439 }).map((minute) => {
    const two = (value: number) => String(value).padStart(2, '0')
    return `${two(Math.floor(minute / 60))}:${two(minute % 60)}`
  })
  const limit = fc.oneof(
    fc.record({
      wanMaxBytesPerSec: fc.oneof(fc.constantFrom(0, null), fc.integer({ min: 1000, max: 100e9 })),
      wanMaxRatio: fc.constant(null),
    }),
    fc.record({
      wanMaxBytesPerSec: fc.constant(null),
      wanMaxRatio: fc.integer({ min: 100, max: 10_000 }).map((n) => n / 1e4),
    }),
  )
  const entry = fc
    .tuple(fc.subarray([...WORK.days, ...WEEKEND.days], { minLength: 1 }), time, time, limit)
    .map(([days, from, to, limits]) => ({ days, from, to: to === from ? '24:00' : to, ...limits }))
  const table = fc.array(entry, { maxLength: 10 })
  fc.assert(fc.property(table, (list) => same(schedule.schema.parse(schedule.print(list)), list)))
  fc.assert(fc.property(table, (list) => same(maintenance.schema.parse(maintenance.print(list)), list)))
  const loaded = await load({
    overrides: {
      'throttle.schedule': 'mon-wed,fri 08:00-18:00 0; 22:00-06:00 null',
      'throttle.maintenance': 'sat,sun 00:00-24:00',
    },
  })
  const shown = formatConfig(loaded, { hasProvenance: true })
  t.match(shown, '\n  schedule: mon-wed,fri 08:00-18:00 0; daily 22:00-06:00 null ')
  t.match(shown, '\n  maintenance: sat,sun 00:00-24:00 ')
  t.same((await loadText(t, shown)).config.throttle, loaded.config.throttle)
})

function same(one: unknown, other: unknown): boolean {
  return JSON.stringify(one) === JSON.stringify(other)
}
