/** `shorthaul doctor`: looks at everything that commonly stands in the way, and says what to do about it. */
import type { AgentStatus } from '../agent/views.ts'
import { formatDuration } from '../config/units.ts'
import type { ControlClient } from '../control/client.ts'
import { EXIT, isShorthaulError } from '../errors.ts'
import { normaliseUrl } from '../origin/origins.ts'
import { AGENT_VERSION } from '../version.ts'
import { readDiagnosis, readStatus } from './agent-view.ts'
import { findAgent, type GlobalOptions, loadCliConfig } from './context.ts'
import { type Check, fail, ok, reasonOf, warn } from './doctor/check.ts'
import {
  checkDataDir,
  checkFirewall,
  checkInterface,
  checkPortsByBinding,
  checkSecret,
  type NeededPort,
  neededPorts,
} from './doctor/host.ts'
import { checkMulticast, checkMulticastByListening, checkNeighbours, checkPortsOfAgent } from './doctor/network.ts'
import { checkOrigin } from './doctor/origin.ts'
import { commandLogger } from './embedded.ts'
import { createOutput, formatTable, interruptSignal } from './output.ts'

export interface DoctorOptions extends GlobalOptions {
  readonly origin?: string
}

type Loaded = Awaited<ReturnType<typeof loadCliConfig>>

interface Report {
  readonly checks: readonly Check[]
  /** [] when the configuration cannot be read. */
  readonly ports: readonly NeededPort[]
}

export async function doctorVerb(options: DoctorOptions): Promise<void> {
  const output = createOutput({ isJson: options.json === true })
  const url = options.origin === undefined ? null : normaliseUrl(options.origin)
  const signal = interruptSignal()
  const report = await examine(options, { url, signal })
  output.json({ event: 'doctor', ...report })
  output.text(formatReport(report))
  if (report.checks.some(({ state }) => state === 'fail')) process.exitCode = EXIT.local
}

async function examine(
  options: DoctorOptions,
  run: { readonly url: string | null; readonly signal: AbortSignal },
): Promise<Report> {
  let loaded: Loaded
  try {
    loaded = await loadCliConfig(options)
  } catch (error) {
    if (!isShorthaulError(error)) throw error
    return {
      checks: [fail('configuration', error.message, 'nothing else can be checked before it is right')],
      ports: [],
    }
  }
  const { config } = loaded
  const checks: Check[] = [ok('configuration', loaded.file ?? 'no file, the defaults are used')]
  const client = await findAgent(options, config)
  try {
    const agent = client ? await readStatus(client) : null
    checks.push(checkAgent(loaded, client, agent))
    checks.push(await checkSecret(config))
    checks.push(...(await checkDataDir(config, agent?.dataDir === config.dataDir ? agent : null)))
    const { check, chosen } = checkInterface(config)
    checks.push(check)
    if (client && agent) checks.push(...(await checkNetworkOfAgent(loaded, client, agent)))
    else if (chosen) {
      checks.push(...(await checkPortsByBinding(config, chosen.address)))
      checks.push(await checkMulticastByListening(config, { address: chosen.address, signal: run.signal }))
    }
    checks.push(await checkFirewall(config))
    if (run.url !== null) {
      checks.push(...(await checkOrigin({ ...run, url: run.url, config, client, log: commandLogger(loaded) })))
    }
    return { checks, ports: neededPorts(config) }
  } finally {
    await client?.close()
  }
}

function checkAgent({ config }: Loaded, client: ControlClient | null, agent: AgentStatus | null): Check {
  const name = 'agent'
  if (!client || !agent) {
    return warn(name, 'none is running: neighbours get nothing from this machine', 'start `shorthaul daemon`')
  }
  const about = `version ${agent.version}, up ${formatDuration(agent.uptimeMs)}, answers on ${client.socketPath}`
  if (agent.version !== AGENT_VERSION) {
    return warn(name, `${about}; this command is version ${AGENT_VERSION}`, 'restart the agent')
  }
  if (agent.dataDir !== config.dataDir) {
    return warn(
      name,
      `${about}; it works in ${agent.dataDir}, while this configuration names ${config.dataDir}`,
      'run doctor with the --config of the agent, and as its user',
    )
  }
  return ok(name, about)
}

async function checkNetworkOfAgent({ config }: Loaded, client: ControlClient, agent: AgentStatus): Promise<Check[]> {
  try {
    const network = await readDiagnosis(client)
    const checks = await checkPortsOfAgent(config, agent, network)
    if (network !== null) checks.push(checkMulticast(config, network), ...(await checkNeighbours(agent, network)))
    return checks
  } catch (error) {
    return [fail('network', `the agent does not say: ${reasonOf(error)}`)]
  }
}

/** For people; several lines. */
export function formatReport({ checks, ports }: Report): string {
  const nameWidth = Math.max(...checks.map(({ name }) => name.length))
  const lines = checks.map(({ name, state, message, hint }) => {
    const line = `${state.padEnd(4)}  ${name.padEnd(nameWidth)}  ${message}`
    return hint === null ? line : `${line}\n${' '.repeat(nameWidth + 8)}-> ${hint}`
  })
  const count = (wanted: Check['state']) => checks.filter(({ state }) => state === wanted).length
  const table =
    ports.length === 0
      ? []
      : [
          '',
          'Ports of this machine that neighbours must reach:',
          formatTable(ports.map(({ protocol, port, purpose }) => [`  ${protocol}`, port, purpose])),
        ]
  return [...lines, ...table, '', `${count('ok')} ok, ${count('warn')} warnings, ${count('fail')} failures`].join('\n')
}
