import t from 'tap'
import { seededRandom, systemClock } from '../../src/clock.ts'
import { AgentHost, expectDone, writeBranchSecret } from './agent-host.ts'
import { sha256Of } from './generated-content.ts'
import { Lab, labProblem } from './lab.ts'
import type { LabProcess } from './lab-process.ts'
import { OriginHost } from './origin-host.ts'

const skip = labProblem() ?? false
const MIB = 1024 * 1024
/** SHORTHAUL_LAB_FULL=1 runs what the issue asks for; else a smaller run of the same. */
const isFull = process.env.SHORTHAUL_LAB_FULL === '1'
const SIZE_BYTES = (isFull ? 256 : 48) * MIB
const KILLS = isFull ? 20 : 5
/** What a dead process may have had in flight and not yet stored: several connections, a segment or two each. */
const IN_FLIGHT_BYTES = 8 * MIB

/** Resolves when the origin has sent this many bytes more, or when the process has ended by itself. */
async function afterOriginSent(origin: OriginHost, bytes: number, running: LabProcess): Promise<void> {
  const start = (await origin.totals()).contentBytes
  while (!running.ended && (await origin.totals()).contentBytes - start < bytes) await systemClock.sleep(5)
}

t.setTimeout(isFull ? 600_000 : 100_000)

void t.test(`a transfer survives ${KILLS} kill -9 of the fetching process`, { skip }, async (t) => {
  const lab = await Lab.up({ hosts: 1, downMbit: 100, delayUs: 5000 })
  t.teardown(() => lab.close())
  const [origin, secretFile] = await Promise.all([OriginHost.start(lab), writeBranchSecret(lab, 'branch')])
  const agent = await AgentHost.create(lab, 1, { secretFile })
  const url = origin.url(7, SIZE_BYTES)
  const seed = Number(process.env.SHORTHAUL_LAB_SEED ?? 1)
  const random = seededRandom(seed)
  const start = () => agent.startFetch(url, { target: 'file', embedded: true })

  let kills = 0
  for (let round = 0; round < KILLS; round++) {
    const running = start()
    // A quarter of the moments lie in the start-up, before any byte; the others anywhere in a share of the content.
    if (random() < 0.25) await systemClock.sleep(random() * 600)
    else await afterOriginSent(origin, (random() * 1.5 * SIZE_BYTES) / KILLS, running)
    if (running.ended) {
      t.equal(running.ended.code, 0, 'a run that was not killed in time had finished')
      break
    }
    await running.kill('SIGKILL')
    kills += 1
  }
  const done = expectDone(await agent.fetch(url, { target: 'file', embedded: true }))
  const { contentBytes } = await origin.totals()
  const extraBytes = contentBytes - SIZE_BYTES
  t.comment(`seed ${seed}: ${kills} kills, the origin sent ${(extraBytes / MIB).toFixed(1)} MiB more than the size`)
  t.ok(kills > 0, 'the process was killed')
  t.equal(done.bytes, SIZE_BYTES)
  t.equal(await agent.sha256('file'), sha256Of(7, SIZE_BYTES), 'the result is right')
  t.ok(extraBytes <= kills * IN_FLIGHT_BYTES, `${extraBytes} extra bytes for ${kills} kills`)
})
