/**
 * Publish, serve, fetch, as a user has it: the built command, nginx with the configuration that `publish` prints, https
 * with a private CA, two daemons of one branch. Skipped where there is no nginx.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { mkdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs'
import { get } from 'node:https'
import { type AddressInfo, createServer } from 'node:net'
import t, { type Test } from 'tap'
import { SEGMENT_BYTES } from '../../src/content/segmentation.ts'
import { WEB_SERVER_SNIPPETS } from '../../src/publish/web-servers.ts'
import { generatedContent } from '../support/generated-content.ts'
import { TEST_CERT_FILE, TEST_KEY_FILE } from '../support/test-origin.ts'
import { CLI_TEST_TIMEOUT_MS, CliHome } from './cli-home.ts'

t.setTimeout(CLI_TEST_TIMEOUT_MS)

const SIZE = 12 * SEGMENT_BYTES + 5
/** An hour ago: nginx makes the ETag of time and size, so that both contents have the same. */
const TIME = new Date(Math.floor(Date.now() / 1000) * 1000 - 3_600_000)

function hasNginx(): boolean {
  try {
    execFileSync('nginx', ['-v'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

/** The two parts that `publish` prints, where it says that they belong. */
function configOf(dir: string, port: number): string {
  const [inHttp = '', inLocation = ''] = WEB_SERVER_SNIPPETS.nginx.split('# and in the location')
  return `daemon off; ${process.getuid?.() === 0 ? 'user root;' : ''} pid ${dir}/pid; error_log stderr error; events {}
http {
  client_body_temp_path ${dir}/t1; proxy_temp_path ${dir}/t2; fastcgi_temp_path ${dir}/t3;
  uwsgi_temp_path ${dir}/t4; scgi_temp_path ${dir}/t5;
  log_format bytes '$request_method $request_uri $body_bytes_sent'; access_log ${dir}/access.log bytes;
  ${inHttp}
  server {
    listen 127.0.0.1:${port} ssl; ssl_certificate ${TEST_CERT_FILE}; ssl_certificate_key ${TEST_KEY_FILE};
    location / { root ${dir}/www; # ${inLocation}
    }
  }
}`
}

async function startNginx(t: Test, dir: string): Promise<{ url: string; contentBytes: () => number }> {
  const port = await freePort()
  writeFileSync(`${dir}/nginx.conf`, configOf(dir, port))
  const child: ChildProcess = spawn('nginx', ['-c', `${dir}/nginx.conf`, '-p', dir], { stdio: 'pipe' })
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  t.teardown(async () => {
    child.kill('SIGTERM')
    await ended
  })
  let trouble = ''
  child.stderr?.on('data', (chunk: Buffer) => {
    trouble += chunk.toString()
  })
  const url = `https://127.0.0.1:${port}`
  for (let isUp = false; !isUp; ) {
    if (child.exitCode !== null) throw new Error(`nginx ended: ${trouble}`)
    isUp = await new Promise<boolean>((resolve) => {
      get(url, { ca: readFileSync(TEST_CERT_FILE) }, (response) => resolve(response.resume() !== null)).on(
        'error',
        () => resolve(false),
      )
    })
  }
  const contentBytes = () => {
    let sum = 0
    for (const line of readFileSync(`${dir}/access.log`, 'utf8').split('\n')) {
      const [method, path, bytes] = line.split(' ')
      if (method === 'GET' && path === '/a.iso') sum += Number(bytes)
    }
    return sum
  }
  return { url, contentBytes }
}

void t.test('a lie that a member signed costs one segment', { skip: hasNginx() ? false : 'no nginx' }, async (t) => {
  const origin = { caFile: TEST_CERT_FILE }
  const liar = new CliHome({ branch: { secretFile: 'branch.secret' }, origin })
  t.teardown(() => liar.close())
  t.equal((await liar.run(['branch', 'init'])).code, 0)
  const reader = new CliHome({ branch: { secretFile: `${liar.dir}/branch.secret` }, origin })
  t.teardown(() => reader.close())
  const truth = generatedContent(1, SIZE).read(0, SIZE)
  const forged = Buffer.from(truth)
  forged[7 * SEGMENT_BYTES] = (forged[7 * SEGMENT_BYTES] ?? 0) ^ 1
  const dir = t.testdir()
  mkdirSync(`${dir}/www`)
  const serve = (name: string, bytes: Buffer) => {
    writeFileSync(`${dir}/www/${name}`, bytes)
    utimesSync(`${dir}/www/${name}`, TIME, TIME)
  }
  serve('a.iso', forged)
  serve('odd name %41?.bin', Buffer.from('odd'))
  const { url, contentBytes } = await startNginx(t, dir)
  await Promise.all([liar.daemon(), reader.daemon()])

  // The liar signs what it had of its origin, which is not what the others will get from theirs.
  t.match((await liar.run(['fetch', `${url}/a.iso`, '--json'])).last(), { trust: 'origin' })
  serve('a.iso', truth)
  const published = await liar.run(['publish', `${dir}/www`, '--json'])
  t.match(published.last(), { event: 'summary', done: 2, exit: 0 })
  // They have met when something that only the liar has is had without the origin.
  t.equal((await reader.run(['fetch', `${url}/a.iso`, '--no-origin', '-o', 'believed'])).code, 0)
  t.ok(readFileSync(reader.path('believed')).equals(forged), 'without the origin the lie is believed')
  t.match((await reader.run(['cache', 'ls', '--json'])).last(), { entries: [{ trust: 'attested' }] })
  t.equal((await reader.run(['cache', 'rm', `${url}/a.iso`])).code, 0)

  const before = contentBytes()
  const got = await reader.run(['fetch', `${url}/a.iso`, '--json', '-o', 'a.iso'])
  t.equal(got.code, 0, got.stderr)
  t.ok(readFileSync(reader.path('a.iso')).equals(truth), 'the bytes are right')
  t.match(got.last(), { event: 'done', trust: 'declared', wastedBytes: 0, sources: { cache: 0 } })
  const { origin: fromOrigin, peer } = got.last().sources as { origin: number; peer: number }
  t.equal(fromOrigin + peer, SIZE)
  // The forged one, and what is asked for before the neighbour has said what it has: none, when the machine is idle.
  t.ok(fromOrigin >= SEGMENT_BYTES && fromOrigin <= SIZE / 2, `${fromOrigin} bytes from the origin`)
  t.equal(contentBytes() - before, fromOrigin, 'nginx sent no more')
  t.match((await reader.run(['cache', 'ls', '--json'])).last(), { entries: [{ trust: 'declared' }] })
  t.match((await reader.run(['fetch', `${url}/a.iso`, '-o', 'again'])).stderr, /, declared\n/)

  const doctor = await reader.run(['doctor', '--json', '--origin', `${url}/odd%20name%20%2541%3F.bin`])
  t.match(
    doctor.text,
    /odd%20name%20%2541%3F\.bin\.shorthaul-manifest/,
    'names of any kind are named as they were asked',
  )
})
