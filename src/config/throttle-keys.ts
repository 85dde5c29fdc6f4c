/** The keys of `throttle`, a part of the table in schema.ts and under its rules. What they do is told in docs/limits.md. */
import { choice, key, nullable, rate, ratio, text } from './key.ts'
import { windows } from './windows.ts'

/**
 * Looked up in the list first: that takes 2 to 3 ms of each command, a formatter 25 and more (Node 20, a busy 2-core VM,
 * 2026-11-25). The list has no aliases, such as UTC.
 */
function isTimeZone(name: string): boolean {
  if (Intl.supportedValuesOf('timeZone').includes(name)) return true
  try {
    new Intl.DateTimeFormat('en-US', { timeZone: name })
    return true
  } catch {
    return false
  }
}

export const THROTTLE_KEYS = {
  mode: key(choice(['adaptive', 'off']), {
    default: 'adaptive',
    why:
      '`adaptive`: background transfers use what others leave of the line, and give way when somebody wants it. ' +
      '`off`: they take all they can get. Caps, schedule and cost bind in both.',
  }),
  wanMaxBytesPerSec: key(nullable(rate), {
    default: null,
    why:
      'What all transfers of this agent together take from origins, foreground ones too. null: no cap, because ' +
      '`adaptive` yields without knowing the line. 0: nothing.',
  }),
  wanMaxRatio: key(nullable(ratio), {
    default: null,
    why:
      'The same as a share of the line. It binds once the capacity of the line was measured, and then by what was ' +
      'measured last. With `throttle.wanMaxBytesPerSec` the smaller counts.',
  }),
  branchWanMaxBytesPerSec: key(nullable(rate), {
    default: null,
    why:
      'What all agents of the branch together take from origins: each of those that fetch at a moment takes its part. ' +
      'Give it to all of them. null: no cap.',
  }),
  lanMaxBytesPerSec: key(nullable(rate), {
    default: null,
    why:
      'What this agent takes from neighbours. For radio and old switches; caps of the WAN do not bind the LAN. ' +
      'null: no cap. 0: nothing. What it gives is `serve.maxBytesPerSec`.',
  }),
  schedule: key(windows({ isCapOptional: false }), {
    default: [],
    why:
      'Caps by time of the week, such as `mon-fri 08:00-18:00 2MB/s; sat 10:00-12:00 50%`. Where windows overlap the ' +
      'later one rules; past midnight is `22:00-06:00`; `null` is no cap. Outside, and where they are smaller, the ' +
      'other caps bind.',
  }),
  maintenance: key(windows({ isCapOptional: true }), {
    default: [],
    why:
      'When the caps of agent, branch and schedule do not bind, such as `daily 22:00-05:00`; a limit in such a window ' +
      'binds in their place. That of a job stays.',
  }),
  timeZone: key(
    nullable(
      text({
        pattern: /^[A-Za-z][A-Za-z0-9_+/-]{0,63}$/,
        isValid: isTimeZone,
        shape: 'an IANA time zone such as Europe/Berlin',
        range: 'an IANA name',
      }),
    ),
    {
      default: null,
      why: 'Whose clock the windows are meant by. null: that of the system, as it was when the agent started.',
    },
  ),
  cost: key(nullable(choice(['unrestricted', 'capped', 'nearCap', 'overCap', 'roaming'])), {
    default: null,
    why:
      'What the line to the WAN costs, where the system does not know it: `capped` has a quota or is paid by volume. ' +
      'null: ask the system (NetworkManager, Windows); where nobody knows, the line counts as unrestricted.',
  }),
  meteredPolicy: key(choice(['always', 'not-roaming', 'no-surcharge', 'standard', 'unrestricted']), {
    default: 'unrestricted',
    why:
      'Over which lines transfers of normal and low priority go, in the words of BITS: any; all but `roaming`; also ' +
      'not `overCap`; also not `nearCap`; only `unrestricted`. The default costs nobody money unasked. High priority ' +
      'goes as far as `no-surcharge` in any case, foreground always.',
  }),
  onBattery: key(choice(['run', 'pause-low', 'pause']), {
    default: 'pause-low',
    why: 'While the machine runs on its battery: `pause-low` halts transfers of low priority, `pause` all but foreground.',
  }),
} as const
