/** Files that another program may have written or a disk may have damaged: configuration, and the values of the index. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parse as parseYamlValue } from 'yaml'
import { FLAT_KEYS } from '../../../src/config/flat-keys.ts'
import { type LoadedConfig, loadConfig } from '../../../src/config/load.ts'
import {
  parseBytes,
  parseDuration,
  parseRate,
  printBytes,
  printDuration,
  printRate,
} from '../../../src/config/units.ts'
import type { AgentKey, LocationKey, ResourceId, ResourceKey } from '../../../src/content/ids.ts'
import { isContentLength } from '../../../src/content/segmentation.ts'
import { isShorthaulError } from '../../../src/errors.ts'
import { encodeFrame } from '../../../src/peers/wire.ts'
import * as codec from '../../../src/store/index-codec.ts'
import type { ResourceRecord } from '../../../src/store/records.ts'
import { Seeded } from '../kit/seeded.ts'
import { decodedOrNull, type FuzzTarget, latin1, must, mustBeBounded, toBuffer } from '../kit/target.ts'

/** Twenty problems, each of a line. */
const MAX_PROBLEM_CHARS = 400
const MAX_PROBLEMS = 21

let directory: string | null = null

function valuesOf({ config }: LoadedConfig, path: string): unknown {
  return path.split('.').reduce<unknown>((value, name) => Object(value)[name], config)
}

function yamlLine(random: Seeded): string {
  const flat = random.pick(FLAT_KEYS)
  if (flat === undefined) return ''
  const { key, section, name } = flat
  const odd = [
    'null',
    '-1',
    '1e999',
    '"x"',
    '[a, b]',
    '{a: 1}',
    '.nan',
    '0x10',
    '&a 1',
    '*a',
    '!!str 5',
    '|\n  x',
    '10MB',
  ] as const
  const value = random.chance(0.7) ? key.print(key.default) : random.pick(odd)
  return section === null ? `${name}: ${value}` : `${section}:\n  ${name}: ${value}`
}

/** Through a file, as the agent reads it. */
export const configTarget: FuzzTarget = {
  name: 'config',
  covers: ['config/'],
  seeds: [latin1('cache:\n  maxBytes: 20GiB\nnetwork:\n  peers: [10.0.0.1]\n')],
  tokens: [
    ...FLAT_KEYS.map(({ name }) => `${name}: `),
    '\n',
    '  ',
    ': ',
    '- ',
    '[',
    ']',
    '{',
    '}',
    '&a ',
    '*a',
    '!!',
    '|',
    '"',
    '#',
    '? ',
  ],
  maxBytes: 4096,
  testRuns: { count: 1500, why: 'each goes through a file' },
  // What a file of no size is read into.
  maxAllocatedBytes: (input) => 512 * 1024 + 64 * input.byteLength,
  generate: (random) => latin1(Array.from({ length: 1 + random.few(4) }, () => yamlLine(random)).join('\n')),
  async run(input) {
    directory ??= mkdtempSync(join(tmpdir(), 'shorthaul-fuzz-'))
    const file = join(directory, 'config.yaml')
    writeFileSync(file, input)
    let loaded: LoadedConfig
    try {
      loaded = await loadConfig({ file, env: {}, homeDir: '/home/x', isRoot: false, workingDir: '/' })
    } catch (error) {
      if (!isShorthaulError(error, 'SHORTHAUL_CONFIG_INVALID')) throw error
      const lines = error.message.split('\n')
      must(lines.length <= MAX_PROBLEMS + 1, `${lines.length} lines of problems`)
      for (const line of lines) must(line.length <= MAX_PROBLEM_CHARS, `a problem of ${line.length} characters`)
      return 'refused'
    }
    for (const { path, key } of FLAT_KEYS) {
      const value = valuesOf(loaded, path)
      const again = key.schema.safeParse(parseYamlValue(key.print(value)))
      must(
        again.success && JSON.stringify(again.data) === JSON.stringify(value),
        `${path} is printed as something else`,
      )
    }
    return 'accepted'
  },
  close() {
    if (directory !== null) rmSync(directory, { recursive: true, force: true })
    directory = null
  },
}

const MEASURES = [
  { parse: parseBytes, print: printBytes },
  { parse: parseRate, print: printRate },
  { parse: parseDuration, print: printDuration },
] as const

export const unitsTarget: FuzzTarget = {
  name: 'units',
  covers: ['config/units'],
  seeds: ['1.5GiB', '10 Mbit/s', '90d', '0', '250ms', '9007199254740991', '0.29kB', '1kbit'].map(latin1),
  tokens: ['B', 'kB', 'MiB', 'TiB', '/s', 'bit/s', 'ms', 'min', 'w', '.', ' ', 'e', 'toString', '0x'],
  maxBytes: 64,
  generate: (random) =>
    latin1(
      `${random.below(5000)}${random.pick(['', '.5', '.125'] as const)}${random.pick(['B', 'GiB', 'kB/s', 'Mbit', 'ms', 'd', 'Q'] as const)}`,
    ),
  run(input) {
    const text = Buffer.from(input).toString('utf8')
    let isRead = false
    for (const { parse, print } of MEASURES) {
      const value = decodedOrNull('SHORTHAUL_USAGE', () => parse(text))
      if (value === null) continue
      isRead = true
      must(Number.isSafeInteger(value) && value >= 0, `"${text}" is ${value}`)
      must(parse(print(value)) === value, `${value} is printed as ${print(value)}`)
    }
    return isRead ? 'accepted' : 'refused'
  },
}

