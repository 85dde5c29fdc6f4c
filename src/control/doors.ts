/**
 * Ways into the agent, and how each knows who asks. The file system decides who reaches the socket in the data directory;
 * on the public one people say who they are (sessions.ts); on a TCP port they know a token.
 */
import { createHash, timingSafeEqual } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import { isIP } from 'node:net'
import type { Caller } from '../jobs/job-access.ts'
import { Refusal } from './problem.ts'
import type { Asker } from './route.ts'
import type { Sessions } from './sessions.ts'

export interface ControlSocket {
  readonly path: string
  /** `owner`: everything. `public`: fetch, status and doctor, for all local users, and jobs for those with a session. */
  readonly access: 'owner' | 'public'
}

export interface ControlPort {
  readonly host: string
  /** 0: any free one. */
  readonly port: number
  /** Whoever knows it is an administrator. */
  readonly token: string
}

/** Of the socket in the data directory, and wherever only the agent's user gets in. */
export function askerOnOwnSocket(user: Caller): Asker {
  return { access: 'owner', caller: user }
}

/** @throws SHORTHAUL_FORBIDDEN with 401 for a session that is none */
export function askerOnPublicSocket(headers: IncomingHttpHeaders, sessions: Sessions | null): Asker {
  const token = bearerOf(headers)
  if (token === null) return { access: 'public', caller: null }
  const caller = sessions?.callerOf(token) ?? null
  if (caller === null) throw unknownAsker('its session is none, or ran out: POST /v1/session begins one')
  return { access: caller.isAdmin ? 'owner' : 'public', caller }
}

/** @throws SHORTHAUL_FORBIDDEN with 401 without the token; with 403 when a page of another site asks */
export function askerOnPort(headers: IncomingHttpHeaders, { host, token }: ControlPort, user: Caller): Asker {
  refuseForeign(headers, host)
  const found = bearerOf(headers)
  // Hashed, so that what is compared has one length.
  if (found === null || !timingSafeEqual(hashOf(found), hashOf(token))) {
    throw unknownAsker('expected the token of control.tokenFile')
  }
  return { access: 'owner', caller: user }
}

/** A refusal for which HTTP wants to hear how to come in. */
export function unknownAsker(why: string): Refusal {
  return new Refusal(401, `Cannot tell who asks: ${why}`, {
    code: 'SHORTHAUL_FORBIDDEN',
    headers: { 'www-authenticate': 'Bearer realm="shorthaul"' },
  })
}

/**
 * A page in a browser can make its own name lead to us (DNS rebinding): then it stands in Host. An address there was
 * typed by whoever asks. Pages of others give themselves away by Origin.
 */
function refuseForeign({ host: found = '', origin }: IncomingHttpHeaders, host: string): void {
  const name = hostNameOf(found)
  const isOurs = name === 'localhost' || name === host.toLowerCase() || isIP(name) !== 0
  const isOwnPage = origin === undefined || (URL.canParse(origin) && new URL(origin).host === found.toLowerCase())
  if (isOurs && isOwnPage) return
  throw new Refusal(403, 'Cannot answer a request in the name of another site (Host, Origin)', {
    code: 'SHORTHAUL_FORBIDDEN',
  })
}

/** Without port and brackets. */
function hostNameOf(host: string): string {
  return host
    .toLowerCase()
    .replace(/:\d+$/, '')
    .replace(/^\[(.*)\]$/, '$1')
}

function bearerOf({ authorization = '' }: IncomingHttpHeaders): string | null {
  return /^Bearer +([\w.~+/=-]{1,512})$/i.exec(authorization)?.[1] ?? null
}

function hashOf(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}
