/**
 * Whether a control socket may be believed. Who listens there feeds bytes into targets and answers what commands ask: a
 * socket that another user planted is not connected to.
 */
import { lstat, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { isSystemSocket } from '../config/load.ts'

const OTHERS_MAY_WRITE = 0o002
const STICKY = 0o1000

/** @returns why the socket is not to be used; null when it may be, or when there is none */
export async function distrustOf(path: string): Promise<string | null> {
  const self = process.geteuid?.()
  // Windows: pipes have no owner that Node can see. Of the system's own place, root decides who gets it.
  if (self === undefined || isSystemSocket(path)) return null
  const mayOwn = (uid: number) => uid === self || uid === 0
  try {
    // Both the name and what it leads to, and the directory, in which its owner can exchange either at any time.
    const [name, socket, directory] = await Promise.all([lstat(path), stat(path), stat(dirname(path))])
    for (const { uid } of [name, socket]) {
      if (!mayOwn(uid)) return `the socket "${path}" belongs to another user (uid ${uid})`
    }
    if (!mayOwn(directory.uid)) return `the directory of "${path}" belongs to another user (uid ${directory.uid})`
    const isOpenToAll = (directory.mode & OTHERS_MAY_WRITE) !== 0 && (directory.mode & STICKY) === 0
    return isOpenToAll ? `everybody can write into the directory of "${path}"` : null
  } catch {
    return null // not there, or not ours to look at: then connecting fails too
  }
}
