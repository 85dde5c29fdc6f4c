/** Each verb of `bitsadmin` against an agent of this process: what it prints and what it does. */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { runCommandLine } from '../../src/cli/bitsadmin/bitsadmin.ts'
import type { JobId } from '../../src/jobs/job.ts'
import type { JobsApi } from '../../src/jobs/jobs-api.ts'
import { openJobsAgent, reaches } from '../support/jobs-agent.ts'
import { startTestOrigin } from '../support/test-origin.ts'

const origin = await startTestOrigin()
t.teardown(() => origin.close())

interface Bits {
  readonly dir: string
  readonly jobs: JobsApi
  /** Output without the banner. */
  run(...words: string[]): Promise<string>
  raw(...words: string[]): Promise<string>
}

const BANNER = /^\nBITSADMIN version 3\.0\nBITS administration utility\.\nshorthaul [^\n]+\n\n/

async function open(
  test: Pick<typeof t, 'testdir' | 'teardown'>,
  options: { readonly interrupt?: AbortSignal; readonly overrides?: Record<string, unknown> } = {},
): Promise<Bits> {
  const dir = test.testdir({ out: {} })
  const agent = await openJobsAgent(dir, options.overrides)
  test.teardown(() => agent.close())
  const { jobs } = agent
  const run = async (...words: string[]) => {
    let text = ''
    const surroundings = {
      cwd: join(dir, 'out'),
      columns: null,
      write: (more: string) => {
        text += more
      },
      warn: (more: string) => {
        text += `! ${more}\n`
      },
      interrupt: () => options.interrupt ?? new AbortController().signal,
    }
    await runCommandLine(words, surroundings, (use) => use(jobs))
    return text
  }
  return {
    dir,
    jobs,
    run: async (...words) => {
      const text = await run(...words)
      if (!BANNER.test(text)) throw new Error(`no banner: ${text}`)
      return text.replace(BANNER, '')
    },
    raw: async (...words) => (await run('/rawreturn', ...words)).replace(/\n$/, ''),
  }
}

async function create(bits: Bits, name: string): Promise<{ guid: string; id: JobId }> {
  const guid = await bits.raw('/create', name)
  return { guid, id: guid.slice(1, -1).toLowerCase() as JobId }
}

t.test('/create makes a suspended job of normal priority, found by name and by GUID', async (t) => {
  const bits = await open(t)
  const said = await bits.run('/CREATE', '/Download', 'one')
  const guid = /^Created job (\{[0-9A-F]{8}(?:-[0-9A-F]{4}){3}-[0-9A-F]{12}\})\.\n$/.exec(said)?.[1] ?? ''
  t.not(guid, '', said)
  for (const name of ['one', guid, guid.toLowerCase()]) {
    t.equal(await bits.raw('/getstate', name), 'SUSPENDED')
    t.equal(await bits.raw('/getpriority', name), 'NORMAL')
  }
  t.equal(await bits.run('/getstate', 'one'), 'The state of the job is SUSPENDED.\n')
  await t.rejects(bits.run('/create', '/upload', 'two'), { code: 'SHORTHAUL_USAGE', message: /uploads are not done/ })
  await t.rejects(bits.run('/create'), { code: 'SHORTHAUL_USAGE' })
  await t.rejects(bits.run('/create', 'a', 'b'), { code: 'SHORTHAUL_USAGE' })
  await t.rejects(bits.run('/resume', 'one'), { code: 'SHORTHAUL_JOB_STATE', message: /0x80200003$/ })
})

