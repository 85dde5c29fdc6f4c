import t from 'tap'
import { AgentHost, expectDone, fetchResult, peakResidentBytes, writeBranchSecret } from './agent-host.ts'
import { sha256Of } from './generated-content.ts'
import { LAB_TEST_TIMEOUT_MS, Lab, labProblem } from './lab.ts'
import type { LabProcess } from './lab-process.ts'
import { OriginHost } from './origin-host.ts'

const skip = labProblem() ?? false
const MIB = 1024 * 1024
const SIZE_BYTES = 320 * MIB // bench/scenarios/memory.ts does 4 GiB
const LIMIT_BYTES = 200 * MIB

/** The last peak that could be read before the process ended. */
async function watchPeak(process_: LabProcess): Promise<() => number> {
  let peakBytes = await peakResidentBytes(process_.pid)
  const timer = setInterval(() => {
    peakResidentBytes(process_.pid).then(
      (bytes) => {
        peakBytes = Math.max(peakBytes, bytes)
      },
      () => clearInterval(timer),
    )
  }, 50)
  void process_.exit.then(() => clearInterval(timer))
  return () => peakBytes
}

t.setTimeout(LAB_TEST_TIMEOUT_MS)

void t.test('memory stays small while a big file goes from peer to peer', { skip }, async (t) => {
  const lab = await Lab.up({ hosts: 2, downMbit: 2000, upMbit: 2000, delayUs: 0 })
  t.teardown(() => lab.close())
  const [origin, secretFile] = await Promise.all([OriginHost.start(lab), writeBranchSecret(lab, 'branch')])
  const [seeder, fetcher] = await Promise.all([1, 2].map((host) => AgentHost.create(lab, host, { secretFile })))
  if (!seeder || !fetcher) throw new Error('two agents were made')
  await Promise.all([seeder.startDaemon(), fetcher.startDaemon()])
  const url = origin.url(21, SIZE_BYTES)
  expectDone(await seeder.fetch(url, { target: 'file' }))
  await fetcher.waitForPeers(1)

  const running = fetcher.startFetch(url, { target: 'file' })
  const commandPeak = await watchPeak(running)
  const done = expectDone(await fetchResult(running))
  t.match(done.sources, { peer: SIZE_BYTES, origin: 0 })
  t.equal(await fetcher.sha256('file'), sha256Of(21, SIZE_BYTES))
  const peaks = {
    'the serving daemon': await peakResidentBytes(seeder.daemon.pid),
    'the fetching daemon': await peakResidentBytes(fetcher.daemon.pid),
    'the command': commandPeak(),
  }
  for (const [who, bytes] of Object.entries(peaks)) {
    t.ok(bytes < LIMIT_BYTES, `${who} had at most ${Math.round(bytes / MIB)} MiB resident`)
  }
})
