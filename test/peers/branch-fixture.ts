/** Agents of one branch on loopback, for tests of peers/. */
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import crypto from 'hypercore-crypto'
import { type Logger, pino } from 'pino'
import { systemClock, systemRandom } from '../../src/clock.ts'
import { deriveBranchKeys } from '../../src/peers/branch-keys.ts'
import { Network, type NetworkComponents, type NetworkOptions } from '../../src/peers/network.ts'

export const silent: Logger = pino({ level: 'silent' })

/** A UDP port that nobody uses now, for the beacons of one test. */
export async function freeUdpPort(): Promise<number> {
  const socket = createSocket('udp4').bind(0, '0.0.0.0')
  await once(socket, 'listening')
  const { port } = socket.address()
  socket.close()
  return port
}

export function options(overrides: Partial<NetworkOptions>): NetworkOptions {
  return {
    interface: '127.0.0.1',
    dhtPort: 0,
    beaconPort: 0,
    beacon: true,
    staticPeers: [],
    localPrefixes: [],
    maxPeerRttMs: 10,
    dhtPortFallback: false,
    roster: null,
    hostName: 'host',
    agentVersion: '1.2.3',
    lane: null,
    ...overrides,
  }
}

export interface Branch {
  readonly secret: Buffer
  readonly beaconPort: number
  open(overrides?: Partial<NetworkOptions>, components?: Partial<NetworkComponents>): Promise<Network>
}

/** Every network that it opens is closed by the test's teardown. */
export async function openBranch(t: { teardown(fn: () => Promise<void>): void }): Promise<Branch> {
  const secret = crypto.randomBytes(32)
  const beaconPort = await freeUdpPort()
  const opened: Network[] = []
  t.teardown(async () => {
    await Promise.all(opened.map((network) => network.close()))
  })
  return {
    secret,
    beaconPort,
    async open(overrides = {}, components = {}) {
      const network = await Network.open(
        {
          clock: systemClock,
          random: systemRandom,
          log: silent,
          keyPair: crypto.keyPair(),
          keys: deriveBranchKeys(secret),
          ...components,
        },
        options({ beaconPort, ...overrides }),
      )
      opened.push(network)
      return network
    },
  }
}

/** Resolves when the predicate holds; it is asked again whenever an agent joins, leaves or speaks. Tap's timeout bounds it. */
export async function until(networks: readonly Network[], predicate: () => boolean): Promise<void> {
  if (predicate()) return
  await new Promise<void>((resolve) => {
    const stops: (() => void)[] = []
    const check = () => {
      if (!predicate()) return
      for (const stop of stops) stop()
      resolve()
    }
    for (const network of networks) {
      stops.push(network.on('join', check), network.on('leave', check), network.on('message', check))
    }
  })
}

export function sees(network: Network, others: readonly Network[]): boolean {
  const keys = network.peers().map(({ key }) => key)
  return others.every((other) => other === network || keys.includes(other.key))
}

export function isMeshed(networks: readonly Network[]): boolean {
  return networks.every((network) => sees(network, networks))
}
