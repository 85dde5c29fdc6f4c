/** `shorthaul job set`: settings, one file, or the beginning of all URLs. */
import { resolve } from 'node:path'
import { systemClock } from '../../clock.ts'
import type { FilePatch } from '../../jobs/jobs-api.ts'
import { usage } from '../output.ts'
import { findJob, withJobs } from './find.ts'
import { readNotifySecret, type SetOptions, settingsOf, splitAtDashes } from './job-options.ts'
import { countOf, oneLine, shortId } from './job-view.ts'

export async function setVerb(name: string, words: readonly string[], options: SetOptions): Promise<void> {
  const { before, after: commandArguments } = splitAtDashes(words, process.argv)
  const stray = before[0] ?? (options.notifyCommand === undefined ? commandArguments[0] : undefined)
  if (stray !== undefined) throw usage(`Cannot use "${stray}": \`job set\` takes one job and options`)
  const file = filePatchOf(options)
  const prefix = prefixOf(options)
  const webhookSecret = await readNotifySecret(options)
  const context = { nowMs: systemClock.nowMs(), commandArguments }
  await withJobs(options, async (jobs, output) => {
    const id = await findJob(jobs, name)
    const { notify } = await jobs.get(id)
    const patch = {
      ...settingsOf(options, { ...context, notify }),
      ...(webhookSecret === undefined ? {} : { webhookSecret }),
    }
    const hasSettings = Object.keys(patch).length > 0
    if (!hasSettings && file === null && prefix === null) throw usage('Say what to set: `job set --help` lists it')
    // Settings first: they are checked as a whole, and a file that comes from elsewhere may need them.
    if (hasSettings) await jobs.set(id, patch)
    if (file !== null) await jobs.setFile(id, file.index, file.patch)
    const changedCount = prefix === null ? null : await jobs.replacePrefix(id, prefix)
    const job = await jobs.get(id)
    output.json({ event: 'job', ...job, ...(changedCount === null ? {} : { changedCount }) })
    const changed = changedCount === null ? '' : `, ${countOf(changedCount, 'URL')} changed`
    output.text(`${shortId(id)}  ${oneLine(job.name)}: set${changed}, ${job.state}`)
  })
}

function filePatchOf({ file, url, target }: SetOptions): { readonly index: number; readonly patch: FilePatch } | null {
  if (file === undefined) {
    if (url !== undefined || target !== undefined) throw usage('--url and --target are about a file: say --file NUMBER')
    return null
  }
  if (!/^\d{1,9}$/.test(file)) throw usage('--file takes a number, as `job show` numbers them')
  if (url === undefined && target === undefined) throw usage('--file wants --url or --target')
  const patch: FilePatch = {
    ...(url === undefined ? {} : { url }),
    ...(target === undefined ? {} : { target: resolve(target) }),
  }
  return { index: Number(file), patch }
}

function prefixOf({ replacePrefix }: SetOptions): { readonly from: string; readonly to: string } | null {
  if (replacePrefix === undefined) return null
  const [from, to, more] = replacePrefix
  if (from === undefined || to === undefined || more !== undefined) {
    throw usage('--replace-prefix takes FROM and TO; name the job before it')
  }
  return { from, to }
}
