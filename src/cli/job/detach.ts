/** `shorthaul fetch --detach`: the same, as a job that completes by itself. */
import type { FetchOptions } from '../fetch-orders.ts'
import { usage } from '../output.ts'
import { createVerb } from './verbs.ts'

export async function detachVerb(urls: readonly string[], options: FetchOptions): Promise<void> {
  if (!options.daemon) throw usage('--detach hands the fetch to the daemon: it does not go with --no-daemon')
  if (!options.origin && !options.peers) {
    throw usage('--no-origin and --no-peers together leave the cache of this machine only')
  }
  if (urls.length === 0 && options.inputFile === undefined) {
    throw usage('Say what to fetch: a URL, or a list with --input-file')
  }
  await createVerb(urls, { ...options, autoComplete: true })
}
