/** The public surface of the library: an agent, its configuration, and where bytes may go. */
export { Agent, type AgentComponents, type AgentOptions } from './agent/agent.ts'
export type { AgentCache } from './agent/cache.ts'
export type { AgentStatus, CacheEntry, PeerStatus } from './agent/views.ts'
export { type Config, currentUser, type LoadedConfig, loadConfig } from './config/load.ts'
export { ControlClient } from './control/client.ts'
export { ERROR_TABLE, type ErrorCode, EXIT, type ExitCode, isShorthaulError, ShorthaulError } from './errors.ts'
export { type Job, type JobFile, type JobId, type JobSettings, parseJobId } from './jobs/job.ts'
export type {
  FileOrder,
  JobEventOptions,
  JobListOptions,
  JobOrder,
  JobPatch,
  JobStreamEvent,
  JobsApi,
  JobView,
} from './jobs/jobs-api.ts'
export type { JobState } from './jobs/states.ts'
export type { Priority } from './throttle/priority.ts'
export { PartFile } from './transfer/part-file.ts'
export { PipeDelivery } from './transfer/pipe-delivery.ts'
export type {
  Delivery,
  FileRange,
  SourceBytes,
  TransferEvent,
  TransferNote,
  TransferProgress,
  TransferRequest,
  TransferResult,
} from './transfer/request.ts'
export type { ShownTrust } from './transfer/shown-trust.ts'
