/** `shorthaul throttle watch`: what the governors do, twice a second, until Ctrl-C. */
import type { AgentStatus } from '../agent/views.ts'
import { systemClock } from '../clock.ts'
import { readStatus, remarkVersion, withAgent } from './agent-view.ts'
import { type GlobalOptions, loadCliConfig } from './context.ts'
import { createOutput, interruptSignal } from './output.ts'
import { drawThrottle, throttleRows, type WanMoment } from './throttle-view.ts'

const INTERVAL_MS = 500
const MAX_HISTORY = 600
const DEFAULT_COLUMNS = 80
const HIDE_CURSOR = '\u001b[?25l'
const SHOW_CURSOR = '\u001b[?25h'

export async function watchVerb(options: GlobalOptions): Promise<void> {
  const output = createOutput({ isJson: options.json === true })
  const { config } = await loadCliConfig(options)
  const signal = interruptSignal()
  const screen = process.stdout
  const isDrawn = screen.isTTY === true && !output.isJson
  const history: WanMoment[] = []
  let drawnLines = 0
  const show = ({ throttle }: AgentStatus) => {
    output.json({ event: 'throttle', atMs: systemClock.nowMs(), ...throttle })
    if (!isDrawn) {
      // Into a file or a pipe: a line for each moment.
      const rows = throttleRows(throttle).map(([, text]) => text)
      output.text(`${new Date(systemClock.nowMs()).toISOString().slice(11, 19)}  ${rows.join('; ')}`)
      return
    }
    const { readBytesPerSec, foregroundBytesPerSec, queueMs } = throttle.wan
    history.push({ readBytesPerSec, foregroundBytesPerSec: foregroundBytesPerSec ?? 0, queueMs: queueMs ?? 0 })
    if (history.length > MAX_HISTORY) history.shift()
    const lines = drawThrottle(throttle, history, (screen.columns || DEFAULT_COLUMNS) - 1)
    const up = drawnLines > 0 ? `\u001b[${drawnLines}A` : ''
    screen.write(`${up}\r\u001b[J${lines.join('\n')}\n`)
    drawnLines = lines.length
  }
  await withAgent(options, config, async (client) => {
    if (isDrawn) screen.write(HIDE_CURSOR)
    try {
      let isFirst = true
      while (!signal.aborted) {
        const status = await readStatus(client)
        if (isFirst) remarkVersion(status, output)
        isFirst = false
        show(status)
        // Ctrl-C is how it ends, and no failure.
        await systemClock.sleep(INTERVAL_MS, { signal }).catch(() => {})
      }
    } finally {
      if (isDrawn) screen.write(SHOW_CURSOR)
    }
  })
}
