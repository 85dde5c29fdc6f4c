/** Every decoder that a stranger can reach. */
import type { FuzzTarget } from '../kit/target.ts'
import { beaconBookTarget, beaconTarget } from './beacon.ts'
import { controlTarget } from './control.ts'
import { configTarget, indexTarget, unitsTarget } from './files.ts'
import { framesTarget, sentEventsTarget } from './frames.ts'
import { laneAnswerTarget, laneRangeTarget } from './lane-answer.ts'
import { laneServerTarget } from './lane-server.ts'
import { manifestTarget } from './manifest.ts'
import { netrcTarget, originTarget } from './origin.ts'
import { inviteCodeTarget, rosterTarget } from './roster.ts'
import { sessionTarget } from './session.ts'
import { draftTarget, statementTarget } from './statement.ts'
import { wireTarget } from './wire.ts'

export const TARGETS: readonly FuzzTarget[] = [
  beaconTarget,
  beaconBookTarget,
  wireTarget,
  sessionTarget,
  manifestTarget,
  rosterTarget,
  inviteCodeTarget,
  statementTarget,
  draftTarget,
  laneAnswerTarget,
  laneRangeTarget,
  laneServerTarget,
  controlTarget,
  framesTarget,
  sentEventsTarget,
  originTarget,
  netrcTarget,
  configTarget,
  unitsTarget,
  indexTarget,
]
