/**
 * `shorthaul cache`: what is kept here. Works on the running agent, and without one on the data directory itself: by an
 * agent in this process that opens no ports.
 */
import type { CacheEntry } from '../agent/views.ts'
import { formatBytes } from '../config/units.ts'
import { redactUrl } from '../errors.ts'
import { normaliseUrl } from '../origin/origins.ts'
import { type CacheControl, cacheOf } from './agent-view.ts'
import { acquireAgent, type GlobalOptions, loadCliConfig } from './context.ts'
import { createOutput, formatTable, interruptSignal, type Output, usage } from './output.ts'

interface Run {
  readonly output: Output
  readonly signal: AbortSignal
}

export function lsVerb(options: GlobalOptions): Promise<void> {
  return withCache(options, list)
}

export function statVerb(options: GlobalOptions): Promise<void> {
  return withCache(options, stat)
}

export function verifyVerb(options: GlobalOptions): Promise<void> {
  return withCache(options, verify)
}

export function changeVerb(verb: CacheChange, url: string, options: GlobalOptions): Promise<void> {
  return withCache(options, (control, run) => change(control, { ...run, verb, url }))
}

async function withCache(
  options: GlobalOptions,
  task: (cache: CacheControl, run: Run) => Promise<void>,
): Promise<void> {
  const output = createOutput({ isJson: options.json === true })
  const loaded = await loadCliConfig(options)
  const signal = interruptSignal()
  const acquired = await acquireAgent(loaded, {
    ...options,
    hasDaemon: true,
    needsOwner: true,
    usePeers: false,
    signal,
  })
  if ('client' in acquired) {
    try {
      await task(cacheOf(acquired.client), { output, signal })
    } finally {
      await acquired.client.close()
    }
    return
  }
  try {
    await task(acquired.embedded.agent.cache, { output, signal })
  } finally {
    await acquired.embedded.close()
  }
}

async function list(cache: CacheControl, { output }: Run): Promise<void> {
  const entries = [...(await cache.entries())].sort((a, b) => b.lastUsedAtMs - a.lastUsedAtMs)
  // A query or user info may be a credential, and lists are pasted into tickets.
  output.json({ event: 'cache', entries: entries.map((entry) => ({ ...entry, url: redactUrl(entry.url) })) })
  if (entries.length === 0) output.remark('shorthaul: nothing is cached')
  else output.text(formatEntries(entries))
}

export function formatEntries(entries: readonly CacheEntry[]): string {
  return formatTable([
    ['LAST USED', 'SIZE', 'CACHED', 'TRUST', 'VISIBILITY', 'PINNED', 'URL'],
    ...entries.map((entry) => [
      `${new Date(entry.lastUsedAtMs).toISOString().slice(0, 16).replace('T', ' ')}Z`,
      formatBytes(entry.bytes),
      formatCached(entry),
      entry.trust,
      entry.visibility,
      entry.isPinned ? 'yes' : 'no',
      redactUrl(entry.url),
    ]),
  ])
}

/** Rounded down: 100 % is said only of what is complete. */
function formatCached({ bytes, cachedBytes }: CacheEntry): string {
  return `${bytes === 0 ? 100 : Math.floor((cachedBytes / bytes) * 100)} %`
}

async function stat(cache: CacheControl, { output }: Run): Promise<void> {
  const found = await cache.stat()
  output.json({ event: 'cache-stat', ...found })
  output.text(
    formatTable([
      ['resources', String(found.resourceCount)],
      ['segments', String(found.segmentCount)],
      ['cached', `${formatBytes(found.bytes)} of at most ${formatBytes(found.maxBytes)}`],
      ['pinned', formatBytes(found.pinnedBytes)],
      ['free disk', formatBytes(found.freeDiskBytes)],
    ]),
  )
}

async function verify(cache: CacheControl, { output, signal }: Run): Promise<void> {
  const found = await cache.verify({ signal })
  output.json({ event: 'cache-verify', ...found })
  output.text(
    formatTable([
      ['checked', String(found.checked)],
      ['corrupt', `${found.corrupt}${found.corrupt > 0 ? ' (dropped; they will be fetched again)' : ''}`],
      ['missing', `${found.missing}${found.missing > 0 ? ' (forgotten; they will be fetched again)' : ''}`],
      ['recovered', String(found.recovered)],
    ]),
  )
}

const CHANGES = {
  pin: { method: 'pin', done: 'pinned' },
  unpin: { method: 'unpin', done: 'unpinned' },
  rm: { method: 'remove', done: 'removed' },
} as const

export type CacheChange = keyof typeof CHANGES

async function change(
  cache: CacheControl,
  run: Run & { readonly verb: CacheChange; readonly url: string },
): Promise<void> {
  const { output, verb } = run
  const { method, done } = CHANGES[verb]
  const url = normaliseUrl(run.url)
  const matched = await cache[method](url)
  if (matched === 0) {
    throw usage(
      `Cannot ${verb} ${redactUrl(url)}: nothing of exactly this URL is cached; \`shorthaul cache ls\` lists what is`,
    )
  }
  output.json({ event: `cache-${verb}`, url: redactUrl(url), matched })
  output.text(`${done} ${redactUrl(url)}${matched > 1 ? ` (${matched} generations)` : ''}`)
}
