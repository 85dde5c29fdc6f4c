/**
 * Jobs: transfers that are handed over and forgotten, and survive everything but being cancelled. Opens book, engine and
 * outbox, and makes the changes that callers ask for.
 *
 * The doing is in engine.ts, the records in job-book.ts, who may do what in job-access.ts, what callers see in job-reader.ts.
 */
import { createHash, randomUUID } from 'node:crypto'
import type { Logger } from 'pino'
import type { Clock, Random } from '../clock.ts'
import { isShorthaulError, ShorthaulError } from '../errors.ts'
import { JobEngine, type JobEngineOptions, type Surroundings } from './engine.ts'
import { EventStream } from './event-stream.ts'
import { type Job, type JobFile, type JobId, type JobOwner, type JobSettings, totalsOf, withFile } from './job.ts'
import {
  type Caller,
  isOwnedBy,
  jobOf,
  liveJobOf,
  mustBeAdmin,
  mustLive,
  unknownFile,
  unknownJob,
  wrongState,
} from './job-access.ts'
import { type Edit, JobBook } from './job-book.ts'
import type { JobEventBody } from './job-events.ts'
import { JobReader } from './job-reader.ts'
import type { FetchForJob } from './job-run.ts'
import type { JobTargets } from './job-targets.ts'
import type { CompleteResult, FileOrder, FilePatch, JobOrder, JobPatch, JobsApi, JobView } from './jobs-api.ts'
import { commandNotifier } from './notify-command.ts'
import { WebhookNotifier } from './notify-webhook.ts'
import {
  checkSecrets,
  checkSettings,
  filesOf,
  type OrderRules,
  patchedFile,
  proxyWithLogin,
  shownProxy,
} from './orders.ts'
import { Outbox } from './outbox.ts'
import type { RunAsOwner } from './program.ts'
import { isFinal, type JobEvent, transition } from './states.ts'
import { FORGIVEN, step } from './steps.ts'
import { type JobSecrets, NO_SECRETS, Vault } from './vault.ts'

export interface JobsComponents {
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
  readonly fetch: FetchForJob
  readonly targets: JobTargets
  readonly runAsOwner: RunAsOwner
  /** Ends what these two have started: called when the jobs are closed, or cannot be opened. Left out: they started nothing. */
  readonly release?: () => Promise<void>
  readonly surroundings: Surroundings
}

export interface JobsOptions extends JobEngineOptions {
  readonly dataDir: string
  readonly maxPerUser: number
  readonly maxFilesPerJob: number
  readonly commandDirs: readonly string[]
  /** Certificates that webhooks may have besides the usual ones, PEM. Default: none. */
  readonly caFile?: string | null
  /** For what an order leaves out. */
  readonly defaults: Pick<JobSettings, 'minRetryDelayMs' | 'noProgressTimeoutMs' | 'maxTransferTimeMs'>
}

export class Jobs {
  readonly #c: JobsComponents
  readonly #o: JobsOptions
  readonly #book: JobBook
  readonly #vault: Vault
  readonly #engine: JobEngine
  readonly #reader: JobReader
  readonly #stream: EventStream
  readonly #outbox: Outbox
  readonly #webhooks: WebhookNotifier

  private constructor(
    components: JobsComponents,
    options: JobsOptions,
    opened: {
      book: JobBook
      vault: Vault
      engine: JobEngine
      stream: EventStream
      outbox: Outbox
      webhooks: WebhookNotifier
    },
  ) {
    this.#c = components
    this.#o = options
    this.#book = opened.book
    this.#vault = opened.vault
    this.#engine = opened.engine
    this.#stream = opened.stream
    this.#reader = new JobReader(opened)
    this.#outbox = opened.outbox
    this.#webhooks = opened.webhooks
  }

  /** Opens the jobs of a data directory and goes on with them. @throws SHORTHAUL_STORE_IO, SHORTHAUL_STORE_VERSION */
  static async open(components: JobsComponents, options: JobsOptions): Promise<Jobs> {
    try {
      return await Jobs.#open(components, options)
    } catch (error) {
      await components.release?.()
      throw error
    }
  }