t.test('files are added, listed, moved to another server, fetched and completed', async (t) => {
  const bits = await open(t)
  const urls = ['/v/a', '/v/b', '/v/c', '/v/d'].map((path, seed) =>
    origin.serve(path, { seed, lengthBytes: 5000 + seed }),
  )
  const [a = '', b = '', c = '', d = ''] = urls
  const { guid, id } = await create(bits, 'files')
  const out = join(bits.dir, 'out')
  t.equal(await bits.run('/addfile', 'files', a, 'a.bin'), `Added ${a} -> ${out}/a.bin to job.\n`)
  await writeFile(join(out, 'set.txt'), `# two\n${b} b.bin\n${c} "c c.bin"\n`)
  t.equal(
    await bits.run('/addfileset', 'files', 'set.txt'),
    `Added ${b} -> ${out}/b.bin to job.\nAdded ${c} -> ${out}/c c.bin to job.\n`,
  )
  await bits.run('/addfile', 'files', d.replace('/v/', '/old/'), join(out, 'd.bin'))
  const old = d.slice(0, d.indexOf('/v/'))
  t.equal(
    await bits.run('/replaceremoteprefix', 'files', `${old}/old/`, `${old}/v/`),
    'Replaced the prefix of 1 file(s).\n',
  )
  t.equal(
    await bits.run('/listfiles', 'files'),
    `${[
      `0 / UNKNOWN WORKING ${a} -> ${out}/a.bin`,
      `0 / UNKNOWN WORKING ${b} -> ${out}/b.bin`,
      `0 / UNKNOWN WORKING ${c} -> ${out}/c c.bin`,
      `0 / UNKNOWN WORKING ${d} -> ${out}/d.bin`,
    ].join('\n')}\nListed 4 file(s).\n`,
  )
  t.equal(await bits.run('/list'), `${guid} 'files' SUSPENDED 0 / 4 0 / UNKNOWN\nListed 1 job(s).\n`)
  t.equal(await bits.raw('/list'), `${guid} 'files' SUSPENDED 0 / 4 0 / UNKNOWN`)
  t.equal(await bits.raw('/getbytestotal', 'files'), 'UNKNOWN')
  t.equal(await bits.run('/resume', 'files'), 'Job resumed.\n')
  await reaches(bits.jobs, id, ['transferred', 'error'])
  t.equal(await bits.run('/info', 'files'), `${guid} 'files' TRANSFERRED 4 / 4 20006 / 20006\n`)
  t.equal(await bits.raw('/getbytestotal', 'files'), '20006')
  t.equal(await bits.raw('/getbytestransferred', 'files'), '20006')
  t.equal(await bits.raw('/getfilestotal', 'files'), '4')
  t.equal(await bits.raw('/getfilestransferred', 'files'), '4')
  t.match(await bits.raw('/getcompletiontime', 'files'), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/)
  const temporary = await bits.raw('/gettemporaryname', 'files', '0')
  t.equal((await readFile(temporary)).length, 5000)
  await t.rejects(bits.run('/gettemporaryname', 'files', '4'), { code: 'SHORTHAUL_JOB_NOT_FOUND' })
  t.equal(await bits.run('/complete', 'files'), 'Job completed.\n')
  const content = origin.content('/v/d')
  t.ok(content.read(0, content.lengthBytes).equals(await readFile(join(out, 'd.bin'))))
  // As in BITS: what ended has no name any more.
  await t.rejects(bits.run('/getstate', 'files'), { code: 'SHORTHAUL_JOB_NOT_FOUND', message: /0x80200001$/ })
  t.equal(await bits.raw('/getstate', guid), 'ACKNOWLEDGED')
  t.equal(await bits.run('/list'), 'Listed 0 job(s).\n')
  await t.rejects(bits.run('/addfileset', guid, 'none.txt'), { code: 'SHORTHAUL_USAGE', message: /ENOENT/ })
})

t.test('/addfilewithranges adds offsets and lengths as the job has them', async (t) => {
  const bits = await open(t)
  const { guid, id } = await create(bits, 'ranges')
  const url = origin.serve('/ranges', { seed: 9, lengthBytes: 1000 })
  const target = join(bits.dir, 'out', 'r.bin')
  t.equal(
    await bits.run('/addfilewithranges', guid, url, 'r.bin', '0:10,100:20,990:eof'),
    `Added ${url} -> ${target} to job.\n`,
  )
  const { files } = await bits.jobs.files(id)
  t.match(files, [
    {
      target,
      ranges: [
        { startBytes: 0, endBytes: 10 },
        { startBytes: 100, endBytes: 120 },
        { startBytes: 990, endBytes: null },
      ],
    },
  ])
  await t.rejects(bits.run('/addfilewithranges', guid, url, 'x.bin', '0:10,5:10'), {
    code: 'SHORTHAUL_USAGE',
    message: /overlap/,
  })
})

