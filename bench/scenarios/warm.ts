/** One neighbour has it: how fast does it cross the LAN, unshaped (so: what the CPUs allow) and at 1 Gbit/s? */
import { execFile } from 'node:child_process'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { AgentHost } from '../../test/lab/agent-host.ts'
import { type BenchLab, withLab } from '../bench-lab.ts'
import { curl, shorthaul, toolVersion } from '../contenders.ts'
import { cpuMs } from '../process-cost.ts'
import { type BenchOptions, MIB, type Row, type Scenario, type ScenarioResult } from '../scenario.ts'
import { median, rounded } from '../statistics.ts'

const SEEDER = 1
const FETCHER = 2

/** nginx on the seeder's host, over HTTPS, with the same cipher as the lane; serves `folder`. */
async function startNginx({ lab }: BenchLab, folder: string): Promise<string> {
  const dir = join(lab.stateDir, 'nginx')
  await mkdir(dir)
  const [key, certificate] = [join(dir, 'key.pem'), join(dir, 'cert.pem')]
  const subject = ['-subj', '/CN=lab', '-days', '2']
  const files = ['-keyout', key, '-out', certificate]
  await promisify(execFile)('openssl', [
    'req',
    '-x509',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:P-256',
    '-nodes',
    ...files,
    ...subject,
  ])
  const config = `daemon off; user root; pid ${dir}/pid; error_log stderr; worker_processes 2; events {}
    http { access_log off; sendfile on; client_body_temp_path ${dir}/t1; proxy_temp_path ${dir}/t2;
      fastcgi_temp_path ${dir}/t3; uwsgi_temp_path ${dir}/t4; scgi_temp_path ${dir}/t5;
      server { listen 0.0.0.0:443 ssl; ssl_certificate ${certificate}; ssl_certificate_key ${key};
        ssl_protocols TLSv1.3; ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256; root ${folder}; } }`
  await writeFile(join(dir, 'nginx.conf'), config)
  lab.spawn(SEEDER, 'nginx', ['-c', join(dir, 'nginx.conf'), '-p', dir])
  const url = `https://${lab.hostAddress(SEEDER)}`
  const probe = ['-sk', '--retry', '20', '--retry-connrefused', '--retry-delay', '1', '-o', '/dev/null', url]
  const { code } = await lab.exec(FETCHER, 'curl', probe)
  if (code !== 0) throw new Error('nginx does not answer')
  return url
}

interface Measured {
  readonly durationMs: number
  readonly cpuMs: number | null
}

/** A daemon with an empty data directory takes the content from the seeder. */
async function fetchOnce(
  benchLab: BenchLab,
  seeder: AgentHost,
  options: { url: string; bytes: number; name: string },
): Promise<Measured> {
  const fetcher = await benchLab.agent(FETCHER, { name: options.name })
  await fetcher.startDaemon()
  await fetcher.waitForPeers(1)
  const daemons = [seeder.daemon.pid, fetcher.daemon.pid]
  const before = await cpuMs(daemons)
  const { durationMs, value } = await shorthaul(fetcher, options.url)
  const usedMs = (await cpuMs(daemons)) - before
  await fetcher.killDaemon()
  await rm(fetcher.homeDir, { recursive: true })
  if (value.sources.peer !== options.bytes)
    throw new Error(`not all came from the peer: ${JSON.stringify(value.sources)}`)
  return { durationMs, cpuMs: usedMs }
}

function rowOf(contender: string, lan: string, options: { bytes: number; measured: readonly Measured[] }): Row {
  const { bytes, measured } = options
  const medianMs = median(measured.map((one) => one.durationMs))
  const cpu = measured.map((one) => one.cpuMs).filter((one) => one !== null)
  return {
    lan,
    contender,
    bytes,
    runs: measured.length,
    medianMs: rounded(medianMs),
    mibPerSec: rounded(bytes / MIB / (medianMs / 1000)),
    daemonsCpuSecPerGiB: cpu.length === 0 ? null : rounded(median(cpu) / 1000 / (bytes / 1024 ** 3), 2),
  }
}

async function run({ runs, sizeBytes, say }: BenchOptions): Promise<ScenarioResult> {
  const bytes = sizeBytes ?? 1024 * MIB
  const remarks = ['times from start to end of the command; CPU is of both daemons together, without the command']
  if (toolVersion('nginx') === null) remarks.push('nginx is not installed here: curl from nginx over HTTPS left out')
  const rows = await withLab({ hosts: 2, downMbit: 2000, upMbit: 2000, delayUs: 0 }, async (benchLab) => {
    const { lab } = benchLab
    const seeder = await benchLab.agent(SEEDER)
    await seeder.startDaemon()
    const url = benchLab.newUrl(bytes)
    await seeder.fetch(url, { target: 'file', timeoutMs: 600_000 })
    const nginxUrl = toolVersion('nginx') === null ? null : await startNginx(benchLab, seeder.homeDir)
    const found: Row[] = []
    for (const lanMbit of [null, 1000]) {
      await lab.setLanRate(SEEDER, lanMbit)
      const lan = lanMbit === null ? 'unshaped' : `${lanMbit} Mbit/s`
      const byCurl: Measured[] = []
      const byUs: Measured[] = []
      for (let run = 1; run <= runs; run++) {
        if (nginxUrl !== null) byCurl.push({ durationMs: await curl(lab, FETCHER, `${nginxUrl}/file`), cpuMs: null })
        byUs.push(await fetchOnce(benchLab, seeder, { url, bytes, name: `fetcher-${lan[0]}${run}` }))
        say(`${lan}, run ${run} of ${runs}: ${rounded(byUs.at(-1)?.durationMs ?? 0)} ms`)
      }
      if (byCurl.length > 0) found.push(rowOf('curl from nginx, HTTPS', lan, { bytes, measured: byCurl }))
      found.push(rowOf('shorthaul, daemons', lan, { bytes, measured: byUs }))
    }
    return found
  })
  return { rows, remarks }
}

export const warm: Scenario = {
  name: 'warm',
  title: 'one seeder, one fetcher on the LAN',
  defaultRuns: 3,
  bars: [],
  run,
}
