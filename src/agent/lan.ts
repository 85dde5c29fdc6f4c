/** Builds the governor of the LAN from the configuration. A part of the composition root. */
import type { Logger } from 'pino'
import type { Clock } from '../clock.ts'
import type { Config } from '../config/schema.ts'
import { SEGMENT_BYTES } from '../content/segmentation.ts'
import { lanCap, serveCap } from '../throttle/caps.ts'
import type { HostMeter } from '../throttle/host-meter.ts'
import { LanGovernor } from '../throttle/lan-governor.ts'

/** The caller closes it. */
export function openLan(
  components: {
    readonly clock: Clock
    readonly log: Logger
    readonly host: HostMeter
    readonly uploadCount: () => number
    readonly fetchCount: () => number
  },
  config: Config,
): LanGovernor {
  const { clock, log, host, uploadCount, fetchCount } = components
  const { throttle, serve } = config
  return new LanGovernor(
    { clock, log, host: throttle.mode === 'off' ? null : host, uploadCount, fetchCount },
    {
      serveCap: serveCap(serve.maxBytesPerSec),
      fetchCap: lanCap(throttle.lanMaxBytesPerSec),
      segmentBytes: SEGMENT_BYTES,
    },
  )
}
