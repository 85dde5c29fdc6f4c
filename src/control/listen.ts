/** Opens servers on unix sockets and on TCP ports. What they answer is server.ts. */
import { chmod, mkdir, unlink } from 'node:fs/promises'
import type { Server } from 'node:http'
import { connect, type ListenOptions } from 'node:net'
import { dirname } from 'node:path'
import { isShorthaulError, localIoError, ShorthaulError, systemCode } from '../errors.ts'

/**
 * Listens for this user alone. A socket file that nobody answers on is replaced.
 * @throws SHORTHAUL_DATA_DIR_IN_USE when another agent answers there, SHORTHAUL_STORE_IO
 */
export async function listenOnSocket(server: Server, path: string): Promise<void> {
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o755 })
    if (await isAnswering(path)) {
      throw new ShorthaulError('SHORTHAUL_DATA_DIR_IN_USE', `Cannot listen on "${path}": another agent answers there`, {
        details: { path },
      })
    }
    if (process.platform !== 'win32') await unlink(path).catch(() => {})
    await listen(server, { path })
    if (process.platform !== 'win32') await chmod(path, 0o600)
  } catch (cause) {
    if (isShorthaulError(cause)) throw cause
    throw localIoError('listen on', path, cause, 'SHORTHAUL_STORE_IO')
  }
}

/** Lets every local user connect. @throws SHORTHAUL_STORE_IO */
export async function openToAll(path: string): Promise<void> {
  if (process.platform === 'win32') return
  await chmod(path, 0o666).catch((cause: unknown) => {
    throw localIoError('open to all', path, cause, 'SHORTHAUL_STORE_IO')
  })
}

/** @returns the port. @throws SHORTHAUL_PORT_IN_USE, also for an address that this machine does not have */
export async function listenOnPort(server: Server, { host, port }: { host: string; port: number }): Promise<number> {
  try {
    await listen(server, { host, port })
  } catch (cause) {
    const found = systemCode(cause) ?? String(cause)
    throw new ShorthaulError('SHORTHAUL_PORT_IN_USE', `Cannot listen on ${host}:${port} (control.http): ${found}`, {
      cause,
      details: { host, port },
    })
  }
  const address = server.address()
  return typeof address === 'object' && address !== null ? address.port : port
}

function listen(server: Server, options: ListenOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(options, () => {
      server.off('error', reject)
      resolve()
    })
  })
}

function isAnswering(path: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const socket = connect(path)
    socket.setTimeout(1000, () => {
      socket.destroy()
      resolve(true) // somebody holds it open but is too busy to accept
    })
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', (error) => {
      const code = systemCode(error)
      if (code === 'ENOENT' || code === 'ECONNREFUSED' || code === 'ENOTSOCK') resolve(false)
      else reject(error)
    })
  })
}
