/** `shorthaul job create`, `job add` and `fetch --detach`: URLs and targets, handed to the daemon. */
import { stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { systemClock } from '../../clock.ts'
import { ShorthaulError, systemCode } from '../../errors.ts'
import type { FileOrder, JobOrder, JobView } from '../../jobs/jobs-api.ts'
import { type FetchOptions, type FetchOrder, ordersOf } from '../fetch-orders.ts'
import { type Output, usage } from '../output.ts'
import { findJob, withJobs } from './find.ts'
import {
  DEFAULT_NOTIFY,
  type FileOptions,
  type JobOptions,
  parseRange,
  readNotifySecret,
  settingsOf,
  splitAtDashes,
} from './job-options.ts'
import { countOf, oneLine, shortId } from './job-view.ts'

export async function createVerb(words: readonly string[], options: JobOptions): Promise<void> {
  const { before: urls, after: commandArguments } =
    options.notifyCommand === undefined ? { before: words, after: [] } : splitAtDashes(words, process.argv)
  const { idempotencyKey, deadline } = options
  if (idempotencyKey !== undefined && deadline !== undefined && !/^\d{4}-|^none$/.test(deadline)) {
    throw usage('--idempotency-key wants a --deadline with date and time: a duration is another moment each time')
  }
  if (options.peers === false && options.origin === false) {
    throw usage('--no-origin and --no-peers together leave the cache of this machine only')
  }
  const settings = settingsOf(options, { nowMs: systemClock.nowMs(), commandArguments, notify: DEFAULT_NOTIFY })
  const webhookSecret = await readNotifySecret(options)
  const files = await filesOf(urls, options, { isEmptyAllowed: true })
  const order: JobOrder = {
    ...settings,
    files,
    ...(webhookSecret === undefined ? {} : { webhookSecret }),
    ...(options.suspended === true ? { isStarted: false } : {}),
    ...(idempotencyKey === undefined ? {} : { idempotencyKey }),
  }
  await create(order, options)
}

export async function addVerb(name: string, urls: readonly string[], options: FileOptions): Promise<void> {
  const files = await filesOf(urls, options)
  await withJobs(options, async (jobs, output) => {
    const job = await jobs.addFiles(await findJob(jobs, name), files)
    output.json({ event: 'job', ...job })
    const { id, state, totals } = job
    output.remark(`${countOf(files.length, 'file')} added to job ${shortId(id)}: ${totals.fileCount} in all, ${state}`)
    if (state === 'suspended') output.remark(`It waits: \`shorthaul job resume ${shortId(id)}\` lets it go on`)
  })
}

/** What `fetch` would do, as a job. @throws SHORTHAUL_USAGE for options that need somebody who waits */
export async function detachVerb(urls: readonly string[], options: FetchOptions): Promise<void> {
  if (!options.daemon) throw usage('--detach and --no-daemon: only a daemon goes on when the command has ended')
  const orders = await ordersOf(urls, options)
  const [first] = orders
  if (first === undefined) throw usage('Say what to fetch')
  const { headers, priority, usePeers, useOrigin, originMaxBytesPerSec } = first.request
  const files = orders.map((order) => fileOf(order))
  await mustHaveDirectories(files)
  const settings = { priority, usePeers, useOrigin, originMaxBytesPerSec, autoComplete: true }
  await create({ ...settings, files, ...(headers.length === 0 ? {} : { headers }) }, options)
}

async function create(order: JobOrder, options: FileOptions): Promise<void> {
  await withJobs(options, async (jobs, output) => report(await jobs.create(order), output))
}

function report(job: JobView, output: Output): void {
  const { id, name, state, totals } = job
  output.json({ event: 'job', ...job })
  output.text(id) // and nothing else: scripts read it
  const short = shortId(id)
  const next =
    totals.fileCount === 0
      ? `\`shorthaul job add ${short} URL\` adds one`
      : state === 'suspended'
        ? `\`shorthaul job resume ${short}\` starts it`
        : `\`shorthaul job watch ${short}\` follows it`
  output.remark(`Job "${oneLine(name)}", ${countOf(totals.fileCount, 'file')}, ${state}: ${next}`)
}

/** @throws SHORTHAUL_USAGE, SHORTHAUL_URL_INVALID, SHORTHAUL_TARGET_UNWRITABLE */
export async function filesOf(
  urls: readonly string[],
  options: FileOptions,
  { isEmptyAllowed = false } = {},
): Promise<readonly FileOrder[]> {
  if (urls.length === 0 && options.inputFile === undefined && isEmptyAllowed) {
    if (options.output !== undefined || options.sha256 !== undefined || options.range !== undefined) {
      throw usage('-o, --sha256 and --range are about a URL: name it')
    }
    return []
  }
  const orders = await ordersOf(urls, { ...options, header: [], peers: true, origin: true, priority: 'normal' })
  if (options.range !== undefined && orders.length > 1) throw usage('--range is of one content: use it with one URL')
  const ranges = options.range?.map(parseRange)
  const files = orders.map((order) => ({ ...fileOf(order), ...(ranges === undefined ? {} : { ranges }) }))
  await mustHaveDirectories(files)
  return files
}

function fileOf({ request: { url, sha256 }, target }: FetchOrder): FileOrder {
  if (target === null) throw usage('A job has no stdout: name a target with -o FILE')
  return { url, target, sha256 }
}

/** Said now and not in the night, when nobody looks. @throws SHORTHAUL_TARGET_UNWRITABLE */
async function mustHaveDirectories(files: readonly FileOrder[]): Promise<void> {
  for (const path of new Set(files.map(({ target }) => dirname(target)))) {
    const found = await stat(path).catch((error: unknown) => systemCode(error) ?? String(error))
    const reason = typeof found === 'string' ? found : found.isDirectory() ? null : 'it is no directory'
    if (reason === null) continue
    throw new ShorthaulError('SHORTHAUL_TARGET_UNWRITABLE', `Cannot write into "${path}": ${reason}`, {
      details: { path },
    })
  }
}
