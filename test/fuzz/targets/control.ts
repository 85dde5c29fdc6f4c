/**
 * Requests to the control API, as the routes' own tables and schemas read them: without sockets. What comes over a real
 * socket is control-http.ts.
 */

import { agentRoutes } from '../../../src/control/agent-routes.ts'
import { BRANCH_ROUTES } from '../../../src/control/branch-routes.ts'
import { Fetches } from '../../../src/control/fetches.ts'
import { JOB_ROUTES } from '../../../src/control/job-routes.ts'
import { parse, parseQuery } from '../../../src/control/requests.ts'
import { RouteTable } from '../../../src/control/route.ts'
import { SESSION_ROUTES } from '../../../src/control/session-routes.ts'
import { isShorthaulError } from '../../../src/errors.ts'
import { silent } from '../../peers/branch-fixture.ts'
import type { Seeded } from '../kit/seeded.ts'
import { type FuzzTarget, must, mustBeBounded } from '../kit/target.ts'

const TABLE = new RouteTable([
  ...BRANCH_ROUTES,
  ...agentRoutes(new Fetches({ log: silent, stop: new AbortController().signal })),
  ...JOB_ROUTES,
  ...SESSION_ROUTES,
])
/** Longer ones tell nobody more. */
const MAX_REFUSAL_CHARS = 4096
const JOB = '0b6e1d7c-8b1e-4c1e-9a55-3f6f9d3c2a10'
const FILE = { url: 'http://o/x', target: '/tmp/x' }
const FETCH = {
  request: {
    url: 'http://o/x',
    headers: [['A', 'b']],
    sha256: null,
    priority: 'normal',
    usePeers: true,
    useOrigin: true,
    originMaxBytesPerSec: null,
    ranges: [{ startBytes: 0, endBytes: null }],
  },
  leftOver: ['a5'.repeat(32), null],
  isInOrder: false,
}
const ORDER = {
  name: 'n',
  priority: 'low',
  proxy: 'none',
  headers: [['A', 'b']],
  notify: { command: ['/bin/true'], webhookUrl: null, events: ['error'] },
  files: [{ ...FILE, ranges: [{ startBytes: 0, endBytes: 5 }], sha256: 'a5'.repeat(32) }, FILE],
  isStarted: true,
}

/** Method, target and body, one on a line. */
const REQUESTS: readonly string[] = [
  'GET /v1/status\n',
  `GET /v1/jobs?states=queued,error&allUsers=true&after=${JOB}&limit=10\n`,
  `GET /v1/events?after=5&job=${JOB}&progress=true\n`,
  `GET /v1/jobs/${JOB}/files?after=3&limit=1000\n`,
  `POST /v1/jobs\n${JSON.stringify(ORDER)}`,
  `POST /v1/jobs/${JOB}/files\n${JSON.stringify({ files: [FILE] })}`,
  `PATCH /v1/jobs/${JOB}\n${JSON.stringify({ name: 'x', deadlineAtMs: null })}`,
  `PATCH /v1/jobs/${JOB}/files/0\n${JSON.stringify({ url: 'http://o/' })}`,
  `POST /v1/jobs/${JOB}/replace-prefix\n${JSON.stringify({ from: 'http://a', to: 'http://b' })}`,
  `POST /v1/fetch\n${JSON.stringify(FETCH)}`,
  `POST /v1/fetch/${JOB}/digest\n${JSON.stringify({ sha256: 'a5'.repeat(32) })}`,
  `POST /v1/cache/pin\n${JSON.stringify({ url: 'http://o/' })}`,
]

const VALUES = [
  'null',
  'true',
  '-1',
  '1e999',
  '0.5',
  '""',
  '[]',
  '{}',
  '9007199254740993',
  '"__proto__"',
  '[[[]]]',
] as const

/** A value of the body becomes something else, or a field is added. */
function changed(text: string, random: Seeded): string {
  if (random.chance(0.3)) return text
  const values = [...text.matchAll(/(?<=:)(?:"[^"]*"|true|false|null|\d+|\[[^\]]*\])/g)]
  const found = random.pick(values)
  if (found === undefined || random.chance(0.2))
    return text.replace('{', `{"${random.pick(['x', '__proto__'] as const)}":1,`)
  return text.slice(0, found.index) + random.pick(VALUES) + text.slice(found.index + found[0].length)
}

export const controlTarget: FuzzTarget = {
  name: 'control',
  covers: ['control/requests', 'control/job-requests', 'control/route'],
  seeds: REQUESTS.map((request) => Buffer.from(request)),
  tokens: [
    ...VALUES,
    '{"',
    '":',
    '","',
    '?',
    '&',
    '=',
    ',',
    '%',
    '%00',
    '%zz',
    '/',
    '..',
    '\n',
    '/v1/jobs',
    'limit=',
    'states=',
  ],
  generate: (random) => Buffer.from(changed(random.pick(REQUESTS) ?? '', random)),
  run(input) {
    const [head = '', ...lines] = Buffer.from(input).toString('utf8').split('\n')
    const [method = '', target = ''] = head.split(' ', 2)
    if (!URL.canParse(target, 'http://agent')) return 'refused'
    const { pathname, searchParams } = new URL(target, 'http://agent')
    const found = TABLE.find(method, pathname)
    if (!('route' in found)) {
      must(
        found.every((allowed) => allowed !== method),
        'a method that is allowed was not found',
      )
      return 'refused'
    }
    const { query, body } = found.route
    mustBeBounded(found.params, input)
    try {
      if (query) mustBeBounded(parseQuery(query, searchParams), input)
      if (body) {
        const read: unknown = parse(body.schema, jsonOf(lines.join('\n')))
        mustBeBounded(read, input)
        must(Object.getPrototypeOf(read) === Object.prototype, 'a body with a prototype of its own')
        must(
          JSON.stringify(parse(body.schema, jsonOf(JSON.stringify(read)))) === JSON.stringify(read),
          'read otherwise',
        )
      }
      return 'accepted'
    } catch (error) {
      if (!isShorthaulError(error, 'SHORTHAUL_USAGE')) throw error
      must(error.message.length <= MAX_REFUSAL_CHARS, `a refusal of ${error.message.length} characters`)
      return 'refused'
    }
  },
}

/** What the server does with what is no JSON is in control-http.ts. */
function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
