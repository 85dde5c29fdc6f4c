import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import t from 'tap'
import { ShorthaulError } from '../src/errors.ts'
import { createLogger, redactText } from '../src/log.ts'

const MARK = 'S3CR3T'

function capture(options: { pretty?: boolean } = {}) {
  const lines: string[] = []
  const log = createLogger({ level: 'trace', destination: { write: (line) => void lines.push(line) }, ...options })
  return { log, lines, last: () => JSON.parse(lines.at(-1) ?? '{}') as Record<string, unknown> }
}

/** Ways in which a secret gets near a log. Each one has the mark in it. */
function leaks(): Record<string, unknown>[] {
  const url = `https://user:${MARK}@origin.example/dir/file.iso?sig=${MARK}#${MARK}`
  const foreign = Object.assign(new Error(`connect failed for ${url}`), {
    headers: { authorization: `Bearer ${MARK}` },
    options: { path: `/?${MARK}` },
    code: 'UND_ERR_SOCKET',
  })
  const own = new ShorthaulError('SHORTHAUL_ORIGIN_ERROR', `Cannot fetch "${url}": 503`, {
    cause: new AggregateError([foreign, new Error(`again ${url}`)], `all of ${url}`, { cause: foreign }),
    details: { url, finalUrl: url, headers: [['cookie', MARK]], nested: { deep: [{ psk: MARK }] } },
  })
  return [
    { url },
    { url: new URL(url) },
    { finalUrl: url, sourceUri: url, href: url },
    { url: `http:${MARK}@x` },
    { url: `not a url ${MARK}` },
    { note: `tried ${url}, then ftp://u:${MARK}@h/x and redis://:${MARK}@h` },
    { list: [url, { deeper: url }] },
    { [url]: 1 },
    { err: foreign },
    { err: own },
    { error: foreign, cause: own },
    { headers: { x: MARK } },
    { requestHeaders: MARK, rawHeaders: [MARK], authorization: MARK, Cookie: MARK, 'set-cookie': [MARK] },
    {
      psk: MARK,
      lanePsk: MARK,
      secret: MARK,
      branchSecret: MARK,
      secretKey: MARK,
      password: MARK,
      seed: MARK,
      token: MARK,
    },
    { psk: Buffer.from(MARK), anything: Buffer.from(MARK), bytes: new Uint8Array(Buffer.from(MARK)) },
    { text: `Authorization: Basic ${MARK}xyz` },
    { text: `sent Bearer ${MARK}abc to it` },
    { text: `cookie=${MARK}; other=${MARK}` },
  ]
}

/** A secret that was printed as numbers or in base64 leaked as well. */
function contains(line: string): boolean {
  const bytes = Buffer.from(MARK)
  return [MARK, bytes.toString('hex'), bytes.toString('base64').slice(0, 8), [...bytes].join(',')].some((form) =>
    line.includes(form),
  )
}

await t.test('no marked secret reaches the log, wherever it is put', async (t) => {
  for (const pretty of [false, true]) {
    for (const [index, fields] of leaks().entries()) {
      const { log, lines } = capture({ pretty })
      log.warn(fields, 'message')
      log.warn(fields)
      log.child(fields).info('from a child')
      log.child({ outer: fields }).child({ module: 'm' }).info({ inner: { fields } }, 'deep')
      if (fields.err instanceof Error) log.error(fields.err)
      if (fields.err instanceof Error) log.error({ reason: fields.err }, fields.err.message)
      t.ok(lines.length >= 4)
      t.notOk(lines.some(contains), `case ${index}${pretty ? ', pretty' : ''}: ${lines.find(contains)}`)
    }
  }
})

await t.test('the check above can fail', async (t) => {
  const { log, lines } = capture()
  log.info({ harmless: MARK })
  t.ok(lines.some(contains))
})

await t.test('what is not secret stays readable', async (t) => {
  const { log, last } = capture()
  log.info(
    { url: 'https://h.example/dir/f.iso?x=1', secretFile: '/etc/shorthaul/branch.secret', speed: 3, n: null },
    'fetched',
  )
  t.match(last(), {
    level: 'info',
    msg: 'fetched',
    url: 'https://h.example/dir/f.iso?…',
    secretFile: '/etc/shorthaul/branch.secret',
    speed: 3,
    n: null,
    pid: process.pid,
  })
  t.match(last().time, /^\d{4}-\d\d-\d\dT.*Z$/)
  log.info({ hasToken: true, token: null, port: '127.0.0.1:17736', path: 'C:\\dir\\file', note: 'a: b, 10:30' })
  t.match(last(), { hasToken: true, token: null, port: '127.0.0.1:17736', path: 'C:\\dir\\file', note: 'a: b, 10:30' })
})