const SIGNER = '0a'.repeat(32) as AgentKey
const LOCATION = '0c'.repeat(32) as LocationKey
const RESOURCE_KEY = '0d'.repeat(32) as ResourceKey
const HEX = /^[0-9a-f]{64}$/

function record(random: Seeded): ResourceRecord {
  const isSo = random.chance(0.5)
  const validator = { kind: random.pick(['etag', 'last-modified'] as const), value: '"v1"' }
  return {
    id: random.hex(32) as ResourceId,
    resource: { url: 'http://o/x', selection: '', validator, lengthBytes: random.u32() },
    visibility: random.pick(['branch', 'private'] as const),
    finalUrl: 'http://o/x',
    root: null,
    sha256: isSo ? random.hex(32) : null,
    identification: isSo
      ? {
          validator,
          lengthBytes: 5,
          seenAtMs: 1_700_000_000_000,
          freshUntilMs: 1_700_000_000_001,
          signer: SIGNER,
          signature: random.bytes(64),
        }
      : null,
    createdAtMs: 1_700_000_000_000,
    lastUsedAtMs: 1_700_000_000_000,
    pinnedSha256: null,
    declaredSha256: null,
    isPinned: isSo,
  }
}

type Decoder = (value: Buffer) => boolean

const decodesRow: Decoder = (value) => {
  const row = codec.decodeSegmentRow(value)
  if (row !== null) must(codec.encodeSegmentRow(row).equals(value), 'a row is encoded otherwise')
  return row !== null
}

const decodesTotals: Decoder = (value) => {
  const totals = codec.decodeTotals(value)
  if (totals !== null) must(codec.encodeTotals(totals).equals(value), 'totals are encoded otherwise')
  return totals !== null
}

const decodesStatement: Decoder = (value) => {
  const statement = codec.decodeStatement({ firstIndex: 0, signer: SIGNER }, value)
  if (statement === null) return false
  mustBeBounded(statement, value)
  must(codec.isStorableStatement(statement), 'a statement that could not have been stored')
  must(codec.encodeStatement(statement).equals(value), 'a statement is encoded otherwise')
  return true
}

const decodesRecord: Decoder = (value) => {
  const found = codec.decodeRecord(value)
  if (found === null) return false
  mustBeBounded(found, value)
  const again = codec.decodeRecord(codec.encodeRecord(found))
  must(JSON.stringify(again) === JSON.stringify(found), 'a record is encoded otherwise')
  const { resource, identification, sha256, root, createdAtMs, lastUsedAtMs } = found
  must(isContentLength(resource.lengthBytes), 'its length')
  must(sha256 === null || HEX.test(sha256), 'a digest that is none')
  must(root === null || HEX.test(root), 'a root that is none')
  for (const atMs of [createdAtMs, lastUsedAtMs]) must(Number.isSafeInteger(atMs) && atMs >= 0, `a time of ${atMs}`)
  // It is sent to whoever asks: what the wire has no place for would end the answer.
  if (identification !== null) {
    encodeFrame({ type: 'known', location: LOCATION, newest: { resource: RESOURCE_KEY, identification } })
  }
  return true
}

const DECODERS = [decodesRow, decodesTotals, decodesStatement, decodesRecord, decodesRecord, decodesRecord] as const

/** The first byte says which table the value is of. */
export const indexTarget: FuzzTarget = {
  name: 'index',
  covers: ['store/index-codec'],
  seeds: [1, 2, 3].map((seed) => Buffer.concat([Buffer.from([3]), codec.encodeRecord(record(new Seeded(seed)))])),
  tokens: [
    'null',
    '1e999',
    '-1',
    '0.5',
    '9007199254740993',
    '""',
    '"lengthBytes":',
    '"seenAtMs":',
    '"signature":',
    '"value":',
  ],
  maxBytes: 4096,
  generate(random) {
    const row = { lengthBytes: 1 + random.below(1024 * 1024), lastUsedAtMs: random.u32(), grantor: null }
    const values = [
      codec.encodeSegmentRow(random.chance(0.5) ? row : { ...row, grantor: random.hex(32) as ResourceId }),
      codec.encodeTotals({ segmentCount: random.u32(), bytes: random.u32() }),
      random.bytes(64 + 32 * (1 + random.few(6))),
      codec.encodeRecord(record(random)),
    ] as const
    const kind = random.below(values.length)
    return Buffer.concat([Buffer.from([kind]), values[kind] ?? values[0]])
  },
  run(input) {
    const decodes = DECODERS[(input[0] ?? 0) % DECODERS.length] ?? decodesRecord
    return decodes(toBuffer(input.subarray(1))) ? 'accepted' : 'refused'
  },
}
