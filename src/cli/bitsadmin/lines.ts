/** Lines and paragraphs about jobs and files, as `bitsadmin` prints them. Pure. */
import type { JobFile } from '../../jobs/job.ts'
import type { JobView } from '../../jobs/jobs-api.ts'
import { joinArguments } from './command-line.ts'
import { contextOf, hexOf, hresultOf } from './hresults.ts'
import {
  bytesWord,
  guidOf,
  notifyFlagsOf,
  peerFlagsOf,
  proxyListOf,
  proxyUsageOf,
  secondsOf,
  stateWord,
  timeWord,
} from './words.ts'

/** Null while the length of a file is not known: then that of the job is not either. */
export function totalBytes({ totals }: Pick<JobView, 'totals'>): number | null {
  return totals.unknownLengthCount > 0 ? null : totals.bytesTotal
}

function filesWord({ totals }: JobView): string {
  return `${totals.doneCount} / ${totals.fileCount}`
}

function jobBytesWord(job: JobView): string {
  return `${job.totals.bytesDone} / ${bytesWord(totalBytes(job))}`
}

/** {GUID} 'name' STATE files bytes */
export function jobLine(job: JobView): string {
  return `${guidOf(job.id)} '${job.name}' ${stateWord(job.state)} ${filesWord(job)} ${jobBytesWord(job)}`
}

export function fileLine({ bytesDone, bytesTotal, state, url, target }: JobFile): string {
  const isDone = state !== 'waiting'
  return `${bytesDone} / ${bytesWord(bytesTotal)} ${isDone ? 'COMPLETED' : 'WORKING'} ${url} -> ${target}`
}

/** What `/transfer` draws. */
export function transferLine(job: Pick<JobView, 'totals' | 'name' | 'state' | 'type' | 'priority'>): string {
  const { totals } = job
  const bytes = totalBytes(job)
  const percent = bytes === null || bytes === 0 ? '' : ` (${Math.floor((totals.bytesDone / bytes) * 100)}%)`
  return `DISPLAY: '${job.name}' TYPE: ${job.type.toUpperCase()} STATE: ${stateWord(job.state)} PRIORITY: ${job.priority.toUpperCase()} FILES: ${totals.doneCount} / ${totals.fileCount} BYTES: ${totals.bytesDone} / ${bytesWord(bytes)}${percent}`
}

/** Nothing for a job without an error. @param file the one that failed; null: none, or it is not known */
export function errorLines({ error }: Pick<JobView, 'error'>, file: JobFile | null): readonly string[] {
  if (error === null) return []
  return [
    ...(file === null ? [] : [`ERROR FILE:    ${file.url} -> ${file.target}`]),
    `ERROR CODE:    ${hexOf(hresultOf(error.code))} - ${error.code}: ${error.message}`,
    `ERROR CONTEXT: ${contextOf(error)}`,
  ]
}

/** Program and arguments as /setnotifycmdline takes them. */
export function commandWords(command: readonly string[] | null): string {
  if (command === null) return 'none'
  const [program = '', ...args] = command
  return `'${program}' '${args.length === 0 ? 'NULL' : joinArguments(args)}'`
}

/** /info /verbose */
export function jobParagraph(job: JobView, files: readonly JobFile[]): readonly string[] {
  const { notify, proxy, error } = job
  const failed = error === null ? null : (files.find(({ index }) => index === error.fileIndex) ?? null)
  return [
    `GUID: ${guidOf(job.id)} DISPLAY: '${job.name}'`,
    `TYPE: ${job.type.toUpperCase()} STATE: ${stateWord(job.state)} OWNER: ${job.owner.name}`,
    `PRIORITY: ${job.priority.toUpperCase()} FILES: ${filesWord(job)} BYTES: ${jobBytesWord(job)}`,
    `CREATION TIME: ${timeWord(job.createdAtMs)} MODIFICATION TIME: ${timeWord(job.modifiedAtMs)}`,
    `COMPLETION TIME: ${timeWord(job.transferredAtMs)} ACL FLAGS:`,
    `NOTIFY INTERFACE: UNREGISTERED NOTIFICATION FLAGS: ${notifyFlagsOf(notify.events)}`,
    `RETRY DELAY: ${secondsOf(job.minRetryDelayMs)} NO PROGRESS TIMEOUT: ${secondsOf(job.noProgressTimeoutMs)} ERROR COUNT: ${job.errorCount}`,
    `PROXY USAGE: ${proxyUsageOf(proxy)} PROXY LIST: ${proxyListOf(proxy)} PROXY BYPASS LIST: NULL`,
    ...errorLines(job, failed),
    `DESCRIPTION: ${job.description}`,
    'JOB FILES:',
    ...files.map((file) => `\t${fileLine(file)}`),
    `NOTIFICATION COMMAND LINE: ${commandWords(notify.command)}`,
    `PEERCACHING FLAGS: 0x${peerFlagsOf(job.usePeers).toString(16)}`,
    `CUSTOM HEADERS: ${job.headerNames.length === 0 ? 'NULL' : job.headerNames.join(', ')}`,
    `REASON: ${job.reason.text}`,
  ]
}
