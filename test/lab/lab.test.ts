import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { TS_IMPORT } from '../support/ts-import.ts'
import { sha256Of } from './generated-content.ts'
import { LAB_TEST_TIMEOUT_MS, Lab, labProblem } from './lab.ts'
import { OriginHost } from './origin-host.ts'
import { until } from './until.ts'

const skip = labProblem() ?? false

t.setTimeout(LAB_TEST_TIMEOUT_MS)

void t.test('the lab itself', { skip }, async (t) => {
  const lab = await Lab.up({ hosts: 3, downMbit: 500, upMbit: 500, delayUs: 1000 })
  t.teardown(() => lab.close())
  const origin = await OriginHost.start(lab)
  const bytes = 3_000_000
  const url = origin.url(1, bytes)
  const reaches = async (from: number, to: number) => {
    const listener = lab.spawn(to, process.execPath, [
      '-e',
      `require('net').createServer((s) => s.end()).listen(7000, '0.0.0.0', () => console.log('on'))`,
    ])
    await listener.waitForLine((line) => line === 'on', { timeoutMs: 10_000 })
    const dial = await lab.exec(from, 'timeout', ['1', 'bash', '-c', `exec 3<>/dev/tcp/${lab.hostAddress(to)}/7000`])
    await listener.kill('SIGKILL')
    return dial.code === 0
  }
  const reachesOrigin = async (from: number) =>
    (await lab.exec(from, 'curl', ['-s', '-m', '1', '-o', '/dev/null', origin.url(1, 10)])).code === 0

  await t.test('a host gets exactly the generated content, whole and by range, and the origin counts it', async (t) => {
    await origin.reset()
    const before = await lab.wanBytesIn()
    const whole = await lab.exec(1, 'bash', ['-c', `curl -s ${url} | sha256sum`])
    t.equal(whole.stdout.split(' ')[0], sha256Of(1, bytes))
    const parts = await lab.exec(2, 'bash', [
      '-c',
      `(curl -s -r 0-1000006 ${url}; curl -s -r 1000007-1999999 ${url}; curl -s -r -1000000 ${url}) | sha256sum`,
    ])
    t.equal(parts.stdout.split(' ')[0], sha256Of(1, bytes))
    const totals = await origin.totals()
    t.equal(totals.contentBytes, 2 * bytes)
    t.equal(totals.requests, 4)
    t.equal(totals.byRemote[lab.hostAddress(2)]?.contentBytes, bytes)
    const carried = (await lab.wanBytesIn()) - before
    t.ok(carried > 2 * bytes && carried < 2.3 * bytes, `the WAN carried ${carried} bytes`)
  })

  await t.test('the origin keeps its validators and changes them with the generation', async (t) => {
    const head = async (...args: string[]) => (await lab.exec(1, 'curl', ['-s', '-I', ...args, url])).stdout
    const etag = /etag: (\S+)/i.exec(await head())?.[1] ?? ''
    t.match(await head('-H', `If-Range: ${etag}`, '-r', '0-9'), /206 Partial/)
    t.match(await head('-H', `If-None-Match: ${etag}`), / 304 /)
    await origin.set({ nextGenerationAfterBytes: 1_000_000 })
    const old = await lab.exec(1, 'bash', ['-c', `curl -s ${url} | sha256sum`])
    t.equal(old.stdout.split(' ')[0], sha256Of(1, bytes, 1), 'an answer that began stays of its generation')
    const next = await lab.exec(1, 'bash', ['-c', `curl -s ${url} | sha256sum`])
    t.equal(next.stdout.split(' ')[0], sha256Of(1, bytes, 2))
    t.match(await head('-H', `If-Range: ${etag}`, '-r', '0-9'), / 200 /)
    t.match(await head('-H', `If-Match: ${etag}`), / 412 /)
    t.match(await head('-r', '3000000-'), / 416 /)
  })

  await t.test('an origin that limits each connection still sends all', async (t) => {
    await origin.reset()
    await origin.set({ rateBytesPerSec: 5_000_000 })
    const limited = await lab.exec(1, 'curl', ['-s', '-m', '30', '-o', '/dev/null', url])
    await origin.set({ rateBytesPerSec: null })
    t.equal(limited.code, 0)
    t.equal((await origin.totals()).contentBytes, bytes)
  })

  await t.test('the origin sends by another congestion control from when it is told to', async (t) => {
    const used = async (port: number) => {
      const listener = lab.spawn('origin', process.execPath, [
        '-e',
        `require('net').createServer().listen(${port}, '0.0.0.0', () => console.log('on'))`,
      ])
      await listener.waitForLine((line) => line === 'on', { timeoutMs: 10_000 })
      const dialer = lab.spawn(1, 'bash', ['-c', `exec 3<>/dev/tcp/${lab.originAddress}/${port}; echo on; sleep 60`])
      await dialer.waitForLine((line) => line === 'on', { timeoutMs: 10_000 })
      const { stdout } = await lab.exec('origin', 'ss', ['-tiHn', 'sport', '=', String(port)])
      await Promise.all([dialer.kill('SIGKILL'), listener.kill('SIGKILL')])
      return stdout
    }
    t.match(await used(7001), / cubic /)
    await lab.setCongestionControl('reno')
    t.match(await used(7002), / reno /)
    await lab.setCongestionControl('cubic')
  })

  await t.test('links, partition and isolation cut what they say, and heal', async (t) => {
    t.ok(await reaches(1, 2))
    await lab.isolate([1, 2])
    t.notOk(await reaches(1, 2))
    t.ok(await reachesOrigin(1))
    await lab.heal([1, 2])
    t.ok(await reaches(1, 2))
    await lab.partition([1, 2])
    t.ok(await reaches(1, 2))
    t.notOk(await reachesOrigin(1))
    t.ok(await reachesOrigin(3))
    await lab.heal([1, 2])
    await lab.setLink(1, 'down')
    t.notOk(await reachesOrigin(1))
    await lab.setLink(1, 'up')
    await until(async () => (await reachesOrigin(1)) || undefined, { timeoutMs: 10_000, what: 'the link to be back' })
  })

  await t.test('a lab whose process was killed is swept by the next one', async (t) => {
    const script = `import { Lab } from ${JSON.stringify(fileURLToPath(new URL('lab.ts', import.meta.url)))}
      console.log((await Lab.up({ hosts: 1 })).name); setInterval(() => {}, 1000)`
    const child = spawn(process.execPath, [TS_IMPORT, '--input-type=module', '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const [name] = await once(child.stdout.setEncoding('utf8'), 'data')
    child.kill('SIGKILL')
    await once(child, 'exit')
    const namespaces = async () => (await lab.exec(1, 'ip', ['netns', 'list'])).stdout
    t.match(await namespaces(), String(name).trim())
    await (await Lab.up({ hosts: 1 })).close()
    t.notMatch(await namespaces(), String(name).trim())
  })
})
