/** /get verbs: what a job has. A row for each. */
import type { JobView } from '../../jobs/jobs-api.ts'
import { hexOf, hresultOf } from './hresults.ts'
import { commandWords, errorLines, totalBytes } from './lines.ts'
import { at, findJob, type Verb } from './verb.ts'
import {
  bytesWord,
  notifyFlagsOf,
  peerFlagsOf,
  proxyListOf,
  proxyUsageOf,
  secondsOf,
  stateWord,
  timeWord,
} from './words.ts'

interface Getter {
  readonly name: string
  readonly label: string
  read(job: JobView): string
  /** How it differs from BITS. */
  readonly mapped?: string
}

const GETTERS: readonly Getter[] = [
  { name: 'state', label: 'state', read: ({ state }) => stateWord(state) },
  { name: 'type', label: 'type', read: ({ type }) => type.toUpperCase() },
  { name: 'bytestotal', label: 'number of bytes', read: (job) => bytesWord(totalBytes(job)) },
  { name: 'bytestransferred', label: 'number of bytes transferred', read: ({ totals }) => String(totals.bytesDone) },
  { name: 'filestotal', label: 'number of files', read: ({ totals }) => String(totals.fileCount) },
  { name: 'filestransferred', label: 'number of files transferred', read: ({ totals }) => String(totals.doneCount) },
  { name: 'creationtime', label: 'creation time', read: (job) => timeWord(job.createdAtMs), mapped: 'in UTC' },
  { name: 'modificationtime', label: 'modification time', read: (job) => timeWord(job.modifiedAtMs), mapped: 'in UTC' },
  { name: 'completiontime', label: 'completion time', read: (job) => timeWord(job.transferredAtMs), mapped: 'in UTC' },
  { name: 'errorcount', label: 'error count', read: ({ errorCount }) => String(errorCount) },
  { name: 'owner', label: 'owner', read: ({ owner }) => owner.name, mapped: 'the name of the user, without a domain' },
  { name: 'displayname', label: 'display name', read: ({ name }) => name },
  { name: 'description', label: 'description', read: ({ description }) => description },
  { name: 'priority', label: 'priority', read: ({ priority }) => priority.toUpperCase() },
  { name: 'minretrydelay', label: 'minimum retry delay', read: (job) => secondsOf(job.minRetryDelayMs) },
  { name: 'noprogresstimeout', label: 'no progress timeout', read: (job) => secondsOf(job.noProgressTimeoutMs) },
  { name: 'maxdownloadtime', label: 'maximum download time', read: (job) => secondsOf(job.maxTransferTimeMs) },
  {
    name: 'notifyflags',
    label: 'notification flags',
    read: ({ notify }) => `0x${notifyFlagsOf(notify.events).toString(16)}`,
  },
  { name: 'notifycmdline', label: 'notification command line', read: ({ notify }) => commandWords(notify.command) },
  {
    name: 'customheaders',
    label: 'custom headers',
    read: ({ headerNames }) => (headerNames.length === 0 ? 'NULL' : headerNames.join(', ')),
    mapped: 'names only: values are always write-only',
  },
  { name: 'proxyusage', label: 'proxy usage', read: ({ proxy }) => proxyUsageOf(proxy) },
  { name: 'proxylist', label: 'proxy list', read: ({ proxy }) => proxyListOf(proxy) },
  {
    name: 'proxybypasslist',
    label: 'proxy bypass list',
    read: () => 'NULL',
    mapped: 'always NULL: jobs have none',
  },
  {
    name: 'peercachingflags',
    label: 'peer caching flags',
    read: ({ usePeers }) => `0x${peerFlagsOf(usePeers).toString(16)}`,
    mapped: '0x3, or 0x2 when the job asks no peers; what is public is always offered to them',
  },
]

export const GETTER_VERBS: readonly Verb[] = [
  ...GETTERS.map(
    ({ name, label, read, mapped }): Verb => ({
      name: `/get${name}`,
      parameters: 'JOB',
      status: mapped === undefined ? 'honoured' : 'mapped',
      help: `Prints the ${label}${mapped === undefined ? '' : `: ${mapped}`}`,
      count: [1, 1],
      run: async (args, { jobs, out }) => out.value(label, read(await findJob(jobs, at(args, 0)))),
    }),
  ),
  {
    name: '/geterror',
    parameters: 'JOB',
    status: 'mapped',
    help: 'Prints the last error: the nearest number of BITS, our code and our text; 0x00000000 when there is none',
    count: [1, 1],
    run: async (args, { jobs, out }) => {
      const job = await findJob(jobs, at(args, 0))
      const { error } = job
      if (error === null) {
        out.value('error', hexOf(0))
        return
      }
      if (out.isRaw) {
        out.line(`${hexOf(hresultOf(error.code))} ${error.code} ${error.message}`)
        return
      }
      const index = error.fileIndex
      const page = index === null ? null : await jobs.files(job.id, { after: index - 1, limit: 1 })
      for (const line of errorLines(job, page?.files[0] ?? null)) out.line(line)
    },
  },
]
