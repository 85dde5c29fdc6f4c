/**
 * One agent of the demo, a process of its own: the parent tells it over IPC what to fetch, and, to one of them, to lie.
 * Everything else is the same Agent that the daemon runs.
 */
import { Agent } from '../agent/agent.ts'
import type { Config } from '../config/schema.ts'
import { isShorthaulError } from '../errors.ts'
import { PartFile } from '../transfer/part-file.ts'
import type { TransferNote, TransferResult } from '../transfer/request.ts'

export interface DemoStart {
  readonly do: 'start'
  readonly config: Config
}
export interface DemoFetch {
  readonly do: 'fetch'
  readonly url: string
  readonly target: string
}
export interface DemoLie {
  readonly do: 'lie'
}
export interface DemoStop {
  readonly do: 'stop'
}
export type DemoCommand = DemoStart | DemoFetch | DemoLie | DemoStop

export type DemoReport =
  | { readonly is: 'started'; readonly key: string; readonly dhtPort: number }
  | { readonly is: 'neighbours'; readonly count: number }
  | { readonly is: 'fetched'; readonly result: TransferResult; readonly notes: readonly TransferNote[] }
  | { readonly is: 'failed'; readonly message: string; readonly code: string }

const NEIGHBOUR_POLL_MS = 50

let agent: Agent | null = null
let isLying = false

function report(message: DemoReport): void {
  process.send?.(message)
}

async function start(config: Config): Promise<void> {
  agent = await Agent.open(
    { config, role: 'embedded' },
    {
      wrapReadForPeer: (read) => async (hash, options) => {
        const bytes = await read(hash, options)
        if (!isLying || !bytes) return bytes
        const forged = Buffer.from(bytes)
        forged[forged.byteLength >> 1] = (forged[forged.byteLength >> 1] ?? 0) ^ 1 // a single bit
        return forged
      },
    },
  )
  await agent.whenNetworkIsUp()
  const network = agent.diagnoseNetwork()
  if (!network) throw new Error((await agent.status()).network.error ?? 'the network did not start')
  report({ is: 'started', key: agent.key, dhtPort: network.bootstrapPort })
  let known = -1
  setInterval(() => {
    const count = agent?.peers().filter((peer) => peer.isLocal).length ?? 0
    if (count !== known) report({ is: 'neighbours', count })
    known = count
  }, NEIGHBOUR_POLL_MS).unref()
}

async function fetchTo(command: DemoFetch): Promise<void> {
  if (!agent) throw new Error('not started')
  const notes: TransferNote[] = []
  const request = {
    url: command.url,
    headers: [],
    sha256: null,
    priority: 'foreground',
    usePeers: true,
    useOrigin: true,
    originMaxBytesPerSec: null,
  } as const
  const result = await agent.fetch(request, await PartFile.open(command.target), {
    onEvent: (event) => {
      if (event.event === 'note') notes.push(event)
    },
  })
  report({ is: 'fetched', result, notes })
}

async function obey(command: DemoCommand): Promise<void> {
  switch (command.do) {
    case 'start':
      return start(command.config)
    case 'fetch':
      return fetchTo(command)
    case 'lie':
      isLying = true
      return
    case 'stop':
      await agent?.close()
      process.exit(0)
  }
}

process.on('message', (command: DemoCommand) => {
  obey(command).catch((error: unknown) => {
    const message = error instanceof Error ? error.message : String(error)
    report({ is: 'failed', message, code: isShorthaulError(error) ? error.code : 'SHORTHAUL_BUG' })
  })
})
// The parent went away: so do we.
process.on('disconnect', () => process.exit(0))
