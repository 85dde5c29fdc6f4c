/** The routes that are not about jobs: state, fetches into targets of the client, the cache, and who is not believed. */
import { z } from 'zod'
import { type AgentKey, idFromBytes } from '../content/ids.ts'
import { ShorthaulError } from '../errors.ts'
import { FETCH_TYPE, type Fetches } from './fetches.ts'
import { DIGEST_BODY, FETCH_BODY, fetchBodyOf, MEMBER_BODY, URL_BODY } from './requests.ts'
import { type Asker, type Exchange, type Route, type RouteBody, route } from './route.ts'

/** The hashes of a part of 100 GiB; a longer part is not resumed through the socket. */
const MAX_FETCH_BODY_BYTES = 8 * 1024 * 1024
const MAX_BODY_BYTES = 64 * 1024
const URL_IN: RouteBody<z.output<typeof URL_BODY>> = { schema: URL_BODY, maxBytes: MAX_BODY_BYTES }
const MATCHED = z.object({ matched: z.number().int().min(0).describe('How many it was.') })

/** @param options.onHandover of an agent that can be replaced while it works; see `/v1/handover` */
export function agentRoutes(
  fetches: Fetches,
  { onHandover = null }: { readonly onHandover?: (() => void) | null } = {},
): readonly Route[] {
  return [
    route({
      method: 'GET',
      path: '/v1/status',
      who: 'anyone',
      summary: 'What the agent is doing, and what the asker may do',
      answer: { status: 200, description: 'The status.', schema: null },
      handle: async ({ agent, asker }) => {
        const { access } = asker
        return { body: { access, borrowsParts: access === 'owner', ...Object(await agent.status()) } }
      },
    }),
    route({
      method: 'POST',
      path: '/v1/handover',
      who: 'owner',
      summary: 'Make room for a daemon: the agent of a command ends, and the command goes on with the next',
      answer: { status: 202, description: 'It ends once this is answered.', schema: z.object({}) },
      handle: async ({ response }) => {
        if (onHandover === null) {
          throw new ShorthaulError(
            'SHORTHAUL_USAGE',
            'Cannot hand over: what this agent does cannot go on with another',
          )
        }
        response.once('close', onHandover)
        return { status: 202, body: {} }
      },
    }),
    route({
      method: 'GET',
      path: '/v1/network',
      who: 'anyone',
      summary: 'What the agent knows about its network',
      answer: { status: 200, description: 'The findings.', schema: null },
      handle: async ({ agent }) => ({ body: { network: agent.diagnoseNetwork() } }),
    }),
    route({
      method: 'POST',
      path: '/v1/network/refresh',
      who: 'anyone',
      summary: 'Look for neighbours now',
      answer: { status: 200, description: 'It was started.', schema: z.object({}) },
      handle: async ({ agent }) => {
        agent.refreshNetwork()
        return { body: {} }
      },
    }),
    route({
      method: 'POST',
      path: '/v1/origin/probe',
      who: 'anyone',
      summary: 'Ask an origin what it can do',
      body: URL_IN,
      answer: { status: 200, description: 'The findings.', schema: null },
      errors: [403, 413, 415],
      handle: async ({ agent, asker, signal }, { body: { url } }) => {
        refuseFilesOf(url, asker)
        return { body: await agent.probeOrigin(url, { signal, isOwner: asker.access === 'owner' }) }
      },
    }),
    route({
      method: 'POST',
      path: '/v1/fetch',
      who: 'anyone',
      summary: 'Fetch into a target of the client',
      body: { schema: FETCH_BODY, maxBytes: MAX_FETCH_BODY_BYTES },
      answer: {
        status: 200,
        description: 'Frames, `type u8 | length u32le | payload`: JSON that tells, and verified segments.',
        contentType: FETCH_TYPE,
        schema: null,
      },
      errors: [403, 413, 415],
      handle: async (exchange, { body }) => {
        refuseFilesOf(body.request.url, exchange.asker)
        await fetches.answer(exchange, fetchBodyOf(body))
        return null
      },
    }),
    route({
      method: 'POST',
      path: '/v1/fetch/{id}/digest',
      who: 'anyone',
      summary: 'Answer the frame of a fetch that asks for the digest of the target',
      body: { schema: DIGEST_BODY, maxBytes: MAX_BODY_BYTES },
      answer: { status: 200, description: 'It was taken.', schema: z.object({}) },
      errors: [413, 415],
      handle: async (_exchange, { params: { id = '' }, body }) => {
        fetches.digestIs(id, body.sha256)
        return { body: {} }
      },
    }),
    route({
      method: 'GET',
      path: '/v1/cache',
      who: 'owner',
      summary: 'What is cached',
      answer: { status: 200, description: 'The resources.', schema: z.object({ entries: z.array(z.unknown()) }) },
      handle: async ({ agent }) => ({ body: { entries: await agent.cache.entries() } }),
    }),
    route({
      method: 'GET',
      path: '/v1/cache/stat',
      who: 'owner',
      summary: 'How much is cached',
      answer: { status: 200, description: 'The figures.', schema: null },
      handle: async ({ agent }) => ({ body: await agent.cache.stat() }),
    }),
    route({
      method: 'POST',
      path: '/v1/cache/verify',
      who: 'owner',
      summary: 'Hash all that is cached, and drop what is not what it should be',
      answer: { status: 200, description: 'What was found.', schema: null },
      handle: async ({ agent, signal }) => ({ body: await agent.cache.verify({ signal }) }),
    }),
    route({
      method: 'GET',
      path: '/v1/quarantine',
      who: 'anyone',
      summary: 'Members that signed what an origin does not have: nothing that they say of content is believed',
      answer: { status: 200, description: 'The members.', schema: z.object({ members: z.array(z.unknown()) }) },
      handle: async ({ agent }) => ({ body: { members: agent.quarantine() } }),
    }),
    route({
      method: 'POST',
      path: '/v1/quarantine/lift',
      who: 'owner',
      summary: 'Believe a member again, and those that were put in for its address',
      body: { schema: MEMBER_BODY, maxBytes: MAX_BODY_BYTES },
      answer: { status: 200, description: 'How many it was.', schema: MATCHED },
      errors: [413, 415],
      handle: async ({ agent }, { body: { key } }) => ({
        body: { matched: agent.liftQuarantine(idFromBytes<AgentKey>(Buffer.from(key, 'hex'))) },
      }),
    }),
    onCached('pin', 'Keep what is cached of a URL', ({ agent }, url) => agent.cache.pin(url)),
    onCached('unpin', 'Let what is cached of a URL go when room is needed', ({ agent }, url) => agent.cache.unpin(url)),
    onCached('rm', 'Remove what is cached of a URL', ({ agent }, url) => agent.cache.remove(url)),
  ]
}

function onCached(verb: string, summary: string, act: (exchange: Exchange, url: string) => Promise<number>): Route {
  return route({
    method: 'POST',
    path: `/v1/cache/${verb}`,
    who: 'owner',
    summary,
    body: URL_IN,
    answer: { status: 200, description: 'How many it was.', schema: MATCHED },
    errors: [413, 415],
    handle: async (exchange, { body: { url } }) => ({ body: { matched: await act(exchange, url) } }),
  })
}

/**
 * Our rights to files are not those of whoever asks on a public socket.
 * @throws SHORTHAUL_FORBIDDEN
 */
function refuseFilesOf(url: string, { access }: Asker): void {
  if (access === 'owner' || !URL.canParse(url) || new URL(url).protocol !== 'file:') return
  throw new ShorthaulError(
    'SHORTHAUL_FORBIDDEN',
    'Cannot read files for others than the owner of the agent: the command reads them itself',
  )
}