t.test('everything that can be set can be read again', async (t) => {
  const bits = await open(t, { overrides: { 'jobs.commandDirs': ['/opt/shorthaul-test'] } })
  const { guid } = await create(bits, 'set')
  const cases = [
    ['description', ['two words'], "Description set to 'two words'.", 'two words'],
    ['priority', ['high'], 'Priority set to HIGH.', 'HIGH'],
    ['minretrydelay', ['60'], 'Minimum retry delay set to 60.', '60'],
    ['noprogresstimeout', ['0'], 'No progress timeout set to 0.', '0'],
    ['maxdownloadtime', ['3600'], 'Maximum download time set to 3600.', '3600'],
    ['notifyflags', ['0x13'], 'Notification flags set to 0x13.', '0x13'],
    ['peercachingflags', ['0'], 'Peer caching flags set to 0x2.', '0x2'],
    ['peercachingflags', ['3'], 'Peer caching flags set to 0x3.', '0x3'],
    [
      'notifycmdline',
      ['/opt/shorthaul-test/tell', '/opt/shorthaul-test/tell "a b" c'],
      `Notification command line set to '/opt/shorthaul-test/tell' '"a b" c'.`,
      `'/opt/shorthaul-test/tell' '"a b" c'`,
    ],
    ['notifycmdline', ['NULL', 'NULL'], 'Notification command line set to none.', 'none'],
    ['customheaders', ['X-One: secret', 'X-Two:2'], 'Custom headers set: X-One, X-Two.', 'X-One, X-Two'],
    ['displayname', ['other'], "Display name set to 'other'.", 'other'],
  ] as const
  for (const [name, args, said, value] of cases) {
    t.equal(await bits.run(`/set${name}`, guid, ...args), `${said}\n`)
    t.equal(await bits.raw(`/get${name}`, guid), value)
  }
  t.equal(await bits.raw('/setpriority', guid, 'low'), '')
  t.equal(await bits.run('/setproxysettings', guid, 'OVERRIDE', 'proxy:3128', 'NULL'), 'Proxy usage set to OVERRIDE.\n')
  t.equal(await bits.raw('/getproxyusage', guid), 'OVERRIDE')
  t.equal(await bits.raw('/getproxylist', guid), 'http://proxy:3128')
  t.equal(await bits.raw('/getproxybypasslist', guid), 'NULL')
  t.equal(await bits.raw('/gettype', guid), 'DOWNLOAD')
  t.equal(await bits.raw('/geterrorcount', guid), '0')
  t.equal(await bits.raw('/geterror', guid), '0x00000000')
  t.match(await bits.raw('/getowner', guid), /./)
  t.match(await bits.raw('/getcreationtime', guid), /^\d{4}-/)
  t.match(await bits.raw('/getmodificationtime', guid), /^\d{4}-/)
  t.equal(await bits.raw('/getcompletiontime', guid), 'UNKNOWN')
  t.match(await bits.run('/makecustomheaderswriteonly', guid), 'write-only')
  t.match(
    await bits.run('/info', guid, '/verbose'),
    `GUID: ${guid} DISPLAY: 'other'\nTYPE: DOWNLOAD STATE: SUSPENDED OWNER: `,
  )
  t.match(await bits.run('/list', '/verbose'), 'PRIORITY: LOW FILES: 0 / 0 BYTES: 0 / 0')
  t.notMatch(await bits.run('/info', guid, '/verbose'), 'secret')
  await t.rejects(bits.run('/setpriority', guid, 'urgent'), { code: 'SHORTHAUL_USAGE', message: /FOREGROUND/ })
  await t.rejects(bits.run('/setnotifycmdline', guid, '/bin/sh', 'NULL'), {
    code: 'SHORTHAUL_FORBIDDEN',
    message: /0x80070005$/,
  })
})

