/** YAML 1.2 into plain values, without aliases, and without letting a hostile text overwhelm the parser. */
import { CST, isMap, isScalar, Lexer, parseDocument, visit } from 'yaml'
import type { ConfigFile } from './config-file.ts'

/**
 * What the lexer may find before the parser runs. The parser recurses with depth and needs about 1 KiB and 10 µs for a
 * token: 1 MiB of `[` took it 14 s and then the process (yaml 2.9.1, Node 20, 2026-11). A roster of 10,000 keys has
 * 50,000 tokens.
 */
const MAX_TOKENS = 100_000
const MAX_BRACKETS = 32
const MAX_INDENT = 64
const MAX_INDICATORS_PER_LINE = 8

export function parseYaml(text: string): Exclude<ConfigFile, { kind: 'missing' }> {
  const excess = findExcess(text)
  if (excess !== null) return { kind: 'invalid', problems: [excess] }
  try {
    // Unique keys are checked below: the parser's own check is quadratic, minutes for 1 MiB of keys.
    const document = parseDocument(text, { schema: 'core', uniqueKeys: false, stringKeys: true, prettyErrors: true })
    const problems = [...document.errors, ...document.warnings].map((problem) => firstLine(problem.message))
    visit(document, {
      Map(_, map) {
        const seen = new Set<string>()
        for (const { key } of map.items) {
          const name = isScalar(key) ? String(key.value) : ''
          if (seen.has(name)) problems.push(`the key ${JSON.stringify(name.slice(0, 80))} stands there twice`)
          seen.add(name)
        }
      },
    })
    if (problems.length > 0) return { kind: 'invalid', problems }
    // An empty file is a file without keys.
    if (document.contents !== null && !isMap(document.contents) && !isEmpty(document.contents)) {
      return { kind: 'invalid', problems: ['the file holds no map of keys'] }
    }
    // No alias at all: nobody needs one here, and a dozen of them can stand for gigabytes.
    return { kind: 'read', root: document.toJS({ maxAliasCount: 0 }) }
  } catch (error: unknown) {
    return { kind: 'invalid', problems: [firstLine(error instanceof Error ? error.message : String(error))] }
  }
}

function isEmpty(node: unknown): boolean {
  return isScalar(node) && node.value === null
}

/** What would overwhelm the parser; null when nothing does. Linear and without recursion. */
function findExcess(text: string): string | null {
  let tokenCount = 0
  let brackets = 0
  let indicators = 0
  let isLineStart = true
  for (const token of new Lexer().lex(text)) {
    if (++tokenCount > MAX_TOKENS) return `more than ${MAX_TOKENS} words and signs`
    switch (CST.tokenType(token)) {
      case 'flow-map-start':
      case 'flow-seq-start':
        if (++brackets > MAX_BRACKETS) return `brackets nested more than ${MAX_BRACKETS} deep`
        break
      case 'flow-map-end':
      case 'flow-seq-end':
        brackets--
        break
      case 'seq-item-ind':
      case 'explicit-key-ind':
      case 'map-value-ind':
      case 'anchor':
      case 'tag':
        if (++indicators > MAX_INDICATORS_PER_LINE && brackets === 0) {
          return `more than ${MAX_INDICATORS_PER_LINE} signs of structure in one line`
        }
        break
      case 'space':
        if (isLineStart && token.length > MAX_INDENT) return `a line indented by more than ${MAX_INDENT}`
        break
      case 'newline':
        indicators = 0
        isLineStart = true
        continue
      default:
        break
    }
    isLineStart = false
  }
  return null
}

function firstLine(message: string): string {
  return (message.split('\n', 1)[0] ?? '').replace(/:$/, '').slice(0, 200)
}
