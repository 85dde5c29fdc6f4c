/** The fields of a `wan` message: what an agent says of its part in the branch's WAN. Fixed length. */
import { PRIORITIES } from '../throttle/priority.ts'
import { PHASES } from '../throttle/wan-sample.ts'
import type { WanReport } from '../throttle/wan-shares.ts'
import { type FrameReader, type FrameWriter, protocolError } from './frame-bytes.ts'

/** priority u8 | flags u8 | phase u8 | read, arrived, law's rate, capacity: u64 each, bytes per second. */
export const WAN_REPORT_BYTES = 3 + 4 * 8

const NO_PRIORITY = 255
const IS_LIMITED = 1
const IS_USER_HERE = 2
const HAS_CAPACITY = 4

export function writeWanReport(writer: FrameWriter, report: WanReport): void {
  const { priority, isLimited, isUserHere, law } = report
  writer.u8(priority === null ? NO_PRIORITY : PRIORITIES.indexOf(priority))
  const hasCapacity = law.capacityBytesPerSec !== null
  writer.u8((isLimited ? IS_LIMITED : 0) | (isUserHere ? IS_USER_HERE : 0) | (hasCapacity ? HAS_CAPACITY : 0))
  writer.u8(PHASES.indexOf(law.phase))
  for (const rate of [
    report.readBytesPerSec,
    report.arrivedBytesPerSec,
    law.bytesPerSec,
    law.capacityBytesPerSec ?? 0,
  ]) {
    writer.u53(Math.round(Math.max(0, Math.min(rate, Number.MAX_SAFE_INTEGER))))
  }
}

export function readWanReport(reader: FrameReader): WanReport {
  const priorityCode = reader.u8()
  const priority = PRIORITIES[priorityCode] ?? null
  if (priority === null && priorityCode !== NO_PRIORITY) throw protocolError(`priority ${priorityCode}`)
  const flags = reader.u8()
  if (flags > 7) throw protocolError(`wan flags ${flags}`)
  const phaseCode = reader.u8()
  const phase = PHASES[phaseCode]
  if (phase === undefined) throw protocolError(`phase ${phaseCode}`)
  const readBytesPerSec = reader.u53()
  const arrivedBytesPerSec = reader.u53()
  const bytesPerSec = reader.u53()
  const capacityBytesPerSec = reader.u53()
  const hasCapacity = (flags & HAS_CAPACITY) !== 0
  if (!hasCapacity && capacityBytesPerSec !== 0) throw protocolError('a capacity that is not there')
  return {
    priority,
    readBytesPerSec,
    arrivedBytesPerSec,
    isLimited: (flags & IS_LIMITED) !== 0,
    isUserHere: (flags & IS_USER_HERE) !== 0,
    law: { phase, bytesPerSec, capacityBytesPerSec: hasCapacity ? capacityBytesPerSec : null },
  }
}
