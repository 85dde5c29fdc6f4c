/** Verbs for the files of a job. */
import { readFile } from 'node:fs/promises'
import { ShorthaulError, systemCode } from '../../errors.ts'
import type { FileRange } from '../../jobs/job.ts'
import type { FileOrder } from '../../jobs/jobs-api.ts'
import { stagedPath } from '../../transfer/staged-part.ts'
import { allFiles } from '../job/find.ts'
import { usage } from '../output.ts'
import { splitArguments } from './command-line.ts'
import { fileLine } from './lines.ts'
import { at, findJob, pathOf, type Verb } from './verb.ts'
import { parseCount } from './words.ts'

/** A list of files is written by hand or by a script: more than this is a mistake. */
const MAX_FILE_SET_BYTES = 16 * 1024 * 1024

/**
 * `0:100,2000:100,5000:eof`: offset and length.
 * @throws SHORTHAUL_USAGE
 */
export function parseRanges(text: string): readonly FileRange[] {
  return text.split(',').map((part) => {
    const found = /^(\d{1,15}):(\d{1,15}|eof)$/i.exec(part.trim())
    if (found === null) throw usage(`Cannot use the range "${part}": expected OFFSET:LENGTH or OFFSET:eof`)
    const startBytes = Number(found[1])
    const length = (found[2] ?? '').toLowerCase()
    return { startBytes, endBytes: length === 'eof' ? null : startBytes + Number(length) }
  })
}

/**
 * A line for each file: URL, blanks, target; either may stand in quotes; # begins a comment line.
 * @throws SHORTHAUL_USAGE that names the line
 */
export function parseFileSet(text: string, toPath: (target: string) => string): readonly FileOrder[] {
  return text.split(/\r?\n/).flatMap((line, index) => {
    const trimmed = line.replace(/^\uFEFF/, '').trim()
    if (trimmed === '' || trimmed.startsWith('#')) return []
    const [url, target, ...others] = splitArguments(trimmed)
    if (url === undefined || target === undefined || others.length > 0) {
      throw usage(`Cannot use line ${index + 1} of the file set: expected URL and TARGET`)
    }
    return [{ url, target: toPath(target) }]
  })
}

export const FILE_VERBS: readonly Verb[] = [
  {
    name: '/addfile',
    parameters: 'JOB URL TARGET',
    status: 'honoured',
    help: 'Adds a file',
    count: [3, 3],
    run: async (args, context) => {
      const { id } = await findJob(context.jobs, at(args, 0))
      const file = { url: at(args, 1), target: pathOf(at(args, 2), context) }
      await context.jobs.addFiles(id, [file])
      context.out.say(`Added ${file.url} -> ${file.target} to job.`)
    },
  },
  {
    name: '/addfileset',
    parameters: 'JOB FILE',
    status: 'honoured',
    help: 'Adds the files of a list: a line for each with URL and TARGET',
    count: [2, 2],
    run: async (args, context) => {
      const { id } = await findJob(context.jobs, at(args, 0))
      const files = parseFileSet(await readFileSet(pathOf(at(args, 1), context)), (target) => pathOf(target, context))
      if (files.length === 0) throw usage('Cannot add the file set: it names no files')
      await context.jobs.addFiles(id, files)
      for (const { url, target } of files) context.out.say(`Added ${url} -> ${target} to job.`)
    },
  },
  {
    name: '/addfilewithranges',
    parameters: 'JOB URL TARGET OFFSET:LENGTH[,OFFSET:LENGTH|eof]...',
    status: 'honoured',
    help: 'Adds parts of a URL as one file',
    count: [4, 4],
    run: async (args, context) => {
      const { id } = await findJob(context.jobs, at(args, 0))
      const file = { url: at(args, 1), target: pathOf(at(args, 2), context), ranges: parseRanges(at(args, 3)) }
      await context.jobs.addFiles(id, [file])
      context.out.say(`Added ${file.url} -> ${file.target} to job.`)
    },
  },
  {
    name: '/listfiles',
    parameters: 'JOB',
    status: 'honoured',
    help: 'Lists the files of a job',
    count: [1, 1],
    run: async (args, { jobs, out }) => {
      const { id } = await findJob(jobs, at(args, 0))
      const files = await allFiles(jobs, id)
      for (const file of files) out.line(fileLine(file))
      out.say(`Listed ${files.length} file(s).`)
    },
  },
  {
    name: '/replaceremoteprefix',
    parameters: 'JOB OLD NEW',
    status: 'honoured',
    help: 'Every file whose URL begins with OLD comes from NEW instead',
    count: [3, 3],
    run: async (args, { jobs, out }) => {
      const { id } = await findJob(jobs, at(args, 0))
      const count = await jobs.replacePrefix(id, { from: at(args, 1), to: at(args, 2) })
      out.say(`Replaced the prefix of ${count} file(s).`)
    },
  },
  {
    name: '/gettemporaryname',
    parameters: 'JOB INDEX',
    status: 'honoured',
    help: 'Prints where a file stands until the job is completed; the first is 0',
    count: [2, 2],
    run: async (args, { jobs, out }) => {
      const { id, totals } = await findJob(jobs, at(args, 0))
      const index = parseCount(at(args, 1), 'a file')
      const { files } = await jobs.files(id, { after: index - 1, limit: 1 })
      const file = files.find((one) => one.index === index)
      if (file === undefined) throw noFile(index, totals.fileCount)
      out.value(`temporary name of file ${index}`, stagedPath(file.target, { id, index }))
    },
  },
]

function noFile(index: number, count: number): ShorthaulError {
  return new ShorthaulError('SHORTHAUL_JOB_NOT_FOUND', `Cannot find file ${index} of the job: it has ${count}`)
}

async function readFileSet(path: string): Promise<string> {
  let bytes: Buffer
  try {
    bytes = await readFile(path)
  } catch (cause) {
    throw new ShorthaulError(
      'SHORTHAUL_USAGE',
      `Cannot read the file set "${path}": ${systemCode(cause) ?? String(cause)}`,
      {
        cause,
      },
    )
  }
  if (bytes.length > MAX_FILE_SET_BYTES) throw usage(`Cannot read the file set "${path}": expected at most 16 MiB`)
  // Windows programs write lists in UTF-16.
  const isUtf16 = bytes[0] === 0xff && bytes[1] === 0xfe
  return bytes.toString(isUtf16 ? 'utf16le' : 'utf8')
}