t.test('credentials are sent as Basic, and neither they nor custom headers are lost without a word', async (t) => {
  const bits = await open(t)
  const { guid, id } = await create(bits, 'secret')
  const path = '/basic'
  const url = origin.serve(path, { seed: 7, lengthBytes: 100 })
  await bits.run('/addfile', guid, url, 'basic.bin')
  t.equal(await bits.run('/setcredentials', guid, 'server', 'basic', 'anna', 'p:w'), 'Credentials set.\n')
  t.equal(await bits.raw('/getcustomheaders', guid), 'Authorization')
  await t.rejects(bits.run('/setcustomheaders', guid, 'X-A: 1'), { code: 'SHORTHAUL_JOB_STATE' })
  await bits.run('/resume', guid)
  await reaches(bits.jobs, id, ['transferred', 'error'])
  t.equal(await bits.raw('/getstate', guid), 'TRANSFERRED')
  const token = `Basic ${Buffer.from('anna:p:w').toString('base64')}`
  const seen = origin.requests(path, 'GET')
  t.ok(seen.length > 0 && seen.every(({ headers }) => headers.authorization === token))
  t.equal(await bits.run('/removecredentials', guid, 'SERVER', 'BASIC'), 'Credentials removed.\n')
  t.equal(await bits.raw('/getcustomheaders', guid), 'NULL')
  await bits.run('/setcustomheaders', guid, 'X-A: 1')
  await t.rejects(bits.run('/setcredentials', guid, 'SERVER', 'BASIC', 'anna', 'x'), { code: 'SHORTHAUL_JOB_STATE' })
  for (const words of [
    ['PROXY', 'BASIC'],
    ['SERVER', 'NTLM'],
  ]) {
    await t.rejects(bits.run('/setcredentials', guid, ...words, 'anna', 'x'), { code: 'SHORTHAUL_USAGE' })
  }
})

t.test('/transfer makes, runs and completes a job, and fails when it fails', async (t) => {
  const bits = await open(t)
  const url = origin.serve('/t/a', { seed: 3, lengthBytes: 70_000 })
  const other = origin.serve('/t/b', { seed: 4, lengthBytes: 0 })
  const target = join(bits.dir, 'out', 'second')
  const said = await bits.run('/transfer', 'tr', '/Download', '/PRIORITY', 'foreground', url, 'first', other, target)
  t.equal(said, 'Transfer complete.\n')
  t.equal((await readFile(join(bits.dir, 'out', 'first'))).length, 70_000)
  t.equal((await readFile(target)).length, 0)
  t.equal(await bits.raw('/transfer', 'quiet', url, 'third'), '')
  await t.rejects(bits.run('/transfer', 'tr', url.replace('/t/a', '/none'), 'fourth'), {
    code: 'SHORTHAUL_ORIGIN_NOT_FOUND',
    message: /0x80190194$/,
    exit: 3,
  })
  t.equal(await bits.run('/list'), 'Listed 0 job(s).\n', 'what failed is cancelled')
  await t.rejects(bits.run('/transfer', 'tr', url), { code: 'SHORTHAUL_USAGE' })
  await t.rejects(bits.run('/transfer', 'tr', '/upload', url, 'x'), { code: 'SHORTHAUL_USAGE' })
})

t.test('/transfer that is interrupted leaves no job behind', async (t) => {
  const interrupt = new AbortController()
  const bits = await open(t, { interrupt: interrupt.signal })
  const url = origin.serve('/t/stall', { seed: 3, lengthBytes: 70_000 })
  origin.behave('/t/stall', { stallAfterBytes: 10 })
  const going = bits.run('/transfer', 'tr', url, 'x')
  const stop = new AbortController()
  for await (const event of bits.jobs.events({ after: 0, signal: stop.signal })) {
    if (event.kind === 'state' && event.state === 'connecting') break
  }
  stop.abort()
  interrupt.abort()
  await t.rejects(going, { code: 'SHORTHAUL_ABORTED', message: /cancelled/ })
  t.equal(await bits.raw('/list'), '')
})

