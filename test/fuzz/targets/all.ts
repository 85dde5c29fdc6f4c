/** Every decoder that a stranger can reach. */
import type { FuzzTarget } from '../kit/target.ts'
import { beaconBookTarget, beaconTarget } from './beacon.ts'
import { sessionTarget } from './session.ts'
import { wireTarget } from './wire.ts'

export const TARGETS: readonly FuzzTarget[] = [beaconTarget, beaconBookTarget, wireTarget, sessionTarget]
