/**
 * Which proxy, if any, a URL goes through: what the request says, or HTTP_PROXY, HTTPS_PROXY and NO_PROXY as curl reads
 * them. Pure.
 *
 * Does not hold: ALL_PROXY, SOCKS and PAC. Own code and not undici's EnvHttpProxyAgent, because that falls back to
 * process.env and to HTTP_PROXY for https, and sends CONNECT for plain http, which squid refuses for port 80 by default.
 */
import { BlockList, isIP } from 'node:net'
import { ShorthaulError } from '../errors.ts'
import { basicAuthorization, decodeUserInfo } from './request-fields.ts'

export type Environment = Readonly<Record<string, string | undefined>>

export interface ProxyServer {
  /** Scheme, host and port. */
  readonly origin: string
  /** For Proxy-Authorization; null when the proxy's URL has no user information. */
  readonly authorization: string | null
}

export interface ProxyRules {
  readonly http: ProxyServer | null
  readonly https: ProxyServer | null
  /** True when NO_PROXY exempts the URL. */
  isExempt(url: URL): boolean
}

/** What a request says: the environment's rules, no proxy, or this one for everything. */
export type ProxyChoice = 'auto' | 'none' | ProxyServer

/** @throws SHORTHAUL_USAGE */
export function parseProxyChoice(text: string): ProxyChoice {
  if (text === 'auto' || text === 'none') return text
  const proxy = parseProxyUrl(text)
  if (proxy !== null) return proxy
  // It may hold a password: it is not quoted.
  throw new ShorthaulError('SHORTHAUL_USAGE', 'Cannot use the proxy: expected auto, none, or an http or https URL')
}

/** Lower case wins, as in curl. @throws SHORTHAUL_CONFIG_INVALID */
export function parseProxyRules(env: Environment): ProxyRules {
  return {
    http: parseProxy(env, 'http_proxy'),
    https: parseProxy(env, 'https_proxy'),
    isExempt: parseExemptions(env.no_proxy ?? env.NO_PROXY ?? ''),
  }
}

export function proxyFor(rules: ProxyRules, url: URL, choice: ProxyChoice = 'auto'): ProxyServer | null {
  if (choice !== 'auto') return choice === 'none' ? null : choice
  const proxy = url.protocol === 'https:' ? rules.https : rules.http
  return proxy === null || rules.isExempt(url) ? null : proxy
}

function parseProxy(env: Environment, lowerCaseName: string): ProxyServer | null {
  const name = env[lowerCaseName] === undefined ? lowerCaseName.toUpperCase() : lowerCaseName
  const text = env[name]?.trim()
  if (!text) return null
  const proxy = parseProxyUrl(/^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `http://${text}`)
  if (proxy !== null) return proxy
  // The value may hold a password: it is not quoted.
  throw new ShorthaulError('SHORTHAUL_CONFIG_INVALID', `Cannot use the proxy of ${name}: expected an http or https URL`)
}

function parseProxyUrl(text: string): ProxyServer | null {
  const url = URL.canParse(text) ? new URL(text) : null
  if (url === null || (url.protocol !== 'http:' && url.protocol !== 'https:')) return null
  const hasLogin = url.username !== '' || url.password !== ''
  const authorization = hasLogin ? basicAuthorization(decodeUserInfo(url.username), decodeUserInfo(url.password)) : null
  return { origin: url.origin, authorization }
}

/** Entries: `*`, a host or domain (with or without a leading dot), an address, a CIDR block; each with an optional port. */
function parseExemptions(text: string): (url: URL) => boolean {
  const blocks = new BlockList()
  const hosts: { readonly host: string; readonly port: string | null }[] = []
  for (const entry of text.toLowerCase().split(/[,\s]+/)) {
    if (entry === '') continue
    if (entry === '*') return () => true
    if (addBlock(blocks, entry)) continue
    const match = /^(\[[^\]]*\]|[^:]*):(\d{1,5})$/.exec(entry)
    const host = (match?.[1] ?? entry).replace(/^\*?\./, '').replace(/^\[(.*)\]$/, '$1')
    if (host !== '') hosts.push({ host, port: match?.[2] ?? null })
  }
  return (url) => {
    const host = url.hostname
      .replace(/^\[(.*)\]$/, '$1')
      .replace(/\.$/, '')
      .toLowerCase()
    const port = url.port || (url.protocol === 'https:' ? '443' : '80')
    const version = isIP(host)
    if (version !== 0 && blocks.check(host, version === 6 ? 'ipv6' : 'ipv4')) return true
    return hosts.some(
      (entry) => (entry.port ?? port) === port && (host === entry.host || host.endsWith(`.${entry.host}`)),
    )
  }
}

function addBlock(blocks: BlockList, entry: string): boolean {
  const [address = '', prefix, ...rest] = entry.split('/')
  const version = isIP(address)
  if (version === 0 || prefix === undefined || rest.length > 0 || !/^\d{1,3}$/.test(prefix)) return false
  if (Number(prefix) > (version === 6 ? 128 : 32)) return false
  blocks.addSubnet(address, Number(prefix), version === 6 ? 'ipv6' : 'ipv4')
  return true
}
