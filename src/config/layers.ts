/**
 * What the file, the environment and the command line say, each turned into values at known keys and a list of problems
 * for what is not known. Does not check values: load.ts does.
 */
import type { ConfigFile } from './config-file.ts'
import { FLAT_KEYS, type FlatKey } from './flat-keys.ts'
import { nearest } from './suggest.ts'

export type Provenance = 'default' | 'file' | 'environment' | 'command line'

export type Environment = Readonly<Record<string, string | undefined>>

/** SHORTHAUL_ variables that are not keys. */
const OTHER_VARIABLES: readonly string[] = ['SHORTHAUL_CONFIG']

export interface Given {
  readonly flat: FlatKey
  readonly value: unknown
  /** How the problem list names the place: the path, or the variable. */
  readonly name: string
  readonly provenance: Provenance
}

const MAX_SUGGESTIONS = 20

/** What one layer said. */
export interface Layer {
  readonly given: Given[]
  readonly problems: string[]
}

export function readFileLayer(content: Exclude<ConfigFile, { kind: 'missing' }>): Layer {
  if (content.kind === 'invalid') return { given: [], problems: content.problems.map((problem) => `YAML: ${problem}`) }
  const layer: Layer = { given: [], problems: [] }
  for (const [name, value] of entriesOf(content.root)) {
    const inSection = FLAT_KEYS.filter(({ section }) => section === name)
    const top = FLAT_KEYS.find(({ section, path }) => section === null && path === name)
    if (top !== undefined) layer.given.push({ flat: top, value, name, provenance: 'file' })
    else if (inSection.length === 0) addUnknown(layer, name)
    // A section whose keys are all commented out is null in YAML.
    else if (value === null) continue
    else if (!isRecord(value)) {
      const names = inSection.map((flat) => flat.name).join(', ')
      layer.problems.push(`${name}: ${show(value)}, expected a map with keys of ${names}`)
    } else readSection({ section: name, value, known: inSection }, layer)
  }
  return layer
}

function readSection(
  { section, value, known }: { section: string; value: Record<string, unknown>; known: readonly FlatKey[] },
  layer: Layer,
): void {
  for (const [name, inner] of Object.entries(value)) {
    const flat = known.find((candidate) => candidate.name === name)
    if (flat === undefined) addUnknown(layer, `${section}.${name}`)
    else layer.given.push({ flat, value: inner, name: flat.path, provenance: 'file' })
  }
}

export function readEnvironment(env: Environment): Layer {
  const layer: Layer = { given: [], problems: [] }
  for (const [variable, text] of Object.entries(env)) {
    // Empty is unset: `SHORTHAUL_X=` is how shells and compose files switch a variable off.
    if (!variable.startsWith('SHORTHAUL_') || OTHER_VARIABLES.includes(variable) || !text) continue
    const flat = FLAT_KEYS.find((candidate) => candidate.variable === variable)
    if (flat !== undefined) {
      layer.given.push({
        flat,
        value: fromText(text, flat),
        name: `${variable} (${flat.path})`,
        provenance: 'environment',
      })
      continue
    }
    const near = nearest(variable, [...FLAT_KEYS.map((known) => known.variable), ...OTHER_VARIABLES])
    layer.problems.push(`${show(variable)}: unknown variable${near === null ? '' : `, did you mean ${near}`}`)
  }
  return layer
}

export function readOverrides(overrides: Readonly<Record<string, unknown>>): Layer {
  const layer: Layer = { given: [], problems: [] }
  for (const [path, value] of Object.entries(overrides)) {
    if (value === undefined) continue
    const flat = FLAT_KEYS.find((candidate) => candidate.path === path)
    if (flat === undefined) addUnknown(layer, path)
    else {
      const typed = typeof value === 'string' ? fromText(value, flat) : value
      layer.given.push({ flat, value: typed, name: `${path} (command line)`, provenance: 'command line' })
    }
  }
  return layer
}

/** Text cannot say null or a list by itself: `null`, and commas. A list of nothing is `,`. */
function fromText(text: string, { key }: FlatKey): unknown {
  if (key.isNullable && text === 'null') return null
  if (!key.isList) return text
  return text
    .split(',')
    .map((entry) => entry.trim())
    .filter((entry) => entry !== '')
}

function addUnknown(layer: Layer, path: string): void {
  // A file of nothing but unknown keys would spend seconds on suggestions that nobody is shown.
  const hasRoom = layer.problems.length < MAX_SUGGESTIONS
  layer.problems.push(hasRoom ? unknownKey(path) : `${show(path)}: unknown key`)
}

function unknownKey(path: string): string {
  const paths = FLAT_KEYS.map((flat) => flat.path)
  const sections = FLAT_KEYS.flatMap(({ section }) => section ?? [])
  if (paths.includes(path)) return `${show(path)}: unknown key, expected ${path.replace('.', ': { ')}: … }`
  const section = path.includes('.') ? path.slice(0, path.indexOf('.')) : null
  const near =
    section === null
      ? (nearest(path, [...sections, ...paths.filter((known) => !known.includes('.'))]) ?? bySameName(path))
      : (nearest(
          path,
          paths.filter((known) => known.startsWith(`${section}.`)),
        ) ?? nearest(path, paths))
  return `${show(path)}: unknown key${near === null ? '' : `, did you mean ${near}`}`
}

/** A key that was written without its section. */
function bySameName(name: string): string | null {
  const near = nearest(
    name,
    FLAT_KEYS.map((flat) => flat.name),
  )
  return FLAT_KEYS.find((flat) => flat.name === near)?.path ?? null
}

export function show(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value)
  return text.length > 80 ? `${text.slice(0, 80)}…` : text
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function entriesOf(root: unknown): [string, unknown][] {
  return isRecord(root) ? Object.entries(root) : []
}
