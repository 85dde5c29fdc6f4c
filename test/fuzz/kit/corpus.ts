/**
 * Inputs that are kept: what once failed, and what reached code that nothing else reached. One file for a target, one JSON
 * string on a line, a character for each byte; lines that begin with # say why.
 */
import { appendFileSync, existsSync, readFileSync } from 'node:fs'

function pathOf(target: string): URL {
  return new URL(`../corpus/${target}.txt`, import.meta.url)
}

export function readCorpus(target: string): Buffer[] {
  const path = pathOf(target)
  if (!existsSync(path)) return []
  return readFileSync(path, 'utf8')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => Buffer.from(String(JSON.parse(line)), 'latin1'))
}

export function addToCorpus(target: string, inputs: readonly Uint8Array[], why: string): void {
  if (inputs.length === 0) return
  const lines = inputs.map((input) => lineOf(input))
  appendFileSync(pathOf(target), `# ${why}\n${lines.join('\n')}\n`)
}

/** Only ASCII: what looks like nothing in an editor is escaped. */
function lineOf(input: Uint8Array): string {
  return JSON.stringify(Buffer.from(input).toString('latin1')).replace(
    /[\x7f-\xff]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}
