/** What the control API needs of an agent. */
import type { AgentKey } from '../content/ids.ts'
import type { Caller } from '../jobs/job-access.ts'
import type { JobsApi } from '../jobs/jobs-api.ts'
import type { Delivery, TransferEvent, TransferRequest, TransferResult } from '../transfer/request.ts'

/** Each throws SHORTHAUL_USAGE when it cannot be done, or not here. */
export interface BranchControl {
  view(): unknown
  invite(name: string, validMs: number): { readonly code: string; readonly validUntilMs: number }
  admit(key: AgentKey, name: string): void
  revoke(who: string): { readonly kind: string; readonly name: string; readonly key: string }
}

export interface ControlledCache {
  entries(): Promise<readonly unknown[]>
  stat(): Promise<unknown>
  verify(options: { signal: AbortSignal }): Promise<unknown>
  /** Each returns how many generations of the URL matched. */
  pin(url: string): Promise<number>
  unpin(url: string): Promise<number>
  remove(url: string): Promise<number>
}

export interface ControlledAgent {
  fetch(
    request: TransferRequest,
    delivery: Delivery,
    options: { signal: AbortSignal; onEvent: (event: TransferEvent) => void; isOwner: boolean },
  ): Promise<TransferResult>
  status(): Promise<unknown>
  diagnoseNetwork(): unknown
  refreshNetwork(): void
  probeOrigin(url: string, options: { signal: AbortSignal; isOwner: boolean }): Promise<unknown>
  readonly cache: ControlledCache
  /** Members whose word counts for nothing. */
  quarantine(): readonly unknown[]
  liftQuarantine(key: AgentKey): number
  /** Who belongs to the branch. */
  readonly branch: BranchControl
  /** The user whose agent this is. */
  readonly user: Caller
  /** @throws SHORTHAUL_USAGE when it carries out no jobs */
  jobsAs(caller: Caller): JobsApi
  /** Of the last event of jobs that was recorded; 0: there was none. */
  lastJobEventId(): number
  /** Whether targets can be written with the rights of this user. */
  canWriteAs(caller: Caller): boolean
}
