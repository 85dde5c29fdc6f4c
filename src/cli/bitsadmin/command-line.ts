/** What stands on a `bitsadmin` command line. Pure: knows no verbs but those that have verbs of their own. */
import { usage } from '../output.ts'

export interface Modifiers {
  /** Values only. */
  readonly isRaw: boolean
  /** Null: as the verb likes. */
  readonly isWrapped: boolean | null
}

export interface CommandLine {
  readonly modifiers: Modifiers
  /** Lower case with its slash; of `/util /version` both words. Null: there is none. */
  readonly verb: string | null
  readonly args: readonly string[]
}

/** Verbs that are followed by what is to be done. */
const GROUPS = ['/cache', '/peers', '/peercaching', '/util']

/** @throws SHORTHAUL_USAGE for what is no switch */
export function parseCommandLine(words: readonly string[]): CommandLine {
  let isRaw = false
  let isWrapped: boolean | null = null
  for (const [at, word] of words.entries()) {
    const name = word.toLowerCase()
    if (name === '/rawreturn') isRaw = true
    else if (name === '/wrap' || name === '/nowrap') isWrapped = name === '/wrap'
    else return { modifiers: { isRaw, isWrapped }, ...parseVerb(name, words.slice(at + 1)) }
  }
  return { modifiers: { isRaw, isWrapped }, verb: null, args: [] }
}

function parseVerb(name: string, args: readonly string[]): Pick<CommandLine, 'verb' | 'args'> {
  if (!name.startsWith('/')) throw usage(`Cannot understand "${name}": expected a switch such as /list`)
  const [first, ...others] = args
  if (!GROUPS.includes(name) || first === undefined) return { verb: name, args }
  return { verb: `${name} ${first.toLowerCase()}`, args: others }
}

/** What a verb's arguments are after its switches were taken from their front. */
export interface Switched {
  /** Lower case, with the value for those that have one; else ''. */
  readonly switches: ReadonlyMap<string, string>
  readonly rest: readonly string[]
}

/**
 * Takes the switches that stand in front; the first word that is none of them ends that: a path may begin with a slash.
 * @param known name with its slash, and whether a value follows
 * @throws SHORTHAUL_USAGE
 */
export function takeSwitches(args: readonly string[], known: Readonly<Record<string, boolean>>): Switched {
  const switches = new Map<string, string>()
  let at = 0
  for (; at < args.length; at++) {
    const name = (args[at] ?? '').toLowerCase()
    const hasValue = Object.hasOwn(known, name) ? known[name] : undefined
    if (hasValue === undefined) break
    const value = hasValue ? args[++at] : ''
    if (value === undefined) throw usage(`Cannot use ${name}: its value is missing`)
    switches.set(name, value)
  }
  return { switches, rest: args.slice(at) }
}

/** All arguments must be switches. @throws SHORTHAUL_USAGE */
export function onlySwitches(
  args: readonly string[],
  known: Readonly<Record<string, boolean>>,
): ReadonlyMap<string, string> {
  const { switches, rest } = takeSwitches(args, known)
  if (rest[0] !== undefined) throw usage(`Cannot understand "${rest[0]}": expected ${Object.keys(known).join(' ')}`)
  return switches
}

/**
 * A string of arguments to arguments, by the rules of Windows programs (CommandLineToArgvW without a program in front):
 * blanks separate, quotes hold together, backslashes escape only before a quote, two quotes within quotes are one.
 * Nothing is expanded. @throws SHORTHAUL_USAGE for a quote that is not closed
 */
export function splitArguments(text: string): readonly string[] {
  const args: string[] = []
  let arg: string | null = null
  let isQuoted = false
  for (let at = 0; at < text.length; at++) {
    const char = text.charAt(at)
    if (!isQuoted && (char === ' ' || char === '\t')) {
      if (arg !== null) args.push(arg)
      arg = null
    } else if (char === '\\') {
      let count = 1
      while (text[at + 1] === '\\') {
        count++
        at++
      }
      arg ??= ''
      if (text[at + 1] === '"') {
        arg += '\\'.repeat(Math.floor(count / 2))
        if (count % 2 === 1) {
          arg += '"'
          at++
        }
      } else arg += '\\'.repeat(count)
    } else if (char === '"') {
      arg ??= ''
      if (isQuoted && text[at + 1] === '"') {
        arg += '"'
        at++
      } else isQuoted = !isQuoted
    } else arg = (arg ?? '') + char
  }
  if (isQuoted) throw usage('Cannot split the arguments: a quote is not closed')
  if (arg !== null) args.push(arg)
  return args
}

/** The reverse of `splitArguments`. */
export function joinArguments(args: readonly string[]): string {
  return args
    .map((arg) => {
      if (arg !== '' && !/[\s"]/.test(arg)) return arg
      return `"${arg.replaceAll(/(\\*)("|$)/g, (_, slashes: string, quote: string) => `${slashes}${slashes}${quote === '' ? '' : '\\"'}`)}"`
    })
    .join(' ')
}
