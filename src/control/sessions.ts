/**
 * Finds out who asks on a socket that everybody may use. Node cannot read a peer's credentials, but it can see whose file
 * is it that holds a secret which only the asker was told: they make it, in a directory where everybody may make files and
 * nobody may look, and get a token for the life of this agent.
 *
 * What proves it: the file holds the token and has mode 0600, so that only its owner (or root) can have written it. A
 * link to somebody else's file, or one that was moved there, does not hold this token.
 *
 * The agent must be able to read a file of mode 0600 of others: as root. Others learn that here, and get no session.
 */
import { execFile } from 'node:child_process'
import { createHash, timingSafeEqual } from 'node:crypto'
import { constants } from 'node:fs'
import { chmod, type FileHandle, lstat, mkdir, open, opendir, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { type Clock, secretBytes } from '../clock.ts'
import { localIoError, ShorthaulError, systemCode } from '../errors.ts'
import type { Caller } from '../jobs/job-access.ts'

/** Everybody may make files; only its owner sees which there are; nobody removes another's. */
const DIR_MODE = 0o1733
const PROOF_MODE = 0o600
/** From asking to proving: a client needs a few milliseconds. */
const CHALLENGE_MS = 10_000
const SESSION_MS = 3600 * 1000
/** The oldest goes: whose it was asks again. */
const MAX_CHALLENGES = 256
const MAX_SESSIONS = 1024
const MAX_SESSIONS_PER_USER = 16
const NAME_TIMEOUT_MS = 2000
const SWEEP_MS = 60_000
/** At a time: somebody may leave more than we want to wait for. */
const MAX_SWEPT = 10_000

export interface Challenge {
  readonly id: string
  /** The file to make, mode 0600. */
  readonly path: string
  /** Its content. */
  readonly token: string
  readonly expiresInMs: number
}

export interface Session {
  /** For `Authorization: Bearer`. */
  readonly token: string
  readonly expiresInMs: number
  readonly user: Caller
}

interface Pending {
  readonly token: string
  readonly name: string
  readonly untilMs: number
}

interface Held {
  readonly secretSha256: Buffer
  readonly caller: Caller
  readonly untilMs: number
}

export class Sessions {
  readonly #clock: Clock
  readonly #dir: string
  readonly #user: Caller
  readonly #nameOf: (uid: number) => Promise<string>
  readonly #pending = new Map<string, Pending>()
  readonly #sessions = new Map<string, Held>()
  #sweptAtMs: number

  private constructor({ clock, user, nameOf }: SessionComponents, dir: string) {
    this.#clock = clock
    this.#user = user
    this.#nameOf = nameOf ?? nameOfUser
    this.#dir = dir
    this.#sweptAtMs = clock.monotonicMs()
  }

  /**
   * Makes the directory, or takes it over when it is ours.
   * @throws SHORTHAUL_FORBIDDEN when it is another user's, SHORTHAUL_STORE_IO
   */
  static async open(components: SessionComponents, dir: string): Promise<Sessions> {
    try {
      await mkdir(dir).catch((error: unknown) => {
        if (systemCode(error) !== 'EEXIST') throw error
      })
      const found = await lstat(dir)
      if (!found.isDirectory() || found.uid !== process.geteuid?.()) {
        throw new ShorthaulError('SHORTHAUL_FORBIDDEN', `Cannot use "${dir}": expected a directory of our own`)
      }
      await chmod(dir, DIR_MODE)
    } catch (cause) {
      if (cause instanceof ShorthaulError) throw cause
      throw localIoError('make', dir, cause, 'SHORTHAUL_STORE_IO')
    }
    const sessions = new Sessions(components, dir)
    await sessions.#sweep()
    return sessions
  }

  async challenge(): Promise<Challenge> {
    const nowMs = this.#clock.monotonicMs()
    if (nowMs - this.#sweptAtMs > SWEEP_MS) await this.#sweep()
    if (this.#pending.size >= MAX_CHALLENGES) this.#pending.delete(firstOf(this.#pending))
    const id = secretBytes(16).toString('hex')
    const name = secretBytes(16).toString('hex')
    const token = secretBytes(32).toString('hex')
    this.#pending.set(id, { token, name, untilMs: nowMs + CHALLENGE_MS })
    return { id, path: join(this.#dir, name), token, expiresInMs: CHALLENGE_MS }
  }

  /** Once: whatever comes of it, the challenge is gone. @throws SHORTHAUL_FORBIDDEN */
  async prove(id: string): Promise<Session> {
    const pending = this.#pending.get(id)
    this.#pending.delete(id)
    const nowMs = this.#clock.monotonicMs()
    if (pending === undefined || pending.untilMs < nowMs) {
      throw new ShorthaulError('SHORTHAUL_FORBIDDEN', 'Cannot tell who asks: there is no such challenge any more')
    }
    const path = join(this.#dir, pending.name)
    let uid: number
    try {
      uid = await provenUid(path, pending.token)
    } finally {
      await unlink(path).catch(() => {}) // what is not a file of theirs goes with the next sweep
    }
    return this.#begin(await this.#callerOf(uid))
  }

  /** Null: no session of this agent, or it ran out. */
  callerOf(token: string): Caller | null {
    const [id = '', secret = ''] = token.split('.')
    const held = this.#sessions.get(id)
    if (held === undefined || !timingSafeEqual(hashOf(secret), held.secretSha256)) return null
    if (held.untilMs > this.#clock.monotonicMs()) return held.caller
    this.#sessions.delete(id)
    return null
  }

  #begin(caller: Caller): Session {
    const nowMs = this.#clock.monotonicMs()
    const own: string[] = []
    for (const [id, held] of this.#sessions) {
      if (held.untilMs <= nowMs) this.#sessions.delete(id)
      else if (held.caller.uid === caller.uid) own.push(id)
    }
    if (own[0] !== undefined && own.length >= MAX_SESSIONS_PER_USER) this.#sessions.delete(own[0])
    if (this.#sessions.size >= MAX_SESSIONS) this.#sessions.delete(firstOf(this.#sessions))
    const id = secretBytes(16).toString('hex')
    const secret = secretBytes(32).toString('hex')
    this.#sessions.set(id, { secretSha256: hashOf(secret), caller, untilMs: nowMs + SESSION_MS })
    return { token: `${id}.${secret}`, expiresInMs: SESSION_MS, user: caller }
  }

  async #callerOf(uid: number): Promise<Caller> {
    if (uid === this.#user.uid) return this.#user
    for (const { caller } of this.#sessions.values()) if (caller.uid === uid) return caller
    return { uid, name: await this.#nameOf(uid), isAdmin: uid === 0 }
  }

  /** Removes what nobody waits for: anybody may leave files here. */
  async #sweep(): Promise<void> {
    const nowMs = this.#clock.monotonicMs()
    this.#sweptAtMs = nowMs
    for (const [id, { untilMs }] of this.#pending) if (untilMs < nowMs) this.#pending.delete(id)
    const awaited = new Set([...this.#pending.values()].map(({ name }) => name))
    let count = 0
    try {
      for await (const { name } of await opendir(this.#dir)) {
        // Not recursive: in a directory of somebody else we would follow where they lead us.
        if (!awaited.has(name)) await unlink(join(this.#dir, name)).catch(() => {})
        if (++count === MAX_SWEPT) return
      }
    } catch (err) {
      if (systemCode(err) === undefined) throw err
      // It is gone, or cannot be read: then nobody proves anything, and hears so.
    }
  }
}

export interface SessionComponents {
  readonly clock: Clock
  /** The agent's own user, who is an administrator, as root is. */
  readonly user: Caller
  /** Default: asks the system. */
  readonly nameOf?: (uid: number) => Promise<string>
}

/** @returns whose file holds the token. @throws SHORTHAUL_FORBIDDEN */
async function provenUid(path: string, token: string): Promise<number> {
  let handle: FileHandle
  try {
    // A link leads to somebody else's file, and a pipe would block us.
    handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  } catch (cause) {
    const code = systemCode(cause)
    const reason = code === 'EACCES' ? 'this agent may not read files of others: it does not run as root' : code
    throw new ShorthaulError('SHORTHAUL_FORBIDDEN', `Cannot tell who asks: ${reason}`, { cause })
  }
  try {
    const found = await handle.stat()
    const isTheirs = found.isFile() && found.nlink === 1 && (found.mode & 0o7777) === PROOF_MODE
    if (!isTheirs || found.size !== token.length) throw unproven()
    const content = Buffer.alloc(token.length)
    const { bytesRead } = await handle.read(content, 0, content.length, 0)
    if (bytesRead !== token.length || !timingSafeEqual(content, Buffer.from(token))) throw unproven()
    return found.uid
  } finally {
    await handle.close()
  }
}

function unproven(): ShorthaulError {
  return new ShorthaulError(
    'SHORTHAUL_FORBIDDEN',
    'Cannot tell who asks: the file is not what was asked for, expected a regular one of mode 0600 with the token',
  )
}

/** So that what is compared has one length. */
function hashOf(secret: string): Buffer {
  return createHash('sha256').update(secret).digest()
}

function firstOf(map: ReadonlyMap<string, unknown>): string {
  return map.keys().next().value ?? ''
}

/** Also of users whom a directory service knows. */
async function nameOfUser(uid: number): Promise<string> {
  try {
    const { stdout } = await promisify(execFile)('id', ['-nu', '--', String(uid)], {
      timeout: NAME_TIMEOUT_MS,
      maxBuffer: 4096,
    })
    return stdout.trim().slice(0, 256) || `uid ${uid}`
  } catch {
    return `uid ${uid}` // a number without a name, as in many containers
  }
}
