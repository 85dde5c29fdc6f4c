/** What `doctor` finds on this machine without asking anybody: secret, data directory, disk, interface, ports. */
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { constants } from 'node:fs'
import { access, stat, statfs, unlink, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { networkInterfaces } from 'node:os'
import { dirname, join } from 'node:path'
import type { AgentStatus } from '../../agent/views.ts'
import { secretBytes } from '../../clock.ts'
import { type Config, currentUser } from '../../config/load.ts'
import { formatBytes } from '../../config/units.ts'
import { systemCode } from '../../errors.ts'
import { BEACON_GROUP } from '../../peers/beacon.ts'
import { chooseInterface, listInterfaces, type NetworkInterface } from '../../peers/interfaces.ts'
import { findSecret, fingerprintOf } from '../branch.ts'
import { type Check, fail, ok, reasonOf, warn } from './check.ts'

export async function checkSecret(config: Config): Promise<Check> {
  const name = 'secret'
  const share = 'make one with `shorthaul branch init`, copy it to all machines and set branch.secretFile'
  try {
    const { path, secret } = await findSecret(config)
    if (secret?.warning)
      return fail(name, secret.warning, `chmod 600 "${path}"; if others have read it, make a new one`)
    if (config.branch.secretFile === null) {
      return warn(name, 'no branch.secretFile: agents of other machines are strangers to this one', share)
    }
    const fingerprint = secret ? `, fingerprint ${fingerprintOf(secret)}` : ''
    return ok(name, `${path}${fingerprint}`)
  } catch (error) {
    return fail(name, reasonOf(error), `run as the user of the agent, or ${share}`)
  }
}

/** By magic number, as statfs(2) has them: level's lock and its mapped files are not safe there. */
const NETWORK_FILE_SYSTEMS: ReadonlyMap<number, string> = new Map([
  [0x6969, 'NFS'],
  [0x517b, 'SMB'],
  [0xff534d42, 'CIFS'],
  [0xfe534d42, 'SMB2'],
])

/** @param agent the running agent when it works in this very directory, else null */
export async function checkDataDir(config: Config, agent: AgentStatus | null): Promise<Check[]> {
  const { dataDir } = config
  const existing = await nearestExisting(dataDir)
  return [await checkWritable(dataDir, { existing, agent }), await checkDisk(config, existing)]
}

async function checkWritable(
  dataDir: string,
  found: { readonly existing: string; readonly agent: AgentStatus | null },
): Promise<Check> {
  const name = 'data directory'
  const { existing, agent } = found
  if (agent) return ok(name, `${dataDir}, in use by the running agent`)
  const hint = 'give it to the user that runs the agent, or choose another one with dataDir'
  try {
    if (existing !== dataDir) {
      await access(existing, constants.W_OK)
      return ok(name, `${dataDir} does not exist yet and can be made`)
    }
    if (!(await stat(dataDir)).isDirectory()) return fail(name, `${dataDir} is not a directory`, hint)
    // Really written, because permission bits do not tell of read-only mounts and quotas.
    const probe = join(dataDir, `.doctor-${secretBytes(8).toString('hex')}`)
    await writeFile(probe, 'x', { flag: 'wx', mode: 0o600 })
    await unlink(probe)
    return ok(name, `${dataDir} is writable`)
  } catch (error) {
    return fail(name, `${dataDir} cannot be written: ${reasonOf(error)}`, hint)
  }
}

async function checkDisk({ cache }: Config, existing: string): Promise<Check> {
  const name = 'disk'
  try {
    const { bavail, bsize, type } = await statfs(existing)
    const freeBytes = bavail * bsize
    const network = NETWORK_FILE_SYSTEMS.get(type)
    if (network) {
      return fail(
        name,
        `the data directory is on ${network}: the index is not safe there`,
        'move dataDir to a local disk',
      )
    }
    const free = `${formatBytes(freeBytes)} free, cache.minFreeBytes is ${formatBytes(cache.minFreeBytes)}`
    if (freeBytes >= cache.minFreeBytes) return ok(name, free)
    return warn(
      name,
      `${free}: nothing is cached until there is room; deliveries still work`,
      'free some space, lower cache.minFreeBytes, or move dataDir to a larger disk',
    )
  } catch (error) {
    return warn(name, `free space cannot be told: ${reasonOf(error)}`)
  }
}

async function nearestExisting(path: string): Promise<string> {
  for (let current = path; ; current = dirname(current)) {
    const isMissing = await stat(current).then(
      () => false,
      (error: unknown) => systemCode(error) === 'ENOENT',
    )
    if (!isMissing || current === dirname(current)) return current
  }
}

/** The interface that an agent would choose here, and what is to be said about it. */
export function checkInterface(config: Config): { readonly check: Check; readonly chosen: NetworkInterface | null } {
  const name = 'interface'
  const found = networkInterfaces()
  const chosen = chooseInterface(found, config.network.interface)
  const all = listInterfaces(found).map((each) => `${each.name} ${each.address}`)
  const list = `found: ${all.join(', ') || 'none'}`
  if (chosen === null) {
    const wanted = config.network.interface
    const message = wanted === null ? 'no IPv4 interface' : `"${wanted}" is not there or has no IPv4 address`
    return { check: fail(name, `${message}; ${list}`, 'set network.interface to one of them, or to null'), chosen }
  }
  const message = `${chosen.name} ${chosen.cidr}; ${list}`
  if (chosen.isLoopback) {
    return { check: warn(name, `${message}: loopback reaches this machine only`, 'set network.interface'), chosen }
  }
  return { check: ok(name, message), chosen }
}

export interface NeededPort {
  readonly protocol: 'UDP' | 'TCP'
  /** `17738` or `17736-17737`. */
  readonly port: string
  readonly purpose: string
}

/** What neighbours must reach on this machine. */
export function neededPorts({ network, serve }: Config): NeededPort[] {
  const { dhtPort, lanePort, beaconPort, beacon } = network
  const ports: NeededPort[] = [
    {
      protocol: 'UDP',
      port: dhtPort === 0 ? 'any' : `${dhtPort}-${dhtPort + 1}`,
      purpose: 'finding neighbours, control sessions',
    },
  ]
  if (beacon) ports.push({ protocol: 'UDP', port: `${beaconPort}`, purpose: `beacons, multicast to ${BEACON_GROUP}` })
  if (serve.enabled) {
    ports.push({ protocol: 'TCP', port: lanePort === 0 ? 'any' : `${lanePort}`, purpose: 'segments for neighbours' })
  }
  return ports
}

/** Rules are not read: what nft and iptables print cannot be judged without the whole of the host's set-up. */
export async function checkFirewall(config: Config): Promise<Check> {
  const name = 'host firewall'
  const ports = neededPorts(config)
  const list = ports.map(({ protocol, port }) => `${protocol} ${port}`).join(', ')
  const tools = currentUser().isRoot ? await installedFirewalls() : []
  const look = tools.length > 0 ? `look with \`${tools.join('` or `')}\`` : null
  if (ports.some(({ port }) => port === 'any')) {
    return warn(
      name,
      `not tested; a firewall cannot be opened for "any" port (${list})`,
      'set fixed ports in network.*',
    )
  }
  return ok(name, `not tested; it must let neighbours in on ${list}`, look)
}

async function installedFirewalls(): Promise<string[]> {
  const found: string[] = []
  for (const [tool, command] of [
    ['nft', 'nft list ruleset'],
    ['iptables', 'iptables -S'],
  ] as const) {
    for (const dir of ['/usr/sbin', '/sbin', '/usr/bin']) {
      const isThere = await access(join(dir, tool), constants.X_OK).then(
        () => true,
        () => false,
      )
      if (!isThere) continue
      found.push(command)
      break
    }
  }
  return found
}

/** Without a running agent: each port is taken for a moment. */
export async function checkPortsByBinding(config: Config, address: string): Promise<Check[]> {
  const { dhtPort, lanePort, beaconPort, beacon } = config.network
  const checks: Check[] = []
  for (const port of dhtPort === 0 ? [] : [dhtPort, dhtPort + 1]) {
    checks.push(await judgePort(`UDP ${port}`, bindUdp({ port, address, isShared: false })))
  }
  // Shared by all agents of a machine.
  if (beacon)
    checks.push(await judgePort(`UDP ${beaconPort}`, bindUdp({ port: beaconPort, address: '0.0.0.0', isShared: true })))
  if (config.serve.enabled && lanePort !== 0) checks.push(await judgePort(`TCP ${lanePort}`, bindTcp(lanePort)))
  return checks
}

async function judgePort(name: string, bound: Promise<void>): Promise<Check> {
  try {
    await bound
    return ok(`port ${name}`, 'free')
  } catch (error) {
    const isTaken = systemCode(error) === 'EADDRINUSE'
    const message = isTaken ? 'taken by another program' : `cannot be used: ${reasonOf(error)}`
    return fail(
      `port ${name}`,
      message,
      isTaken ? '`ss -lntup` shows by which; or set another port in network.*' : null,
    )
  }
}

async function bindUdp(options: { port: number; address: string; isShared: boolean }): Promise<void> {
  const { port, address, isShared } = options
  const socket = createSocket({ type: 'udp4', reuseAddr: isShared })
  try {
    socket.bind({ port, address, exclusive: !isShared })
    await once(socket, 'listening')
  } finally {
    socket.close()
  }
}

async function bindTcp(port: number): Promise<void> {
  const server = createServer()
  server.listen({ port, host: '0.0.0.0', exclusive: true })
  await once(server, 'listening')
  await new Promise<void>((resolve) => server.close(() => resolve()))
}
