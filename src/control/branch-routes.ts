/** The routes about who belongs to the branch. */
import { z } from 'zod'
import { type AgentKey, idFromBytes } from '../content/ids.ts'
import { type Route, route } from './route.ts'

const MAX_BODY_BYTES = 4096
const MAX_VALID_SEC = 90 * 24 * 3600
/** A bound only: what can be a name is the registrar's affair. */
const NAME = z.string().min(1).max(256)
const INVITE_BODY = z.strictObject({ name: NAME, validSec: z.number().int().min(60).max(MAX_VALID_SEC) })
const ADMIT_BODY = z.strictObject({ name: NAME, key: z.string().regex(/^[0-9a-f]{64}$/) })
const REVOKE_BODY = z.strictObject({
  who: z.string().min(1).max(64).describe('A name, a key, or the first digits of one, at least 8.'),
})

export const BRANCH_ROUTES: readonly Route[] = [
  route({
    method: 'GET',
    path: '/v1/branch',
    who: 'owner',
    summary: 'Who belongs to the branch, and who is invited',
    answer: { status: 200, description: 'The roster.', schema: null },
    handle: async ({ agent }) => ({ body: agent.branch.view() }),
  }),
  route({
    method: 'POST',
    path: '/v1/branch/invitations',
    who: 'owner',
    summary: 'Invite one machine; needs the key of the administrator',
    body: { schema: INVITE_BODY, maxBytes: MAX_BODY_BYTES },
    answer: {
      status: 200,
      description: 'What the machine joins with: as secret as the secret of the branch.',
      schema: z.object({ code: z.string(), validUntilMs: z.number() }),
    },
    errors: [413, 415],
    handle: async ({ agent }, { body: { name, validSec } }) => ({ body: agent.branch.invite(name, validSec * 1000) }),
  }),
  route({
    method: 'POST',
    path: '/v1/branch/members',
    who: 'owner',
    summary: 'Put an agent on the roster whose key is known; needs the key of the administrator',
    body: { schema: ADMIT_BODY, maxBytes: MAX_BODY_BYTES },
    answer: { status: 200, description: 'It is on the roster.', schema: z.object({}) },
    errors: [413, 415],
    handle: async ({ agent }, { body: { key, name } }) => {
      agent.branch.admit(idFromBytes<AgentKey>(Buffer.from(key, 'hex')), name)
      return { body: {} }
    },
  }),
  route({
    method: 'POST',
    path: '/v1/branch/revoke',
    who: 'owner',
    summary: 'Take a member off the roster, or an invitation back; needs the key of the administrator',
    body: { schema: REVOKE_BODY, maxBytes: MAX_BODY_BYTES },
    answer: {
      status: 200,
      description: 'Who it was.',
      schema: z.object({ kind: z.string(), name: z.string(), key: z.string() }),
    },
    errors: [413, 415],
    handle: async ({ agent }, { body: { who } }) => ({ body: agent.branch.revoke(who) }),
  }),
]
