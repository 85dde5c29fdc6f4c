/**
 * Says who we are to an agent whose socket everybody may use: Node cannot read a peer's credentials, but the agent can
 * see whose file it is that holds what it asked for. The other end is sessions.ts.
 */
import { constants } from 'node:fs'
import { open, rm } from 'node:fs/promises'
import { basename, dirname, resolve } from 'node:path'
import { localIoError, ShorthaulError } from '../errors.ts'
import type { Call } from './client.ts'

const TIMEOUT_MS = 10_000
/** Beside the socket; the agent makes it. */
export const CHALLENGES_DIR = 'challenges'
const HEX = /^[0-9a-f]{32,128}$/

/** @returns a token for `Authorization: Bearer`. @throws SHORTHAUL_FORBIDDEN when the agent cannot tell who we are */
export async function openSession(call: (call: Call) => Promise<unknown>, socketPath: string): Promise<string> {
  // Loaded only here: who made the socket may use what we prove.
  const { distrustOf } = await import('./socket-trust.ts')
  const distrust = await distrustOf(socketPath)
  if (distrust !== null) throw new ShorthaulError('SHORTHAUL_FORBIDDEN', `Cannot say who we are: ${distrust}`)
  const challenge = Object(await call({ method: 'POST', path: '/v1/session', timeoutMs: TIMEOUT_MS }))
  const { id, path, token } = challenge as Record<string, unknown>
  const isText = typeof id === 'string' && typeof path === 'string' && typeof token === 'string'
  if (!isText || !HEX.test(id) || !HEX.test(token) || !isPlace(path, socketPath)) {
    // An agent that may choose where we write, and what, could make files of ours that mean something.
    throw new ShorthaulError('SHORTHAUL_CONTROL_IO', 'Cannot say who we are: the agent asks for a file elsewhere')
  }
  await writeProof(path, token)
  try {
    const answer = await call({ method: 'POST', path: `/v1/session/${id}`, timeoutMs: TIMEOUT_MS })
    const { token: session } = Object(answer) as Record<string, unknown>
    if (typeof session === 'string') return session
    throw new ShorthaulError('SHORTHAUL_CONTROL_IO', 'Cannot say who we are: the agent answers nothing of use')
  } finally {
    await rm(path, { force: true }).catch(() => {}) // the agent removes it; ours only where that failed
  }
}

function isPlace(path: string, socketPath: string): boolean {
  return dirname(path) === resolve(dirname(socketPath), CHALLENGES_DIR) && HEX.test(basename(path))
}

/** Ours alone, and new. */
async function writeProof(path: string, token: string): Promise<void> {
  const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants
  try {
    const handle = await open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600)
    try {
      await handle.chmod(0o600) // whatever the umask
      await handle.writeFile(token)
    } finally {
      await handle.close()
    }
  } catch (cause) {
    throw localIoError('say who we are with', path, cause, 'SHORTHAUL_CONTROL_IO')
  }
}
