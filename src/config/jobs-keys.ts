/** The keys of `jobs`, a part of the table in schema.ts and under its rules. */
import { count, days, durationMs, key, list } from './key.ts'

const SECOND_MS = 1000
const MINUTE_MS = 60 * SECOND_MS
const HOUR_MS = 60 * MINUTE_MS
const DAY_MS = 24 * HOUR_MS

export const JOBS_KEYS = {
  maxRunning: key(count({ min: 1, max: 64 }), {
    default: 4,
    why:
      'Jobs of one priority that transfer at the same time; the others wait for a turn. Foreground jobs all run, and ' +
      'do not count.',
  }),
  sliceMs: key(durationMs({ min: SECOND_MS, max: DAY_MS }), {
    default: 5 * MINUTE_MS,
    why: 'How long a turn lasts while others of the same priority wait, so that a large job does not block small ones.',
  }),
  parallelFiles: key(count({ min: 1, max: 64 }), {
    default: 4,
    why: 'Files of one job that transfer at the same time: small ones are mostly waiting for answers.',
  }),
  maxPerUser: key(count({ min: 0, max: 100_000 }), {
    default: 1000,
    why: 'Jobs that one user may have at a time, those that ended aside. They are kept in memory, some 2 KiB each.',
  }),
  maxFilesPerJob: key(count({ min: 1, max: 100_000 }), {
    default: 1000,
    why: 'Files of one job. A job is read whole when it gets a turn.',
  }),
  minRetryDelayMs: key(durationMs({ min: 5 * SECOND_MS, max: DAY_MS }), {
    default: 15 * SECOND_MS,
    why: 'Before a job that failed is tried again for the first time, unless it says otherwise; twice as long each time.',
  }),
  maxRetryDelayMs: key(durationMs({ min: 5 * SECOND_MS, max: 7 * DAY_MS }), {
    default: 10 * MINUTE_MS,
    why: 'The longest pause, unless the origin asks for a longer one. Ten minutes are what BITS always waits.',
  }),
  noProgressTimeoutMs: key(durationMs({ min: 0, max: 365 * DAY_MS }), {
    default: 14 * DAY_MS,
    why: 'A job that got no new byte for so long, while it could try, is an error. As in BITS. 0: the first failure is.',
  }),
  maxTransferTimeMs: key(durationMs({ min: MINUTE_MS, max: 365 * DAY_MS }), {
    default: 90 * DAY_MS,
    why: 'What a job may spend transferring in all, unless it says otherwise. As in BITS.',
  }),
  inactivityTimeoutDays: key(days({ min: 1, max: 36_500 }), {
    default: 90,
    why:
      'A job that nobody touched and that did not run for so long is cancelled. As in BITS, but counted while the agent ' +
      'runs: a machine that was off, or whose clock was set, loses no jobs.',
  }),
  keepEndedDays: key(days({ min: 0, max: 36_500 }), {
    default: 7,
    why: 'How long `job show` still knows a job that was completed or cancelled.',
  }),
  commandDirs: key(
    list({
      pattern: /^(?:\/|[A-Za-z]:\\)[^,]{0,1024}$/,
      shape: 'an absolute path of a directory',
      range: 'absolute paths',
      maxCount: 64,
    }),
    {
      default: [],
      why:
        'Directories with the programs that jobs may run when they end. Empty: none. A program runs as the owner of the ' +
        'job, without a shell.',
    },
  ),
} as const
