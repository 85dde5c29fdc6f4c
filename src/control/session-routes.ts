/** How somebody on a public socket says who they are. @see sessions.ts */
import { z } from 'zod'
import { Refusal } from './problem.ts'
import { type Exchange, type Route, route } from './route.ts'
import type { Sessions } from './sessions.ts'

const CHALLENGE = z
  .object({
    id: z.string(),
    path: z.string().describe('The file to make: new, not through a link, mode 0600.'),
    token: z.string().describe('Its content, without a newline.'),
    expiresInMs: z.number(),
  })
  .meta({ id: 'Challenge' })

const SESSION = z
  .object({
    token: z.string().describe('For `Authorization: Bearer`, with this agent until it ends.'),
    expiresInMs: z.number(),
    user: z.object({ uid: z.number().int().nullable(), name: z.string(), isAdmin: z.boolean() }),
  })
  .meta({ id: 'Session' })

export const SESSION_ROUTES: readonly Route[] = [
  route({
    method: 'POST',
    path: '/v1/session',
    who: 'anyone',
    summary: 'Ask how to prove who one is; on a public socket only',
    answer: {
      status: 201,
      description: 'Make this file, then POST to the Location.',
      schema: CHALLENGE,
      headers: { Location: 'Where to say that the file is there.' },
    },
    errors: [403, 409],
    handle: async (exchange) => {
      const challenge = await sessionsOf(exchange).challenge()
      return { status: 201, headers: { location: `/v1/session/${challenge.id}`, ...NO_STORE }, body: challenge }
    },
  }),
  route({
    method: 'POST',
    path: '/v1/session/{id}',
    who: 'anyone',
    summary: 'Say that the file is there',
    answer: { status: 200, description: 'A session of the user whose file it is.', schema: SESSION },
    errors: [403, 409],
    handle: async (exchange, { params: { id = '' } }) => ({
      headers: NO_STORE,
      body: await sessionsOf(exchange).prove(id),
    }),
  }),
]

const NO_STORE = { 'cache-control': 'no-store' }

/** @throws SHORTHAUL_USAGE where it is known who asks, SHORTHAUL_FORBIDDEN where it cannot be found out */
function sessionsOf({ sessions, asker }: Exchange): Sessions {
  if (sessions !== null) return sessions
  if (asker.caller !== null) throw new Refusal(409, 'Cannot begin a session: here the agent knows who asks without one')
  throw new Refusal(403, 'Cannot begin a session: this agent has no place where others can prove who they are', {
    code: 'SHORTHAUL_FORBIDDEN',
  })
}
