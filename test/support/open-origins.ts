/** Origins with short deadlines and an empty environment, for tests. */
import type { Socket } from 'node:net'
import { pino } from 'pino'
import { systemClock } from '../../src/clock.ts'
import type { OriginRequest, OriginStream } from '../../src/origin/origin.ts'
import { type OriginOptions, Origins, type OriginTrafficControl } from '../../src/origin/origins.ts'

export const TEST_ORIGIN_OPTIONS: OriginOptions = {
  userAgent: 'shorthaul-test/1',
  connectTimeoutMs: 5_000,
  headersTimeoutMs: 20_000,
  idleTimeoutMs: 20_000,
  maxRedirects: 10,
  caFile: null,
  clientCert: null,
  netrcFile: null,
  env: {},
  maxConnectionsPerOrigin: 6,
}

/** The caller closes it. */
export function openOrigins(
  options: Partial<OriginOptions> = {},
  components: { onSocket?: (socket: Socket) => void; wan?: OriginTrafficControl } = {},
): Promise<Origins> {
  const log = pino({ level: 'silent' })
  return Origins.open({ clock: systemClock, log, ...components }, { ...TEST_ORIGIN_OPTIONS, ...options })
}

export function originRequest(url: string, headers: readonly (readonly [string, string])[] = []): OriginRequest {
  return { url, headers, useAgentCredentials: true }
}

/** The whole body; for tests with little content only. */
export async function readBody(stream: Pick<OriginStream, 'body'>): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of stream.body) chunks.push(chunk)
  return Buffer.concat(chunks)
}
