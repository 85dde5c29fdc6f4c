/** What a chaos run is made of: plain data, as schedule.ts makes it from a seed. */

export interface PlanOptions {
  /** 0 or more, whole. */
  readonly seed: number
  readonly minutes: number
  /** 2 or more; hosts count from 1, and the last one runs the agent that can be made to misbehave. */
  readonly hosts: number
  /** How often things happen: 1 is as often as two processors bear, half of it half as often. */
  readonly pace: number
}

/** One path of the origin; its seed and size say what is there (generated-content.ts). */
export interface ChaosResource {
  readonly seed: number
  readonly bytes: number
}

export interface FetchPlan {
  /** Index into the resources. */
  readonly resource: number
  /** `--sha256` of the generation that is current when it starts. */
  readonly isPinned: boolean
  readonly useOrigin: boolean
  readonly priority: 'foreground' | 'normal'
}

export interface JobPlan {
  readonly kind: 'job'
  readonly host: number
  readonly resource: number
  /** Half-open; null: all of it. */
  readonly range: { readonly startBytes: number; readonly endBytes: number } | null
  readonly isPinned: boolean
  readonly priority: 'foreground' | 'normal'
  /** False: somebody completes it when it is transferred. */
  readonly autoComplete: boolean
}

/** All hosts want one resource at once, which none of them has. */
export interface CrowdPlan {
  readonly kind: 'crowd'
  readonly resource: number
}

export type Fault =
  | { readonly kind: 'daemon-killed'; readonly host: number; readonly durationMs: number }
  | { readonly kind: 'fetch-killed'; readonly host: number }
  | { readonly kind: 'host-cut'; readonly host: number; readonly durationMs: number }
  | { readonly kind: 'host-slow'; readonly host: number; readonly mbit: number; readonly durationMs: number }
  | { readonly kind: 'lan-split'; readonly hosts: readonly number[]; readonly durationMs: number }
  | { readonly kind: 'wan-slow'; readonly mbit: number; readonly durationMs: number }
  | { readonly kind: 'wan-cut'; readonly durationMs: number }
  | { readonly kind: 'disk-full'; readonly disk: 'data' | 'targets'; readonly durationMs: number }
  | { readonly kind: 'peer-bad'; readonly mode: BadMode; readonly durationMs: number }
  | {
      readonly kind: 'origin-status'
      readonly status: 429 | 500 | 503
      readonly retryAfterSeconds: number | null
      readonly durationMs: number
    }
  | { readonly kind: 'origin-cuts'; readonly afterBytes: number; readonly durationMs: number }
  | { readonly kind: 'origin-ignores-range'; readonly durationMs: number }
  | { readonly kind: 'origin-gone'; readonly durationMs: number }
  | { readonly kind: 'origin-silent'; readonly durationMs: number }
  /** Of what is fetched most at that time; `cut`: answers of the old generation are cut off. */
  | { readonly kind: 'origin-changed'; readonly isCut: boolean }

export type FaultKind = Fault['kind']

/** `corrupt`: a bit of each segment is wrong; `stall`: it never answers; `deny`: it has nothing of what it announced. */
export type BadMode = 'corrupt' | 'stall' | 'deny'

export type ChaosEvent = { readonly atMs: number } & (Fault | JobPlan | CrowdPlan)

export interface ChaosPlan extends PlanOptions {
  readonly durationMs: number
  readonly resources: readonly ChaosResource[]
  /** Of each host, in its order; begun again at the end. */
  readonly fetches: readonly (readonly FetchPlan[])[]
  /** In the order of their times. */
  readonly events: readonly ChaosEvent[]
}
