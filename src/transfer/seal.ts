/** What is done once with a resource when its last segment has arrived. */
import type { KeyPair } from 'hypercore-crypto'
import type { AgentKey } from '../content/ids.ts'
import { MAX_STATEMENT_HASHES, type Statement, signStatement } from '../content/statement.ts'
import type { Store } from '../store/store.ts'
import type { SharedResource } from './shared-resource.ts'

/** All positions are known: the draft becomes a manifest, and what we signed one by one becomes a few statements. */
export async function seal(
  shared: SharedResource,
  options: {
    readonly store: Store
    readonly self: AgentKey
    readonly keyPair: KeyPair
    readonly sha256: string
    /** That was compared with it; null: nothing was. */
    readonly pinnedSha256: string | null
    readonly declaredSha256: string | null
  },
): Promise<void> {
  const { store, self, sha256 } = options
  const { record, draft } = shared
  const manifest = draft.isComplete ? draft.seal() : null
  // Another one than before: what members had attested of this generation was wrong.
  if (manifest && record.root !== manifest.root) {
    // What we signed of a single segment is our word for the whole already.
    if (draft.segmentCount > 1) {
      const all = await store.statements(record.id)
      const others = all.filter((statement) => statement.signer !== self)
      await store.replaceStatements(record.id, [...ownStatements(shared, options), ...others])
    }
    await store.sealManifest(record.id, manifest, { sha256 })
  }
  const sealed = await store.resource(record.id)
  if (sealed) {
    const pinnedSha256 = options.pinnedSha256 ?? sealed.pinnedSha256
    const declaredSha256 = options.declaredSha256 ?? sealed.declaredSha256
    shared.record = { ...sealed, sha256, pinnedSha256, declaredSha256 }
    const isNews =
      sealed.sha256 !== sha256 || sealed.pinnedSha256 !== pinnedSha256 || sealed.declaredSha256 !== declaredSha256
    if (isNews) await store.putResource(shared.record)
  }
}

/** As few as the limit of a statement allows. */
function ownStatements(
  { record, draft }: SharedResource,
  { self, keyPair }: { readonly self: AgentKey; readonly keyPair: KeyPair },
): Statement[] {
  const own: Statement[] = []
  let run: { firstIndex: number; hashes: Statement['hashes'][number][] } | null = null
  const endRun = () => {
    if (run) own.push(signStatement(keyPair, record.id, run.firstIndex, run.hashes))
    run = null
  }
  for (let index = 0; index < draft.segmentCount; index++) {
    const entry = draft.entry(index)
    const isOwn = entry?.signer === self
    if (!entry || !isOwn || (run && run.hashes.length >= MAX_STATEMENT_HASHES)) endRun()
    if (!entry || !isOwn) continue
    run ??= { firstIndex: index, hashes: [] }
    run.hashes.push(entry.hash)
  }
  endRun()
  return own
}
