/** What `bitsadmin` command lines mean, without an agent. */
import fc from 'fast-check'
import t from 'tap'
import {
  joinArguments,
  onlySwitches,
  parseCommandLine,
  splitArguments,
  takeSwitches,
} from '../../src/cli/bitsadmin/command-line.ts'
import { parseFileSet, parseRanges } from '../../src/cli/bitsadmin/file-verbs.ts'
import { contextOf, hexOf, hresultOf } from '../../src/cli/bitsadmin/hresults.ts'
import { commandOf } from '../../src/cli/bitsadmin/setters.ts'
import { VERBS, verbOf } from '../../src/cli/bitsadmin/verbs.ts'
import {
  notifyFlagsOf,
  parseNotifyFlags,
  parsePeerFlags,
  parseProxy,
  proxyListOf,
  proxyUsageOf,
} from '../../src/cli/bitsadmin/words.ts'

const USAGE = { code: 'SHORTHAUL_USAGE' }

t.test('modifiers stand in front, and switches may be written in any case', async (t) => {
  t.match(parseCommandLine(['/RawReturn', '/NOWRAP', '/GetState', 'My Job']), {
    modifiers: { isRaw: true, isWrapped: false },
    verb: '/getstate',
    args: ['My Job'],
  })
  t.match(parseCommandLine(['/Util', '/VERSION', '/verbose']), { verb: '/util /version', args: ['/verbose'] })
  t.match(parseCommandLine(['/cache']), { verb: '/cache', args: [] })
  t.match(parseCommandLine(['/rawreturn']), { verb: null, modifiers: { isRaw: true } })
  t.throws(() => parseCommandLine(['list']), USAGE)
})

t.test('switches end where something else begins: a path or a name may begin with a slash', async (t) => {
  const known = { '/download': false, '/priority': true }
  const { switches, rest } = takeSwitches(['/DOWNLOAD', '/Priority', 'HIGH', '/tmp/a', '/download'], known)
  t.same(
    [...switches],
    [
      ['/download', ''],
      ['/priority', 'HIGH'],
    ],
  )
  t.same(rest, ['/tmp/a', '/download'])
  t.throws(() => takeSwitches(['/priority'], known), USAGE)
  t.throws(() => onlySwitches(['/download', 'x'], known), USAGE)
  t.same(takeSwitches(['constructor'], known).rest, ['constructor'])
})

t.test('arguments are split as Windows programs do it, and nothing is expanded', async (t) => {
  t.same(splitArguments('a b\tc'), ['a', 'b', 'c'])
  t.same(splitArguments('"a b" c""d ""'), ['a b', 'cd', ''])
  t.same(splitArguments('C:\\x\\y\\ "C:\\p q\\\\" \\"z\\"'), ['C:\\x\\y\\', 'C:\\p q\\', '"z"'])
  t.same(splitArguments('a\\\\\\"b "x""y"'), ['a\\"b', 'x"y'])
  t.same(splitArguments("$(id) `id` %PATH% ; 'q'"), ['$(id)', '`id`', '%PATH%', ';', "'q'"])
  t.same(splitArguments(' '), [])
  t.throws(() => splitArguments('"a'), USAGE)
})

t.test('what is joined is split to the same again', async (t) => {
  const char = fc.constantFrom('a', ' ', '"', '\\', '\t', "'", '$')
  const arg = fc.array(char, { maxLength: 8 }).map((chars) => chars.join(''))
  fc.assert(
    fc.property(fc.array(arg, { maxLength: 5 }), (args) => {
      t.same(splitArguments(joinArguments(args)), args)
    }),
  )
})

t.test('the program may stand in front of its arguments, as BITS wants it, or not', async (t) => {
  t.same(commandOf('/opt/x/tell', '/opt/x/tell a "b c"'), ['/opt/x/tell', 'a', 'b c'])
  t.same(commandOf('/opt/x/tell', 'tell a'), ['/opt/x/tell', 'a'])
  t.same(commandOf('/opt/x/tell', 'a'), ['/opt/x/tell', 'a'])
  t.same(commandOf('/opt/x/tell', 'NULL'), ['/opt/x/tell'])
  t.same(commandOf('/opt/x/tell', undefined), ['/opt/x/tell'])
  t.equal(commandOf('NULL', 'null'), null)
  t.throws(() => commandOf('NULL', 'a'), USAGE)
})

