/**
 * The two operations whose failure must be provoked in tests: writing a new file and asking for free space.
 * Everything else touches the file system directly.
 */
import { open, statfs } from 'node:fs/promises'

export interface Disk {
  /** Creates `path` with mode 0600 and writes all bytes. Rejects with the system's error, such as ENOSPC. */
  writeNew(path: string, bytes: Uint8Array): Promise<void>
  /** Bytes that this user may still write on the file system of `path`. */
  freeBytes(path: string): Promise<number>
}

export const systemDisk: Disk = {
  async writeNew(path, bytes) {
    const file = await open(path, 'wx', 0o600)
    try {
      // One call for a whole segment; `writeFile` would make it two, and ask the signal in between.
      for (let done = 0; done < bytes.byteLength; ) {
        const { bytesWritten } = await file.write(bytes, done, bytes.byteLength - done, done)
        done += bytesWritten
      }
    } finally {
      await file.close()
    }
  },
  async freeBytes(path) {
    const { bavail, bsize } = await statfs(path)
    return bavail * bsize
  },
}
