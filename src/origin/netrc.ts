/**
 * A netrc file: user names and passwords by host, as curl, git and wget read it.
 *
 * Grammar: tokens separated by white space; `machine NAME` or `default` begins an entry; `login`, `password` and
 * `account` take a value, which may stand in double quotes with backslash escapes; `macdef` runs to the next blank line;
 * `#` where a keyword may stand begins a comment. Anything else is skipped, as other readers do.
 *
 * Does not hold: passwords beyond the life of this object; errors name the file and never quote it.
 */
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import type { Logger } from 'pino'
import { ShorthaulError, systemCode } from '../errors.ts'

export interface Login {
  readonly user: string
  readonly password: string
}

/** Larger than any real file; bounds what a wrong path makes us read. */
const MAX_NETRC_BYTES = 256 * 1024

export class Netrc {
  readonly #byHost: ReadonlyMap<string, Login>
  readonly #fallback: Login | null

  constructor(byHost: ReadonlyMap<string, Login>, fallback: Login | null) {
    this.#byHost = byHost
    this.#fallback = fallback
  }

  /** @param options.allowDefault false for a host that an origin named in a redirect: `default` is not meant for it */
  find(host: string, options: { readonly allowDefault: boolean }): Login | null {
    return this.#byHost.get(host.toLowerCase()) ?? (options.allowDefault ? this.#fallback : null)
  }
}

/** Total: any text gives a Netrc. The first entry of a host wins. */
export function parseNetrc(text: string): Netrc {
  const byHost = new Map<string, Login>()
  let fallback: Login | null = null
  let host: string | null = null
  let isOpen = false
  let user = ''
  let password: string | null = null
  const finish = () => {
    if (isOpen && password !== null) {
      if (host === null) fallback ??= { user, password }
      else if (!byHost.has(host)) byHost.set(host, { user, password })
    }
    user = ''
    password = null
  }
  const tokens = new Tokens(text)
  for (let word = tokens.next(); word !== null; word = tokens.next()) {
    if (word === 'machine' || word === 'default') {
      finish()
      isOpen = true
      host = word === 'machine' ? (tokens.next() ?? '').toLowerCase() : null
    } else if (word === 'login') user = tokens.next() ?? ''
    else if (word === 'password') password = tokens.next() ?? ''
    else if (word === 'account') tokens.next()
    else if (word === 'macdef') tokens.skipMacro()
    else if (word.startsWith('#')) tokens.skipLine()
  }
  finish()
  return new Netrc(byHost, fallback)
}

class Tokens {
  readonly #text: string
  #at = 0

  constructor(text: string) {
    this.#text = text
  }

  next(): string | null {
    while (this.#at < this.#text.length && isSpace(this.#text.charCodeAt(this.#at))) this.#at++
    if (this.#at >= this.#text.length) return null
    return this.#text[this.#at] === '"' ? this.#quoted() : this.#bare()
  }

  /** Goes to the end of the line that the last token ends in or began. */
  skipLine(): void {
    // A comment of one word may have ended right before its line break: do not eat the next line.
    const end = this.#text.indexOf('\n', this.#at)
    this.#at = end === -1 ? this.#text.length : end
  }

  skipMacro(): void {
    const blank = /\n[ \t\r]*\n/g
    blank.lastIndex = this.#at
    this.#at = blank.exec(this.#text) ? blank.lastIndex : this.#text.length
  }

  #bare(): string {
    const start = this.#at
    while (this.#at < this.#text.length && !isSpace(this.#text.charCodeAt(this.#at))) this.#at++
    return this.#text.slice(start, this.#at)
  }

  #quoted(): string {
    const parts: string[] = []
    for (this.#at++; this.#at < this.#text.length; this.#at++) {
      const char = this.#text[this.#at]
      if (char === '"') {
        this.#at++
        break
      }
      if (char !== '\\') {
        parts.push(char ?? '')
        continue
      }
      this.#at++
      const escaped = this.#text[this.#at] ?? ''
      parts.push(escaped === 'n' ? '\n' : escaped === 't' ? '\t' : escaped === 'r' ? '\r' : escaped)
    }
    return parts.join('')
  }
}

function isSpace(code: number): boolean {
  return code === 0x20 || (code >= 0x09 && code <= 0x0d)
}

/**
 * Reads the file once; a later change is seen by the next agent.
 * A named file must be readable. Without a name, $NETRC or ~/.netrc is used when it exists and can be read.
 *
 * @throws SHORTHAUL_CONFIG_INVALID for a named file that cannot be read or is too large
 */
export async function loadNetrc(
  named: string | null,
  options: { readonly env: Readonly<Record<string, string | undefined>>; readonly log: Logger },
): Promise<Netrc> {
  const { env, log } = options
  const path = named ?? (env.NETRC || (env.HOME ? join(env.HOME, '.netrc') : null))
  if (path === null) return parseNetrc('')
  try {
    return parseNetrc(await readBounded(path))
  } catch (error) {
    const system = systemCode(error) ?? 'larger than 256 KiB'
    if (named !== null) {
      throw new ShorthaulError('SHORTHAUL_CONFIG_INVALID', `Cannot read the netrc file "${path}": ${system}`, {
        cause: error,
        details: { path, system },
      })
    }
    if (system !== 'ENOENT') log.warn({ path, system }, 'netrc file ignored')
    return parseNetrc('')
  }
}

async function readBounded(path: string): Promise<string> {
  const file = await open(path, 'r')
  try {
    const { size } = await file.stat()
    if (size > MAX_NETRC_BYTES) throw new RangeError(`The netrc file has ${size} bytes`)
    const buffer = Buffer.alloc(MAX_NETRC_BYTES)
    const { bytesRead } = await file.read(buffer, 0, MAX_NETRC_BYTES, 0)
    return buffer.toString('utf8', 0, bytesRead)
  } finally {
    await file.close()
  }
}
