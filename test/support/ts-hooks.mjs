// How Node.js reads modules in a test file's process. See ts.mjs.
import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'

const CACHE_DIR = fileURLToPath(new URL('../../node_modules/.cache/shorthaul-tests/', import.meta.url))
const require = createRequire(import.meta.url)
let esbuild = null

/** Answers by itself: hooks that were there before, tap's above all, do not see the module. */
export function load(url, context, next) {
  if (!url.startsWith('file:')) return next(url, context)
  if (url.endsWith('.ts')) return { format: 'module', source: compiled(fileURLToPath(url)), shortCircuit: true }
  if (context.format !== 'module') return next(url, context)
  return { format: 'module', source: readFileSync(fileURLToPath(url)), shortCircuit: true }
}

function compiled(path) {
  const source = readFileSync(path)
  const key = createHash('sha256').update(path).update('\0').update(source).digest('hex')
  const cached = `${CACHE_DIR}${key}`
  try {
    return readFileSync(cached)
  } catch {
    esbuild ??= require('esbuild')
    const options = { loader: 'ts', format: 'esm', target: 'node20', sourcemap: 'inline', sourcefile: path }
    const { code } = esbuild.transformSync(source, options)
    try {
      mkdirSync(CACHE_DIR, { recursive: true })
      writeFileSync(`${cached}.${process.pid}`, code) // several processes compile at once
      renameSync(`${cached}.${process.pid}`, cached)
    } catch {
      // Another user may not write there, and compiles again.
    }
    return code
  }
}
