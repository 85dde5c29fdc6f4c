/** How origins are talked to, from the configuration: for an agent, and for `doctor` beside one. */
import type { Config } from '../config/schema.ts'
import type { OriginOptions } from '../origin/origins.ts'
import { AGENT_VERSION } from '../version.ts'

/** @param env for proxies, NETRC and HOME */
export function originOptions(config: Config, env: Readonly<Record<string, string | undefined>>): OriginOptions {
  const { origin } = config
  return {
    userAgent: `shorthaul/${AGENT_VERSION}`,
    connectTimeoutMs: origin.connectTimeoutMs,
    headersTimeoutMs: origin.headersTimeoutMs,
    idleTimeoutMs: origin.idleTimeoutMs,
    maxRedirects: origin.maxRedirects,
    caFile: origin.caFile,
    clientCert:
      origin.clientCertFile && origin.clientKeyFile
        ? { certFile: origin.clientCertFile, keyFile: origin.clientKeyFile }
        : null,
    netrcFile: origin.netrcFile,
    env,
    maxConnectionsPerOrigin: Math.max(6, config.transfer.originConnections + 2),
  }
}