await t.test('errors keep type, code, stack, retryability, details and causes', async (t) => {
  const { log, last } = capture()
  const cause = Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' })
  log.warn(
    { err: new ShorthaulError('SHORTHAUL_PEER_STALLED', 'Cannot read', { cause, details: { status: 1 } }) },
    'dropped',
  )
  t.match(last(), {
    msg: 'dropped',
    err: {
      type: 'ShorthaulError',
      message: 'Cannot read',
      code: 'SHORTHAUL_PEER_STALLED',
      retryable: true,
      details: { status: 1 },
      stack: /log\.test/,
      cause: { type: 'Error', code: 'ECONNREFUSED' },
    },
  })
  log.warn({ err: 'a text' }, 'odd')
  t.equal(last().err, 'a text')
  const loop = new Error('loop')
  loop.cause = loop
  log.warn({ err: loop })
  t.equal(last().msg, 'loop')
})

await t.test('large, deep and cyclic values are bounded', async (t) => {
  const { log, lines, last } = capture()
  const cycle: Record<string, unknown> = { name: 'c' }
  cycle.self = cycle
  log.info({ cycle })
  t.match(last(), { cycle: { name: 'c' } })
  log.info({ text: 'x'.repeat(1e6), list: Array.from({ length: 1000 }, () => 'y') })
  t.ok((lines.at(-1)?.length ?? 0) < 20_000)
  t.match(last().list, { 200: '[and 800 more]' })
  for (const text of [
    'a.'.repeat(1e6),
    'a:/'.repeat(1e6),
    'http:'.repeat(1e6),
    'cookie'.repeat(1e6),
    '/a'.repeat(1e6),
    `psk=${' '.repeat(1e6)}`,
  ])
    redactText(text)
})

await t.test('a library is silent by default, and levels hold', async (t) => {
  const lines: string[] = []
  const destination = { write: (line: string) => void lines.push(line) }
  createLogger({ destination }).fatal('nothing')
  t.equal(lines.length, 0)
  const log = createLogger({ level: 'warn', destination })
  log.info('no')
  log.warn('yes')
  t.equal(lines.length, 1)
  t.equal(createLogger().level, 'silent')
})

await t.test('JSON is one line for each event', async (t) => {
  const { log, lines } = capture()
  log.info({ text: 'a\nb\r\u2028' }, 'first\nsecond')
  t.equal(lines.length, 1)
  t.match(lines[0], /^\{[^\n]*\}\n$/)
})

await t.test('pretty lines are for people, and cannot steer their terminal', async (t) => {
  const { log, lines } = capture({ pretty: true })
  log.child({ module: 'store' }).info({ segments: 3, name: 'two words' }, 'store opened')
  t.match(lines[0], /^\d\d:\d\d:\d\d\.\d{3}Z INFO {2}store: store opened segments=3 name="two words"\n$/)
  log.error({ err: new Error('bad \u001b[2J thing'), x: '\u009b31m', k: 'a\nb' }, 'evil \u001b[31m\nINFO forged')
  const line = lines[1] ?? ''
  t.match(line, /ERROR/)
  t.match(line, /log\.test/)
  t.notMatch(line.replaceAll('\n', ''), /\p{Cc}/u)
  t.ok(
    line
      .split('\n')
      .slice(1, -1)
      .every((part) => part.startsWith('    ')),
    'nothing forged stands at the start of a line',
  )
})

t.test('a log that cannot be written fails nobody', { skip: !existsSync('/dev/full') && 'needs /dev/full' }, (t) => {
  const script = `
    import { createLogger } from ${JSON.stringify(new URL('../src/log.ts', import.meta.url).href)}
    const log = createLogger({ level: 'info' })
    for (let count = 0; count < 3; count++) log.info('nobody reads this')
    console.log('goes on')
  `
  const child = [...process.execArgv, '--input-type=module', '-e', script].map(
    (word) => `'${word.replaceAll("'", `'\\''`)}'`,
  )
  const { stdout, status } = spawnSync('sh', ['-c', `exec '${process.execPath}' ${child.join(' ')} 2>/dev/full`], {
    encoding: 'utf8',
  })
  t.match({ stdout, status }, { stdout: 'goes on\n', status: 0 })
  t.end()
})
