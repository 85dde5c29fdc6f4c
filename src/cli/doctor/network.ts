/**
 * What `doctor` finds out about neighbours: from the running agent, which knows, or by a short listening without one.
 *
 * Says what it cannot test. Only a neighbour can tell whether it reaches our TCP port; that somebody fetched from us
 * shows that one could.
 */
import { connect } from 'node:net'
import pino from 'pino'
import type { AgentStatus, PeerStatus } from '../../agent/views.ts'
import { secretBytes, systemClock, systemRandom } from '../../clock.ts'
import type { Config } from '../../config/load.ts'
import { formatBytes } from '../../config/units.ts'
import { BEACON_GROUP, BeaconSender } from '../../peers/beacon.ts'
import { deriveBranchKeys, secretsInForce } from '../../peers/branch-keys.ts'
import type { BeaconDiagnosis, Diagnosis } from '../../peers/network-types.ts'
import { printable, shortKey } from '../agent-view.ts'
import { findSecret } from '../branch.ts'
import { type Check, fail, ok, reasonOf, warn } from './check.ts'

const LISTEN_MS = 1500
const CONNECT_TIMEOUT_MS = 2000
/** Connections tried and lines printed at most; a branch has thousands of agents, and a few tell. */
const MAX_PEERS_TRIED = 32
const INSTANCE_BYTES = 8

const COMPARE = 'compare `shorthaul branch show` on the machines: the fingerprints must be the same'
const OPEN_PORTS = 'open the ports below in the firewalls of both machines, or list neighbours in network.peers'

/** What the running agent holds, and whether it can be reached on it. */
export async function checkPortsOfAgent(
  config: Config,
  agent: AgentStatus,
  network: Diagnosis | null,
): Promise<Check[]> {
  if (network === null) {
    const reason = agent.network.error ?? 'it is off or starting'
    return [fail('network', `the agent has no network: ${reason}`, 'see its log; change network.* and restart it')]
  }
  const { dhtPort, lanePort } = config.network
  const checks: Check[] = []
  const udp = `held by the running agent: UDP ${network.bootstrapPort} and ${network.dhtPort} on ${network.address}`
  const isOtherPort = dhtPort !== 0 && network.bootstrapPort !== dhtPort
  const restart = 'restart it; a command that runs alone takes any free port when these are taken'
  checks.push(
    isOtherPort ? warn('ports UDP', `${udp}, and not ${dhtPort} as configured`, restart) : ok('ports UDP', udp),
  )
  const held = agent.network.lanePort
  if (held === null) {
    checks.push(
      config.serve.enabled
        ? warn('port TCP', 'the agent serves nothing, though serve.enabled is true', restart)
        : ok('port TCP', 'not used: serve.enabled is false'),
    )
    return checks
  }
  const name = `port TCP ${held}`
  const refusal = await tryConnect(network.address, held)
  if (refusal !== null) {
    checks.push(
      fail(name, `the agent does not answer on ${network.address}: ${refusal}`, 'look at its log and restart it'),
    )
  } else if (lanePort !== 0 && held !== lanePort) {
    checks.push(warn(name, `held by the running agent, and not ${lanePort} as configured`, restart))
  } else checks.push(ok(name, 'held by the running agent, which answers there'))
  return checks
}

export function checkMulticast(config: Config, network: Diagnosis): Check {
  const { beacon, peers } = network
  if (!config.network.beacon && !beacon.enabled) return checkStaticOnly(config)
  if (!beacon.enabled) return warn('multicast', `the interface ${network.interface} does no multicast`, OPEN_PORTS)
  return judgeBeacons(beacon, { peers })
}

function checkStaticOnly({ network }: Config): Check {
  const { length } = network.peers
  if (length > 0) return ok('multicast', `switched off; ${length} in network.peers are asked instead`)
  return warn('multicast', 'switched off, and network.peers is empty: nobody is looked for', 'set one of the two')
}

function judgeBeacons(beacon: Omit<BeaconDiagnosis, 'enabled'>, { peers }: { peers: number }): Check {
  const name = 'multicast'
  const { sent, heard, strangers, heardOwn } = beacon
  const counts = `${sent} sent, ${heard} heard from neighbours${strangers > 0 ? `, ${strangers} of other branches` : ''}`
  if (!heardOwn && heard === 0 && peers === 0) {
    return warn(name, `${counts}; not even its own came back`, `let UDP in to ${BEACON_GROUP}, or use network.peers`)
  }
  if (heard === 0 && peers === 0 && strangers > 0) {
    return warn(name, `${counts}: agents are here, but they have another secret`, COMPARE)
  }
  if (heard === 0 && peers === 0) {
    const hint = `when other agents run here: ${OPEN_PORTS}`
    return warn(name, `${counts}; works within this machine, no neighbour was heard`, hint)
  }
  return ok(name, counts)
}

