import { join } from 'node:path'
import t from 'tap'
import { Agent } from '../../src/agent/agent.ts'
import { type Clock, systemClock } from '../../src/clock.ts'
import { type Config, loadConfig } from '../../src/config/load.ts'
import { PartFile } from '../../src/transfer/part-file.ts'
import type { TransferRequest } from '../../src/transfer/request.ts'
import { startTestOrigin } from '../support/test-origin.ts'

const origin = await startTestOrigin()
t.teardown(() => origin.close())

async function configIn(dir: string): Promise<Config> {
  const overrides = {
    dataDir: join(dir, 'data'),
    'network.interface': 'lo',
    'network.dhtPort': 0,
    'network.lanePort': 0,
    'network.beacon': false,
    'cache.minFreeBytes': 0,
  }
  return (await loadConfig({ env: {}, overrides, homeDir: dir, isRoot: false })).config
}

/** Nothing that is waited for comes by itself: only signals end a sleep. */
const stoppedClock: Clock = {
  ...systemClock,
  sleep: (_delayMs, options) => systemClock.sleep(2 ** 30, options),
}

function requestFor(url: string): TransferRequest {
  return {
    url,
    headers: [],
    sha256: null,
    priority: 'foreground',
    usePeers: true,
    useOrigin: true,
    originMaxBytesPerSec: null,
  }
}

await t.test('an embedded agent has content from the origin before it opens its network', async (t) => {
  const dir = t.testdir()
  await using agent = await Agent.open({ config: await configIn(dir), role: 'embedded' }, { clock: stoppedClock })
  const url = origin.serve('/early.bin', { seed: 1, lengthBytes: 20_000 })
  const result = await agent.fetch(requestFor(url), await PartFile.open(join(dir, 'early.bin')))
  t.match(result, { bytes: 20_000, sources: { origin: 20_000 } })
  t.equal((await agent.status()).network.state, 'starting')
  await agent.close()
  t.equal(agent.diagnoseNetwork(), null, 'and none is opened for leaving')
})

await t.test('whoever waits for the network of an embedded agent starts it', async (t) => {
  const dir = t.testdir()
  await using agent = await Agent.open({ config: await configIn(dir), role: 'embedded' }, { clock: stoppedClock })
  await agent.whenNetworkIsUp()
  t.equal((await agent.status()).network.state, 'up')
})