  static async #open(components: JobsComponents, options: JobsOptions): Promise<Jobs> {
    const { clock, random, fetch, targets, runAsOwner, surroundings } = components
    const log = components.log.child({ module: 'jobs' })
    const vault = await Vault.open(options.dataDir)
    const stream: EventStream = new EventStream({ clock })
    const book: JobBook = await JobBook.open(
      {
        clock,
        log,
        listeners: {
          onEvent: () => {
            stream.push()
            engine.look()
          },
          onOutbox: (entries) => outbox.push(entries),
        },
      },
      options.dataDir,
    )
    const webhooks = new WebhookNotifier({ clock, vault }, options)
    const outbox: Outbox = new Outbox({
      clock,
      random,
      log,
      records: book,
      channels: {
        command: commandNotifier({ log, runAsOwner }, options),
        webhook: (entry, about) => webhooks.notify(entry, about),
      },
    })
    const engine: JobEngine = new JobEngine({ clock, random, log, book, vault, fetch, targets, surroundings }, options)
    try {
      await outbox.start()
      engine.start()
    } catch (error) {
      await outbox.close()
      await webhooks.close()
      await book.close()
      throw error
    }
    return new Jobs({ ...components, log }, options, { book, vault, engine, stream, outbox, webhooks })
  }

  /** What this caller can do. */
  as(caller: Caller): JobsApi {
    return {
      create: (order) => this.#create(order, caller),
      addFiles: (id, files) => this.#addFiles(id, files, caller),
      list: async (options = {}) => this.#reader.list(options, caller),
      get: async (id) => this.#reader.view(jobOf(this.#book, id, caller)),
      files: (id, options = {}) => this.#reader.files(id, options, caller),
      set: (id, patch) => this.#set(id, patch, caller),
      setFile: (id, index, patch) => this.#setFile(id, { index, patch }, caller),
      replacePrefix: (id, prefix) => this.#replacePrefix(id, prefix, caller),
      suspend: (id) => this.#suspend(id, caller),
      resume: (id) => this.#resume(id, caller),
      cancel: (id) => this.#cancel(id, caller),
      complete: (id) => this.#complete(id, caller),
      takeOwnership: (id) => this.#takeOwnership(id, caller),
      events: (options) => this.#reader.events(options, caller),
    }
  }

  /** Of the last event that was recorded. */
  get lastEventId(): number {
    return this.#book.eventIds.last
  }

  /** For `status`. */
  counts(): Readonly<Record<Job['state'], number>> {
    return this.#reader.counts()
  }

  /** Jobs stop where they are, and go on when they are opened again. Idempotent. */
  async close(): Promise<void> {
    this.#stream.close()
    await this.#engine.close()
    await this.#outbox.close()
    await this.#webhooks.close()
    await this.#book.close()
    await this.#c.release?.()
  }

  async #create(order: JobOrder, caller: Caller): Promise<JobView> {
    const {
      files: fileOrders = [],
      isStarted = fileOrders.length > 0,
      idempotencyKey,
      headers,
      webhookSecret,
      ...settings
    } = order
    const rules = this.#rules(caller)
    checkSettings(settings, rules)
    checkSecrets(order)
    const requestSha256 = createHash('sha256').update(JSON.stringify(order)).digest('hex')
    const owner: JobOwner = { uid: caller.uid, name: caller.name }
    const made = idempotencyKey === undefined ? null : { key: idempotencyKey, requestSha256 }
    const before = made ? await this.#book.madeJob(owner, made) : null
    if (before) return this.#reader.view(before)
    const files = filesOf(fileOrders, { firstIndex: 0, others: [], rules })
    this.#checkFileCount(files.length)
    const id = randomUUID() as JobId // the only place where one is made
    const nowMs = this.#c.clock.nowMs()
    const job: Job = {
      name: files[0] ? nameOf(files[0]) : 'job',
      description: '',
      priority: 'normal',
      proxy: 'auto',
      usePeers: true,
      useOrigin: true,
      originMaxBytesPerSec: null,
      ...this.#o.defaults,
      deadlineAtMs: null,
      costPolicy: null,
      notify: { command: null, webhookUrl: null, events: ['transferred', 'error'] },
      autoComplete: false,
      ...given(settings),
      ...(settings.proxy === undefined ? {} : { proxy: shownProxy(settings.proxy) }),
      id,
      type: 'download',
      owner,
      state: isStarted && files.length > 0 ? 'queued' : 'suspended',
      sealed: this.#vault.seal(
        { headers: headers ?? [], webhookSecret: webhookSecret ?? null, proxy: proxyWithLogin(settings.proxy) },
        id,
      ),
      headerNames: (headers ?? []).map(([name]) => name),
      createdAtMs: nowMs,
      modifiedAtMs: nowMs,
      transferredAtMs: null,
      endedAtMs: null,
      totals: totalsOf(files),
      errorCount: 0,
      retryAtMs: null,
      transferTimeMs: 0,
      ...FORGIVEN,
      isCompleting: false,
      isCleaned: false,
      queuedSeq: this.#book.nextQueuedSeq(),
    }
    const events: JobEventBody[] = [{ kind: 'created', previous: null, state: job.state }]
    const added = await this.#book.add({ job, files, events, ...(made ? { made } : {}) }, () =>
      this.#checkJobCount(caller),
    )
    return this.#reader.view(added)
  }

  async #addFiles(id: JobId, orders: readonly FileOrder[], caller: Caller): Promise<JobView> {
    liveJobOf(this.#book, id, caller)
    if (orders.length === 0)
      throw new ShorthaulError('SHORTHAUL_USAGE', 'Cannot add no files to the job: expected some')
    const rules = this.#rules(caller)
    const job = await this.#book.changeFiles(id, (now, others) => {
      const files = filesOf(orders, { firstIndex: now.totals.fileCount, others, rules })
      this.#checkFileCount(now.totals.fileCount + files.length)
      const edit = this.#stepped(now, 'more-work', { idleMs: 0, totals: totalsOf([...others, ...files]) })
      const { state } = edit.job
      return { ...edit, files, events: [...(edit.events ?? []), { kind: 'files-added', previous: state, state }] }
    })
    return this.#viewOf(job, id)
  }

  async #set(id: JobId, patch: JobPatch, caller: Caller): Promise<JobView> {
    const before = liveJobOf(this.#book, id, caller)
    const { headers, webhookSecret, ...settings } = patch
    checkSettings(settings, this.#rules(caller))
    checkSecrets(patch)
    const isTurnAffected = TURN_SETTINGS.some((key) => patch[key] !== undefined)
    const job = await this.#book.change(id, (now) => {
      mustLive(now)
      return {
        job: {
          ...now,
          ...given(settings),
          ...(patch.proxy === undefined ? {} : { proxy: shownProxy(patch.proxy) }),
          ...this.#sealedAnew(now, patch),
          modifiedAtMs: this.#c.clock.nowMs(),
          idleMs: 0,
        },
        events: [{ kind: 'changed', previous: now.state, state: now.state }],
      }
    })
    // What runs goes by what was the case when its turn began.
    if (isTurnAffected && before.state !== 'suspended') await this.#engine.stopTurn(id)
    if (settings.autoComplete) this.#engine.completeIfOwed(id)
    return this.#viewOf(job, id)
  }

  /** The secrets with what was given of them; nothing when nothing was. */
  #sealedAnew({ id, sealed }: Job, { headers, webhookSecret, proxy }: JobPatch): Partial<Job> {
    if (headers === undefined && webhookSecret === undefined && proxy === undefined) return {}
    const old = headers === undefined ? this.#vault.open(sealed, id) : this.#openedIfPossible(sealed, id)
    const secrets = {
      headers: headers ?? old.headers,
      webhookSecret: webhookSecret === undefined ? old.webhookSecret : webhookSecret,
      proxy: proxy === undefined ? (old.proxy ?? null) : proxyWithLogin(proxy),
    }
    return { sealed: this.#vault.seal(secrets, id), headerNames: secrets.headers.map(([name]) => name) }
  }

  /** Header fields are set anew because the old ones cannot be opened: then that must not be in the way. */
  #openedIfPossible(sealed: string | null, id: JobId): JobSecrets {
    try {
      return this.#vault.open(sealed, id)
    } catch (error) {
      if (isShorthaulError(error, 'SHORTHAUL_SECRET_INVALID')) return NO_SECRETS
      throw error
    }
  }

  async #setFile(id: JobId, { index, patch }: { index: number; patch: FilePatch }, caller: Caller): Promise<JobFile> {
    const job = liveJobOf(this.#book, id, caller)
    const before = await this.#book.file(id, index)
    if (before === null) throw unknownFile(job, index)
    const patchOf = (file: JobFile) => (file.index === index ? patch : null)
    await this.#engine.pause(id, async () => {
      if (patch.target !== undefined && patch.target !== before.target) {
        // Nothing is removed for a patch that is refused.
        await this.#patchFiles(id, patchOf, { caller, isTrial: true })
        await this.#c.targets.discard(job, before)
      }
      await this.#patchFiles(id, patchOf, { caller })
    })
    return (await this.#book.file(id, index)) ?? before
  }

  async #replacePrefix(id: JobId, { from, to }: { from: string; to: string }, caller: Caller): Promise<number> {
    liveJobOf(this.#book, id, caller)
    if (from === '') throw new ShorthaulError('SHORTHAUL_USAGE', 'Cannot replace a prefix of nothing')
    let count = 0
    await this.#engine.pause(id, async () => {
      const patch = ({ url }: JobFile) => (url.startsWith(from) ? { url: to + url.slice(from.length) } : null)
      count = await this.#patchFiles(id, patch, { caller })
    })
    return count
  }

  /** @returns how many were changed */
  async #patchFiles(
    id: JobId,
    patchOf: (file: JobFile) => FilePatch | null,
    { caller, isTrial = false }: { readonly caller: Caller; readonly isTrial?: boolean },
  ): Promise<number> {
    const rules = this.#rules(caller)
    let count = 0
    await this.#book.changeFiles(id, (now, files) => {
      const changed: JobFile[] = []
      let { totals } = now
      for (const file of files) {
        const patch = patchOf(file)
        if (patch === null) continue
        if (file.state === 'delivered') throw wrongState(now, 'change a file that has its name already')
        let after = patchedFile(file, patch, rules)
        // Its part stood beside the old target, and was removed.
        if (after.target !== file.target)
          after = { ...after, state: 'waiting', bytesDone: 0, resource: null, foundSha256: null, trust: null }
        if (files.some((other) => other.index !== file.index && other.target === after.target)) {
          throw new ShorthaulError(
            'SHORTHAUL_USAGE',
            `Cannot use "${after.target}": another file of the job goes there`,
          )
        }
        totals = withFile(totals, file, after)
        changed.push(after)
      }
      count = changed.length
      if (count === 0) return null
      const edit = this.#stepped(now, 'more-work', { totals, idleMs: 0 })
      if (isTrial) return null
      const { state } = edit.job
      return { ...edit, files: changed, events: [...(edit.events ?? []), { kind: 'changed', previous: state, state }] }
    })
    return count
  }

  async #suspend(id: JobId, caller: Caller): Promise<JobView> {
    const job = await this.#step(id, 'suspend', caller)
    await this.#engine.stopTurn(id)
    return this.#viewOf(job, id)
  }

  async #resume(id: JobId, caller: Caller): Promise<JobView> {
    const { totals } = liveJobOf(this.#book, id, caller)
    if (totals.fileCount === 0) {
      throw new ShorthaulError('SHORTHAUL_JOB_STATE', 'Cannot resume the job: it has no files; add one first', {
        details: { job: id, state: 'suspended', isEmpty: true },
      })
    }
    const job = await this.#step(id, 'resume', caller)
    return this.#viewOf(job, id)
  }

  async #cancel(id: JobId, caller: Caller): Promise<JobView> {
    const job = await this.#step(id, 'cancel', caller)
    await this.#engine.stopTurn(id)
    this.#engine.clean(id)
    return this.#viewOf(job, id)
  }

  async #complete(id: JobId, caller: Caller): Promise<CompleteResult> {
    const before = jobOf(this.#book, id, caller)
    if (transition(before.state, 'complete') === null) throw wrongState(before, 'complete')
    await this.#engine.complete(id)
    const job = jobOf(this.#book, id, caller)
    const files = await this.#book.files(id)
    const deliveredCount = files.filter(({ state }) => state === 'delivered').length
    return { job: this.#reader.view(job), deliveredCount, abandonedCount: files.length - deliveredCount }
  }

  async #takeOwnership(id: JobId, caller: Caller): Promise<JobView> {
    mustBeAdmin(caller)
    const before = liveJobOf(this.#book, id, caller)
    await this.#engine.pause(id, async () => {
      // Refused before anything is removed.
      this.#stepped(jobOf(this.#book, id, caller), 'more-work', {})
      // The parts belong to the one whose job it was: what is whole comes again from the cache.
      for (const file of await this.#book.files(id)) {
        if (file.state !== 'delivered') await this.#c.targets.discard(before, file)
      }
      await this.#book.changeFiles(id, (now, files) => {
        const after = files.map((file) =>
          file.state === 'delivered'
            ? file
            : { ...file, state: 'waiting' as const, bytesDone: 0, resource: null, foundSha256: null, trust: null },
        )
        const edit = this.#stepped(now, 'more-work', {
          owner: { uid: caller.uid, name: caller.name },
          // What another user set must neither be sent nor run in the name of this one.
          sealed: null,
          headerNames: [],
          notify: { ...now.notify, command: null, webhookUrl: null },
          totals: totalsOf(after),
          idleMs: 0,
        })
        const { state } = edit.job
        return { ...edit, files: after, events: [...(edit.events ?? []), { kind: 'changed', previous: state, state }] }
      })
    })
    return this.#reader.view(jobOf(this.#book, id, caller))
  }

  async #step(id: JobId, event: JobEvent, caller: Caller): Promise<Job | null> {
    jobOf(this.#book, id, caller)
    return this.#book.change(id, (now) => {
      const isGoingOn = event === 'resume' && now.state !== 'queued' && transition(now.state, event) === 'queued'
      return this.#stepped(now, event, {
        idleMs: 0,
        ...(isGoingOn ? { ...FORGIVEN, queuedSeq: this.#book.nextQueuedSeq() } : {}),
      })
    })
  }

  #stepped(job: Job, event: JobEvent, changes: Partial<Job>): Edit {
    if (job.isCompleting) throw wrongState(job, `${event} it while its files get their names`)
    const edit = step(job, event, { nowMs: this.#c.clock.nowMs(), changes })
    if (edit === null) throw wrongState(job, event)
    return edit
  }

  #rules({ uid, name }: Caller): OrderRules {
    return {
      mayReadFiles: this.#c.surroundings.isOwn({ owner: { uid, name } }),
      commandDirs: this.#o.commandDirs,
    }
  }

  #checkJobCount(caller: Caller): void {
    const { maxPerUser } = this.#o
    let count = 0
    for (const job of this.#book.jobs()) if (!isFinal(job.state) && isOwnedBy(job, caller)) count++
    if (count < maxPerUser) return
    throw new ShorthaulError(
      'SHORTHAUL_JOB_LIMIT',
      `Cannot create the job: ${caller.name} has ${count}, expected at most ${maxPerUser}`,
    )
  }

  #checkFileCount(count: number): void {
    const { maxFilesPerJob } = this.#o
    if (count <= maxFilesPerJob) return
    throw new ShorthaulError(
      'SHORTHAUL_JOB_LIMIT',
      `Cannot take ${count} files into one job, expected at most ${maxFilesPerJob}`,
    )
  }

  #viewOf(job: Job | null, id: JobId): JobView {
    if (job === null) throw unknownJob(id)
    return this.#reader.view(this.#book.get(id) ?? job)
  }
}

/** What a turn reads once, when it begins. */
const TURN_SETTINGS = ['priority', 'proxy', 'usePeers', 'useOrigin', 'originMaxBytesPerSec', 'headers'] as const

/** Without the keys that were given as undefined. */
function given<T extends object>(settings: T): T {
  return Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== undefined)) as T
}

function nameOf({ url }: JobFile): string {
  const segment = new URL(url).pathname.split('/').at(-1) ?? ''
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what must not get into a name
  const name = segment.replace(/[\u0000-\u001f\u007f]/g, '').slice(0, 200)
  return name === '' ? new URL(url).hostname || 'job' : name
}
