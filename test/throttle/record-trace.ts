/**
 * Records what the WAN law saw on a real line, for wan-traces.test.ts:
 *
 *   node --import=./test/support/ts.mjs test/throttle/record-trace.ts NAME [--mbit 50] [--fifo-ms 250] [--rtt-ms 20] [--here]
 *
 * A background fetch has the line of a lab to itself, then curl downloads on another host (--here: on the same one), then
 * it is alone again. Needs what the lab needs, a build in dist/, and a machine that does nothing else.
 */
import { writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { systemClock } from '../../src/clock.ts'
import type { WanSample } from '../../src/throttle/wan-sample.ts'
import { AgentHost, writeBranchSecret } from '../lab/agent-host.ts'
import { Lab } from '../lab/lab.ts'
import { OriginHost } from '../lab/origin-host.ts'
import { encodeTrace, traceFile } from './wan-trace.ts'

const MIB = 1024 * 1024
const ALONE_MS = 8000
const TOGETHER_MS = 8000
const AGAIN_MS = 7000

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    mbit: { type: 'string', default: '50' },
    'fifo-ms': { type: 'string', default: '250' },
    'rtt-ms': { type: 'string', default: '20' },
    here: { type: 'boolean', default: false },
  },
})
const [name] = positionals
if (!name) throw new Error('NAME is missing')
const line = { mbit: Number(values.mbit), fifoMs: Number(values['fifo-ms']), rttMs: Number(values['rtt-ms']) }

const lab = await Lab.up({ hosts: 2, downMbit: line.mbit, fifoMs: line.fifoMs, delayUs: line.rttMs * 500 })
const samples: { readonly sample: WanSample; readonly wallMs: number }[] = []
try {
  const [origin, secretFile] = await Promise.all([OriginHost.start(lab), writeBranchSecret(lab, 'branch')])
  const agent = await AgentHost.create(lab, 1, { secretFile, config: { log: { level: 'trace' } } })
  const starting = agent.startDaemon()
  let rest = ''
  agent.daemon.onStderr((text) => {
    const lines = (rest + text).split('\n')
    rest = lines.pop() ?? ''
    for (const said of lines) {
      if (!said.includes('"sample":')) continue
      const { sample, time } = JSON.parse(said) as { readonly sample: WanSample; readonly time: string }
      samples.push({ sample, wallMs: Date.parse(time) })
    }
  })
  await starting
  const background = agent.startFetch(origin.url(1, 1024 * MIB), { args: ['--priority', 'normal'] })
  await systemClock.sleep(ALONE_MS)
  const fromMs = systemClock.nowMs()
  const seconds = String(TOGETHER_MS / 1000)
  await lab.exec(values.here ? 1 : 2, 'curl', ['-s', '-m', seconds, '-o', '/dev/null', origin.url(2, 1024 * MIB)])
  const untilMs = systemClock.nowMs()
  await systemClock.sleep(AGAIN_MS)
  await background.kill('SIGINT')
  const trace = encodeTrace({ ...line, isHere: values.here, samples, fromMs, untilMs })
  writeFileSync(traceFile(name), `${JSON.stringify(trace)}\n`)
  process.stdout.write(`${traceFile(name)}: ${samples.length} samples\n`)
} finally {
  await lab.close()
}
