/** Who a uid is on this system. */
import { readFile } from 'node:fs/promises'
import { runChild } from '../throttle/child.ts'

export interface Account {
  readonly uid: number
  /** Of the primary group. */
  readonly gid: number
  readonly name: string
  readonly home: string
}

const DEADLINE_MS = 10_000

/** Asks the system's directory, which may be on another machine; null: there is no such user, or nobody says so in time. */
export async function accountOf(uid: number, { signal }: { readonly signal: AbortSignal }): Promise<Account | null> {
  const answer = await runChild('getent', ['passwd', String(uid)], { signal, deadlineMs: DEADLINE_MS })
  const found = answer.kind === 'done' ? parseAccount(answer.stdout, uid) : null
  if (found !== null) return found
  return parseAccount(await readFile('/etc/passwd', 'utf8').catch(() => ''), uid)
}

/** The first line of passwd(5) with this uid. */
export function parseAccount(text: string, uid: number): Account | null {
  for (const line of text.split('\n')) {
    const [name = '', , uidText, gidText = '', , home = ''] = line.split(':')
    if (uidText !== String(uid) || !/^\d{1,10}$/.test(gidText) || name === '') continue
    return { uid, gid: Number(gidText), name, home: home === '' ? '/' : home }
  }
  return null
}
