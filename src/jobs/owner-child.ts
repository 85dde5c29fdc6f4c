/**
 * The process that writes targets and runs commands as the owner of jobs. Started by an agent of root, as root; becomes the
 * owner for good before it touches anything, and then does what it is asked over stdin until that ends.
 *
 * argv: uid, gid, name
 *
 * All it will ever load is loaded before: the owner may not be able to read where we are installed.
 */
import { ShorthaulError } from '../errors.ts'
import { encodeJsonFrame } from '../transfer/frames.ts'
import { loadHashing } from '../transfer/part-file.ts'
import { errorAnswer, type OwnerAnswer, READY_CALL } from './owner-protocol.ts'
import { OwnerService } from './owner-service.ts'

const UMASK = 0o022

/** For good. @throws SHORTHAUL_FORBIDDEN */
function become(account: { readonly uid: number; readonly gid: number; readonly name: string }): void {
  const { uid, gid, name } = account
  const refused = (why: string, cause?: unknown) =>
    new ShorthaulError('SHORTHAUL_FORBIDDEN', `Cannot become ${name} (uid ${uid}): ${why}`, { cause })
  const isNumber = (value: number) => Number.isSafeInteger(value) && value >= 0
  if (!isNumber(uid) || !isNumber(gid) || uid === 0 || name === '') throw refused('expected the numbers of a user')
  // Of Node's types one is missing.
  const { initgroups } = process as { readonly initgroups?: (user: string, extraGroup: number) => void }
  const { setgid, setuid, getuid, geteuid, getgid, getegid } = process
  if (!initgroups || !setgid || !setuid || !getuid || !geteuid || !getgid || !getegid) {
    throw refused('this system has no users with numbers')
  }
  try {
    initgroups.call(process, name, gid)
    setgid.call(process, gid)
    setuid.call(process, uid)
  } catch (cause) {
    throw refused(String(cause), cause)
  }
  if (getuid() !== uid || geteuid() !== uid || getgid() !== gid || getegid() !== gid) throw refused('it did not happen')
  if (canBecomeRoot()) throw refused('root could be had back')
  process.umask(UMASK)
  process.chdir('/')
}

function canBecomeRoot(): boolean {
  for (const attempt of [() => process.setuid?.(0), () => process.seteuid?.(0), () => process.setgroups?.([0])]) {
    try {
      attempt()
      return true
    } catch {
      // As it should be.
    }
  }
  return false
}

function answer(what: OwnerAnswer): void {
  process.stdout.write(encodeJsonFrame(what))
}

// Who stops the agent stops us by it: it closes our stdin when it is done with us.
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, () => {})
// The agent went away: its last words are the end of stdin.
process.stdout.on('error', () => {})

await loadHashing()
const [, , uid = '', gid = '', name = ''] = process.argv
try {
  become({ uid: Number(uid), gid: Number(gid), name })
} catch (error) {
  answer({ frame: 'answer', call: READY_CALL, error: errorAnswer(error) })
  process.exit(1)
}
answer({ frame: 'answer', call: READY_CALL, value: null })
await new OwnerService(answer).serve(process.stdin)
process.exit(0)
