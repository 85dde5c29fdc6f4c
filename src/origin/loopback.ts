/** Whether a host is this machine itself, by the form of its name. */
import { isIPv4 } from 'node:net'

/** @param hostname as a URL has it: lower case, IPv6 in brackets */
export function isLoopback(hostname: string): boolean {
  // RFC 6761 §6.3: names below localhost are this machine, whatever a resolver says.
  if (hostname === 'localhost' || hostname.endsWith('.localhost') || hostname === '[::1]') return true
  return isIPv4(hostname) && hostname.startsWith('127.')
}
