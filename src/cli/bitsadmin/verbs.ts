/** All verbs of `bitsadmin` in one table: what is done, what is refused, and the help made of it. */
import { AGENT_VERSION } from '../../version.ts'
import { FILE_VERBS } from './file-verbs.ts'
import { GETTER_VERBS } from './getters.ts'
import { JOB_VERBS } from './job-verbs.ts'
import { REFUSED_VERBS } from './refused.ts'
import { SETTER_VERBS } from './setters.ts'
import { TRANSFER_VERBS } from './transfer.ts'
import type { RefusedVerb, Verb } from './verb.ts'

const EXAMPLES = [
  'shorthaul bitsadmin /transfer myjob https://example.org/a.iso a.iso',
  'shorthaul bitsadmin /create myjob',
  'shorthaul bitsadmin /addfile myjob https://example.org/a.iso a.iso',
  'shorthaul bitsadmin /setpriority myjob HIGH',
  'shorthaul bitsadmin /resume myjob',
  'shorthaul bitsadmin /rawreturn /getstate myjob',
  'shorthaul bitsadmin /complete myjob',
]

const MODIFIERS: readonly (readonly [name: string, help: string])[] = [
  ['/rawreturn', 'Values only, for scripts; stands before the verb'],
  ['/wrap', 'Long lines go on in the next one'],
  ['/nowrap', 'Long lines are cut at the edge of the terminal'],
]

const UTIL_VERBS: readonly Verb[] = [
  {
    name: '/util /version',
    parameters: '[/verbose]',
    status: 'mapped',
    help: 'Prints the version of shorthaul',
    count: [0, 1],
    needsAgent: false,
    run: async (_, { out }) => out.line(out.isRaw ? AGENT_VERSION : `Version: shorthaul ${AGENT_VERSION}`),
  },
  {
    name: '/util /help',
    parameters: '',
    status: 'honoured',
    help: 'Prints the verbs of /util',
    count: [0, 0],
    needsAgent: false,
    run: async (_, { out }) => {
      for (const verb of allVerbs().filter(({ name }) => name.startsWith('/util '))) out.line(helpLine(verb))
    },
  },
  {
    name: '/help',
    parameters: '',
    status: 'honoured',
    help: 'Prints the verbs',
    needsAgent: false,
    run: async (_, { out }) => {
      out.line('USAGE: shorthaul bitsadmin [/RAWRETURN] [/WRAP | /NOWRAP] VERB')
      out.line('JOB is a name, or a GUID in braces. Switches in any case.')
      for (const verb of VERBS) out.line(helpLine(verb))
      out.line('All others are refused with the reason: docs/bitsadmin.md lists them.')
    },
  },
  {
    name: '/examples',
    parameters: '',
    status: 'honoured',
    help: 'Prints examples',
    needsAgent: false,
    run: async (_, { out }) => {
      for (const example of EXAMPLES) out.line(example)
    },
  },
]

export const VERBS: readonly Verb[] = [
  ...TRANSFER_VERBS,
  ...JOB_VERBS,
  ...FILE_VERBS,
  ...GETTER_VERBS,
  ...SETTER_VERBS,
  ...UTIL_VERBS,
]

function allVerbs(): readonly (Verb | RefusedVerb)[] {
  return [...VERBS, ...REFUSED_VERBS]
}

/** Null: `bitsadmin` has no such verb. */
export function verbOf(name: string): Verb | RefusedVerb | null {
  return allVerbs().find((verb) => verb.name === aliasOf(name)) ?? null
}

function aliasOf(name: string): string {
  return name === '/?' ? '/help' : name
}

export function usageOf({ name, parameters }: Pick<Verb, 'name' | 'parameters'>): string {
  return `${name} ${parameters}`.trim()
}

function helpLine(verb: Verb | RefusedVerb): string {
  return `${usageOf(verb)}  ${verb.status === 'refused' ? `(refused: ${verb.help})` : verb.help}`
}

/** The rows of docs/bitsadmin.md: switch, what becomes of it, and how or why. */
export function verbRows(): readonly (readonly [usage: string, status: string, note: string])[] {
  return [
    ...MODIFIERS.map(([name, help]) => [name, 'honoured', help] as const),
    ...allVerbs().map((verb) => [usageOf(verb), verb.status, verb.help] as const),
  ]
}