t.test('ranges have an offset and a length', async (t) => {
  t.same(parseRanges('0:100,2000:100,5000:EOF'), [
    { startBytes: 0, endBytes: 100 },
    { startBytes: 2000, endBytes: 2100 },
    { startBytes: 5000, endBytes: null },
  ])
  for (const text of ['', '1', '1:', '-1:2', '1:2,', 'eof:1']) t.throws(() => parseRanges(text), USAGE, text)
})

t.test('a file set has a line for each file, with comments and quotes', async (t) => {
  const text = '\uFEFF# mine\r\nhttp://h/a a.bin\r\n\r\n  http://h/b   "b c.bin"\n'
  t.same(
    parseFileSet(text, (target) => `/w/${target}`),
    [
      { url: 'http://h/a', target: '/w/a.bin' },
      { url: 'http://h/b', target: '/w/b c.bin' },
    ],
  )
  t.throws(() => parseFileSet('http://h/a a.bin\nhttp://h/b', String), { ...USAGE, message: /line 2/ })
})

t.test('flags and proxies are those of BITS, and what is not done is refused', async (t) => {
  t.same(parseNotifyFlags('3'), ['transferred', 'error'])
  t.same(parseNotifyFlags('0x11'), ['transferred', 'file-transferred'])
  t.same(parseNotifyFlags('4'), [])
  for (const text of ['8', '32', 'x', '']) t.throws(() => parseNotifyFlags(text), USAGE, text)
  t.equal(notifyFlagsOf(['transferred', 'error', 'cancelled']), 3)
  t.equal(notifyFlagsOf([]), 4)
  t.same(['0', '1', '2', '3', '5'].map(parsePeerFlags), [false, true, false, true, false])
  t.throws(() => parsePeerFlags('8'), USAGE)
  const proxy = parseProxy('override', 'proxy:3128', 'NULL')
  t.same([proxy, proxyUsageOf(proxy), proxyListOf(proxy)], ['http://proxy:3128', 'OVERRIDE', 'http://proxy:3128'])
  t.same([parseProxy('PRECONFIG', undefined, undefined), parseProxy('NO_PROXY', 'NULL', undefined)], ['auto', 'none'])
  for (const words of [['AUTODETECT'], ['OVERRIDE'], ['OVERRIDE', 'a b'], ['OVERRIDE', 'a:1', 'local'], ['x']]) {
    t.throws(() => parseProxy(words[0] ?? '', words[1], words[2]), USAGE, words.join(' '))
  }
})

t.test('errors have the numbers of BITS', async (t) => {
  t.equal(hexOf(hresultOf('SHORTHAUL_JOB_NOT_FOUND')), '0x80200001')
  t.equal(hexOf(hresultOf('SHORTHAUL_JOB_STATE', { isEmpty: true })), '0x80200003')
  t.equal(hexOf(hresultOf('SHORTHAUL_ORIGIN_NOT_FOUND')), '0x80190194')
  const about = { message: '', isTransient: false, hasRetryAfter: false, atMs: 0 }
  t.match(
    contextOf({ ...about, code: 'SHORTHAUL_DISK_FULL', fileIndex: 0 }),
    /^0x00000004 /,
    'BG_ERROR_CONTEXT_LOCAL_FILE',
  )
  t.match(contextOf({ ...about, code: 'SHORTHAUL_ORIGIN_ERROR', fileIndex: 0 }), /^0x00000005 /)
  t.equal(hexOf(hresultOf('SHORTHAUL_PEER_BUSY')), '0x80004005')
})

t.test('no verb is there twice', async (t) => {
  t.equal(new Set(VERBS.map(({ name }) => name)).size, VERBS.length)
  for (const verb of VERBS) t.equal(verbOf(verb.name), verb)
})