export async function checkNeighbours(agent: AgentStatus, network: Diagnosis): Promise<Check[]> {
  const { peers } = agent
  const checks = [...checkRejections(network)]
  if (peers.length === 0) {
    const heard = network.beacon.heard > 0 ? ', though beacons of some are heard' : ''
    return [warn('neighbours', `none is connected${heard}`, heard ? OPEN_PORTS : null), ...checks]
  }
  const { servedBytes } = agent.total
  const inbound =
    servedBytes > 0
      ? `neighbours fetched ${formatBytes(servedBytes)} from here, so they reach us`
      : 'nobody fetched from here so far: that they reach our TCP port is not tested, run doctor there'
  const tried = await Promise.all(peers.slice(0, MAX_PEERS_TRIED).map(checkPeer))
  const more = peers.length > tried.length ? ` (${tried.length} of them tried)` : ''
  return [ok('neighbours', `${peers.length} connected${more}; ${inbound}`), ...tried, ...checks]
}

async function checkPeer(peer: PeerStatus): Promise<Check> {
  const name = `neighbour ${printable(peer.hostName) || shortKey(peer.key)}`
  // The session runs over UDP, and its handshake and its pings need both directions.
  const session = `${peer.address}, session up${peer.rttMs === null ? '' : ` (${peer.rttMs.toFixed(1)} ms)`}`
  if (peer.isBanned) {
    const hint = 'check its disk and memory; the ban ends by itself'
    return warn(name, `${session}; banned, because it sent corrupt bytes`, hint)
  }
  if (!peer.isLocal) {
    const hint = 'if it is on this site, add its network to network.localPrefixes'
    return warn(name, `${session}; far, so that no bulk goes there`, hint)
  }
  if (peer.lanePort === null) return ok(name, `${session}; it serves nothing`)
  const refusal = await tryConnect(peer.address, peer.lanePort)
  if (refusal === null) return ok(name, `${session}; its TCP port ${peer.lanePort} is reachable`)
  const hint = `open TCP ${peer.lanePort} in the firewall of that machine`
  return warn(name, `${session}; its TCP port ${peer.lanePort} is not reachable: ${refusal}`, hint)
}

function* checkRejections({ rejected, standing }: Diagnosis): Generator<Check> {
  const name = 'membership'
  if (standing === 'stranger')
    yield fail(
      name,
      'this agent is not on the roster of the branch: no neighbour lets it in',
      'where the administrator is: `shorthaul branch members`, and `branch invite` or `branch admit`',
    )
  const since = 'since the agent started'
  if (rejected.notMember > 0)
    yield warn(name, `${rejected.notMember} connections did not prove the branch secret ${since}`, COMPARE)
  if (rejected.roster > 0)
    yield warn(
      name,
      `${rejected.roster} connections ended because one of the two is not on the roster ${since}`,
      '`shorthaul branch members` lists who is; a list of one machine is branch.roster',
    )
  const { rate, capacity, displaced } = rejected
  if (rate + capacity + displaced > 0)
    yield warn(
      name,
      `${rate + capacity + displaced} connections were turned away ${since}: ${rate} came too fast, ${capacity} found no ` +
        `place, ${displaced} made room for others`,
      'somebody on this network may be flooding the agent: look at its log at level debug for addresses',
    )
  if (rejected.version + rejected.protocol > 0)
    yield warn(
      name,
      `${rejected.version + rejected.protocol} connections spoke another version of the protocol ${since}`,
      'compare VERSION in `shorthaul peers`, and update',
    )
}

/**
 * Without an agent: sends beacons as one that starts would, and listens whether its own come back and who answers.
 * Neighbours then look for an agent that is not there, once.
 */
export async function checkMulticastByListening(
  config: Config,
  options: { readonly address: string; readonly signal: AbortSignal },
): Promise<Check> {
  const { network } = config
  if (!network.beacon) return checkStaticOnly(config)
  const secret = await findSecret(config).catch(() => null)
  // Without a secret only our own beacons can be told.
  const keys = deriveBranchKeys(secret?.secret?.secret ?? secretBytes(32), secret?.secret ?? {})
  const sender = await BeaconSender.open(
    { clock: systemClock, random: systemRandom, log: pino({ level: 'silent' }) },
    {
      address: options.address,
      port: network.beaconPort,
      bootstrapPort: network.dhtPort === 0 ? network.beaconPort : network.dhtPort,
      beaconKeys: secretsInForce(keys, systemClock.nowMs()).map(({ beaconKey }) => beaconKey),
      instance: secretBytes(INSTANCE_BYTES),
      firstSequence: 0,
      onHeard: () => {},
    },
  )
  if (sender === null) {
    return warn('multicast', `${options.address} does no multicast, or UDP ${network.beaconPort} is taken`, OPEN_PORTS)
  }
  try {
    await systemClock.sleep(LISTEN_MS, { signal: options.signal })
    return judgeBeacons(sender.stats(), { peers: 0 })
  } finally {
    await sender.close()
  }
}

/** @returns null when the port took the connection, else why not */
function tryConnect(host: string, port: number): Promise<string | null> {
  return new Promise((resolve) => {
    const socket = connect({ host, port })
    const end = (result: string | null) => {
      socket.destroy()
      resolve(result)
    }
    socket.setTimeout(CONNECT_TIMEOUT_MS, () => end(`no answer within ${CONNECT_TIMEOUT_MS} ms`))
    socket.once('connect', () => end(null))
    socket.once('error', (error) => end(reasonOf(error)))
  })
}
