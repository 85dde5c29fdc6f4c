/**
 * The two DHT nodes of an agent. A node never queries itself, so that an agent alone with one node stores its own
 * announcements nowhere: the first node, a bootstrapper, keeps records from the start; the second, the swarm's, uses it.
 * Every agent has such a pair, so that none is special and any may die.
 *
 * Does not announce or look up anything, and never talks to the public DHT.
 */
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import DHT from 'hyperdht'
import type { Clock } from '../clock.ts'
import { ShorthaulError, systemCode } from '../errors.ts'
import { guardDht } from './dht-guard.ts'

/** Between finding a free port and taking it somebody else may take it. */
const MAX_ATTEMPTS = 8
/** Entries of each cache of a node. A branch has one topic, and each agent a record and a route. */
const MAX_CACHE_ENTRIES = 16_384

export interface DhtPairOptions {
  /** The interface's IPv4: both nodes are bound to it. */
  readonly address: string
  /** The bootstrapper's; the swarm's node takes the next one. 0: any free ones. */
  readonly port: number
  /** When the ports are taken: any free ones instead of an error. */
  readonly canFallBack: boolean
}

export interface DhtPair {
  readonly bootstrapper: DHT
  readonly bootstrapPort: number
  readonly node: DHT
  readonly nodePort: number
}

/** @throws SHORTHAUL_PORT_IN_USE, SHORTHAUL_NETWORK_INTERFACE when the address is gone */
export async function openDhtPair(components: { clock: Clock }, options: DhtPairOptions): Promise<DhtPair> {
  const { address, port, canFallBack } = options
  if (port !== 0) {
    try {
      return await openAt(components, { address, port, nodePort: port + 1 })
    } catch (error) {
      if (!canFallBack || !isPortProblem(error)) throw openError(error, address, port)
    }
  }
  for (let attempt = 1; ; attempt++) {
    try {
      return await openAt(components, { address, port: await freePort(address), nodePort: null })
    } catch (error) {
      if (attempt >= MAX_ATTEMPTS || !isPortProblem(error)) throw openError(error, address, port)
    }
  }
}

/** Does not throw; the caller bounds its time. */
export async function closeDht(dht: DHT): Promise<void> {
  await dht.destroy().catch(() => {})
}

async function openAt(
  { clock }: { clock: Clock },
  ports: { address: string; port: number; nodePort: number | null },
): Promise<DhtPair> {
  const { address } = ports
  const bootstrapper = DHT.bootstrapper(ports.port, address, {
    host: address,
    port: [ports.port, ports.port + 1],
    maxSize: MAX_CACHE_ENTRIES,
  })
  guardDht(bootstrapper, { clock, ownRelay: null })
  await bound(bootstrapper)
  const node = new DHT({
    bootstrap: [{ host: address, port: ports.port }],
    host: address,
    // `port: 0` would mean 49737; an empty range is any free port.
    port: ports.nodePort === null ? [0, 0] : [ports.nodePort, ports.nodePort + 1],
    anyPort: ports.nodePort === null,
    // Without it two agents with few DHT nodes around cannot tell that they need no hole punching, and never connect.
    firewalled: false,
    maxSize: MAX_CACHE_ENTRIES,
  })
  guardDht(node, { clock, ownRelay: { host: address, port: ports.port } })
  try {
    await bound(node)
  } catch (error) {
    await closeDht(bootstrapper)
    throw error
  }
  return { bootstrapper, bootstrapPort: ports.port, node, nodePort: node.address()?.port ?? 0 }
}

async function bound(dht: DHT): Promise<void> {
  try {
    await dht.fullyBootstrapped()
  } catch (error) {
    await closeDht(dht)
    // A node that could not bind leaves this watcher open, and the process would never end.
    dht.io.networkInterfaces.destroy()
    throw error
  }
}

/** Bootstrappers do not take port 0: ask the system for one. */
async function freePort(address: string): Promise<number> {
  const socket = createSocket('udp4')
  try {
    socket.bind({ port: 0, address, exclusive: true })
    await once(socket, 'listening')
    return socket.address().port
  } finally {
    socket.close()
  }
}

function isPortProblem(error: unknown): boolean {
  const system = systemCode(error)
  return system === 'EADDRINUSE' || system === 'EACCES'
}

function openError(cause: unknown, address: string, port: number): ShorthaulError {
  const isPort = isPortProblem(cause)
  return new ShorthaulError(
    isPort ? 'SHORTHAUL_PORT_IN_USE' : 'SHORTHAUL_NETWORK_INTERFACE',
    `Cannot listen on ${address}, UDP ports ${port} and ${port + 1}: ${systemCode(cause) ?? String(cause)}`,
    { cause, details: { address, port } },
  )
}
