/**
 * Which network interface an agent uses, and which addresses count as local. Pure over `os.networkInterfaces()`;
 * IPv4 only, as the DHT is.
 */
import { isIPv4 } from 'node:net'
import type { networkInterfaces } from 'node:os'
import { ShorthaulError } from '../errors.ts'

export interface NetworkInterface {
  readonly name: string
  readonly address: string
  /** The interface's own subnet, such as 10.1.2.3/24. */
  readonly cidr: string
  readonly isLoopback: boolean
}

type Interfaces = ReturnType<typeof networkInterfaces>

/**
 * Containers and tunnels: what is behind them is not the branch, and bulk over a VPN would be the WAN again.
 * By name, because the kernel's type of interface is not visible to Node.
 */
const NOT_THE_LAN =
  /^(docker|veth|br-|virbr|vmnet|vboxnet|lxc|lxd|cni|flannel|cali|podman|tun|tap|utun|wg|tailscale|zt|ppp|ipsec)/

/** Every IPv4 address of the machine, in the system's order. */
export function listInterfaces(interfaces: Interfaces): NetworkInterface[] {
  const found: NetworkInterface[] = []
  for (const [name, entries] of Object.entries(interfaces)) {
    for (const entry of entries ?? []) {
      if (entry.family !== 'IPv4') continue
      found.push({
        name,
        address: entry.address,
        cidr: entry.cidr ?? `${entry.address}/32`,
        isLoopback: entry.internal,
      })
    }
  }
  return found
}

/**
 * The interface to use.
 *
 * @param wanted a name or an IPv4 address; null: the first that is neither loopback, container nor tunnel, preferring
 *   addresses that are not link-local (169.254/16 means that DHCP failed); loopback when nothing else is up
 * @returns null when the wanted one is not there, or nothing is
 */
export function chooseInterface(interfaces: Interfaces, wanted: string | null): NetworkInterface | null {
  const all = listInterfaces(interfaces)
  if (wanted !== null) return all.find(({ name, address }) => name === wanted || address === wanted) ?? null
  const lan = all.filter(({ name, isLoopback }) => !isLoopback && !NOT_THE_LAN.test(name))
  return (
    lan.find(({ address }) => !address.startsWith('169.254.')) ??
    lan[0] ??
    all.find(({ isLoopback }) => isLoopback) ??
    null
  )
}

/** A test for "this address is on our LAN": the interface's own subnet, and the prefixes that the user listed. */
export class LocalPrefixes {
  /** Numbers and not node's BlockList: that is asked for every peer in every plan, and took a tenth of a daemon's time. */
  readonly #prefixes: readonly { readonly base: number; readonly mask: number }[]

  /**
   * @param prefixes CIDR or single IPv4 addresses
   * @throws SHORTHAUL_CONFIG_INVALID
   */
  constructor(prefixes: readonly string[]) {
    this.#prefixes = prefixes.map((prefix) => {
      const [address = '', bits = '32', ...rest] = prefix.split('/')
      const bitCount = Number(bits)
      if (!isIPv4(address) || !/^\d{1,2}$/.test(bits) || bitCount > 32 || rest.length > 0) {
        throw new ShorthaulError(
          'SHORTHAUL_CONFIG_INVALID',
          `Cannot use the prefix "${prefix}": expected an IPv4 prefix such as 10.1.0.0/16`,
        )
      }
      const mask = bitCount === 0 ? 0 : (-1 << (32 - bitCount)) >>> 0
      return { base: (numberOf(address) & mask) >>> 0, mask }
    })
  }

  contains(address: string): boolean {
    if (!isIPv4(address)) return false
    const number = numberOf(address)
    return this.#prefixes.some(({ base, mask }) => (number & mask) >>> 0 === base)
  }
}

function numberOf(address: string): number {
  return address.split('.').reduce((number, part) => number * 256 + Number(part), 0)
}
