/** The command line of the bench. */
import { parseArgs } from 'node:util'
import type { BenchOptions, Scenario } from './scenario.ts'

export interface Command extends Omit<BenchOptions, 'runs' | 'say'> {
  readonly scenarios: readonly Scenario[]
  readonly isJson: boolean
  readonly htmlFile: string | null
  readonly runs: number | null
}

const USAGE = `npm run bench -- SCENARIO... [options]      all: every scenario

  --runs N          measurements of each contender
  --size BYTES      of the content
  --hosts N         that download at once
  --wan MBIT        rate of the WAN towards the branch
  --origin-rate MBIT  what the origin gives to each connection
  --fifo-ms MS      depth of the WAN's queue (foreground scenarios)
  --rtt-ms MS       round trip of the empty WAN (foreground scenarios)
  --only TEXT       only contenders whose name holds it (foreground scenarios)
  --json            one object per line instead of a table
  --html FILE       also a report with charts
`

/** What is wrong with a command line; the message ends with the usage. */
export class UsageError extends Error {}

/** For people, with every scenario. */
export function usageOf(known: readonly Scenario[]): string {
  const list = known.map(({ name, title }) => `  ${name.padEnd(18)} ${title}`).join('\n')
  return `${USAGE}\n${list}`
}

function usageError(problem: string, known: readonly Scenario[]): UsageError {
  return new UsageError(`${problem}\n\n${usageOf(known)}`)
}

/** @throws UsageError */
export function parseCommand(args: readonly string[], known: readonly Scenario[]): Command {
  const fail = (problem: string) => usageError(problem, known)
  const { values, positionals } = parse(args, fail)
  if (positionals.length === 0) throw fail('Which scenario?')
  const scenarios = positionals.map((name) => {
    const found = known.find((one) => one.name === name)
    if (!found && name !== 'all') throw fail(`No scenario "${name}"`)
    return found
  })
  const positive = (flag: 'runs' | 'size' | 'hosts' | 'wan' | 'origin-rate' | 'fifo-ms' | 'rtt-ms') => {
    const text = values[flag]
    if (text === undefined) return null
    const value = Number(text)
    const mayBeBroken = flag === 'wan' || flag === 'origin-rate' || flag === 'rtt-ms'
    if (!Number.isFinite(value) || value <= 0 || !(mayBeBroken || Number.isSafeInteger(value)))
      throw fail(`--${flag} takes a number above 0, not "${text}"`)
    return value
  }
  return {
    scenarios: positionals.includes('all') ? known : scenarios.filter((one) => one !== undefined),
    isJson: values.json,
    htmlFile: values.html ?? null,
    runs: positive('runs'),
    sizeBytes: positive('size'),
    hosts: positive('hosts'),
    wanMbit: positive('wan'),
    originMbit: positive('origin-rate'),
    fifoMs: positive('fifo-ms'),
    rttMs: positive('rtt-ms'),
    only: values.only ?? null,
  }
}

function parse(args: readonly string[], fail: (problem: string) => UsageError) {
  const text = { type: 'string' } as const
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        json: { type: 'boolean', default: false },
        html: text,
        runs: text,
        size: text,
        hosts: text,
        wan: text,
        'origin-rate': text,
        'fifo-ms': text,
        'rtt-ms': text,
        only: text,
      },
    })
  } catch (error) {
    throw fail(error instanceof Error ? error.message : String(error))
  }
}