t.test('a job that failed says so with the number of BITS', async (t) => {
  const bits = await open(t)
  const { guid, id } = await create(bits, 'bad')
  const url = origin.url('/nowhere')
  await bits.run('/addfile', 'bad', url, 'bad.bin')
  await bits.run('/resume', 'bad')
  await reaches(bits.jobs, id, ['error'])
  t.match(await bits.raw('/geterror', 'bad'), /^0x80190194 SHORTHAUL_ORIGIN_NOT_FOUND ./)
  const said = await bits.run('/geterror', 'bad')
  t.match(said, `ERROR FILE:    ${url} -> ${join(bits.dir, 'out', 'bad.bin')}\nERROR CODE:    0x80190194 - `)
  t.match(said, 'ERROR CONTEXT: 0x00000005')
  t.equal(await bits.raw('/geterrorcount', 'bad'), '1')
  t.match(await bits.run('/complete', guid), '! 1 file(s) were not whole')
})

t.test('jobs are suspended, cancelled and reset; names that several have are refused', async (t) => {
  const bits = await open(t)
  const one = await create(bits, 'same')
  await create(bits, 'same')
  await t.rejects(bits.run('/suspend', 'same'), { code: 'SHORTHAUL_USAGE', message: one.guid })
  t.equal(await bits.run('/suspend', one.guid), 'Job suspended.\n')
  t.match(await bits.run('/takeownership', one.guid), `Took ownership of job ${one.guid}`)
  t.equal(await bits.run('/cancel', one.guid), 'Job cancelled.\n')
  t.equal(await bits.run('/suspend', 'same'), 'Job suspended.\n')
  t.match(await bits.run('/reset', '/ALLUSERS'), /^\{[-0-9A-F]{36}\} cancelled\.\n1 out of 1 job\(s\) cancelled\.\n$/)
  t.equal(await bits.run('/list', '/allusers'), 'Listed 0 job(s).\n')
})

t.test('/monitor lists until it is interrupted', async (t) => {
  const stop = new AbortController()
  const going = await open(t, { interrupt: stop.signal })
  const { guid } = await create(going, 'watched')
  const list = going.jobs.list.bind(going.jobs)
  Object.assign(going.jobs, {
    list: (options: Parameters<typeof list>[0]) => {
      stop.abort()
      return list(options)
    },
  })
  t.equal(
    await going.run('/monitor'),
    `MONITORING BACKGROUND COPY MANAGER (5 second refresh)\n${guid} 'watched' SUSPENDED 0 / 0 0 / 0\n`,
  )
  t.equal(await going.run('/monitor', '/refresh', '1'), '', 'interrupted before it began')
  await t.rejects(going.run('/monitor', '/refresh', '0'), { code: 'SHORTHAUL_USAGE' })
})

t.test('help, version and examples need no agent; the rest is refused with the reason', async (t) => {
  const bits = await open(t)
  t.match(await bits.run('/help'), '/transfer NAME')
  t.match(await bits.run('/?'), '/transfer NAME')
  t.match(await bits.run(), '/transfer NAME')
  t.match(await bits.raw('/util', '/version'), /^\d+\.\d+\.\d+/)
  t.match(await bits.run('/util', '/help'), '/util /version')
  t.match(await bits.run('/examples'), 'shorthaul bitsadmin /create')
  await t.rejects(bits.run('/setaclflag', 'x', 'o'), { code: 'SHORTHAUL_USAGE', message: /access lists/ })
  await t.rejects(bits.run('/Cache', '/Clear'), { code: 'SHORTHAUL_USAGE', message: /cache/ })
  await t.rejects(bits.run('/nonsense'), { code: 'SHORTHAUL_USAGE', message: /no such switch/ })
  await t.rejects(bits.run('/getstate'), { code: 'SHORTHAUL_USAGE', message: /expected \/getstate JOB/ })
  await t.rejects(bits.run('/getstate', 'none'), { code: 'SHORTHAUL_JOB_NOT_FOUND', exit: 2 })
})
