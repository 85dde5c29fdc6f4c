import t from 'tap'
import { type CostState, type GateSettings, gate, type PowerState } from '../../src/throttle/cost.ts'
import type { Priority } from '../../src/throttle/priority.ts'

const DEFAULTS: GateSettings = { cost: null, meteredPolicy: 'unrestricted', onBattery: 'pause-low' }
const COSTS: readonly CostState[] = ['unknown', 'unrestricted', 'capped', 'nearCap', 'overCap', 'roaming']
const PRIORITIES: readonly Priority[] = ['foreground', 'high', 'normal', 'low']

/** For each priority the code that halts it, `-` for none. */
function codes(cost: CostState, settings: Partial<GateSettings> = {}, power: PowerState = 'mains'): string {
  return PRIORITIES.map((priority) => {
    const { isAllowed, reason } = gate({ cost, power, priority, settings: { ...DEFAULTS, ...settings } })
    if (isAllowed !== (reason === null)) throw new Error('a reason goes with a halt, and only with one')
    return reason?.code ?? '-'
  }).join(' ')
}

await t.test('by default a metered line is for foreground and high, a dear one for foreground only', async (t) => {
  t.same(
    COSTS.map((cost) => codes(cost)),
    [
      '- - - -',
      '- - - -',
      '- - metered metered',
      '- - near-cap near-cap',
      '- over-cap over-cap over-cap',
      '- roaming roaming roaming',
    ],
  )
})

await t.test('the policy moves normal and low, and high only further', async (t) => {
  const halted = (meteredPolicy: GateSettings['meteredPolicy']) =>
    COSTS.map(
      (cost) =>
        codes(cost, { meteredPolicy })
          .split(' ')
          .filter((code) => code !== '-').length,
    ).join('')
  t.equal(halted('unrestricted'), '002233')
  t.equal(halted('standard'), '000233')
  t.equal(halted('no-surcharge'), '000033')
  t.equal(halted('not-roaming'), '000003')
  t.equal(halted('always'), '000000')
})

await t.test('what the user says of the line counts, not the system', async (t) => {
  t.equal(codes('roaming', { cost: 'unrestricted' }), '- - - -')
  t.equal(codes('unknown', { cost: 'roaming' }), '- roaming roaming roaming')
})

await t.test(
  'on battery low priority waits, or all but foreground, or nobody; an unknown supply is the mains',
  async (t) => {
    t.equal(codes('unrestricted', {}, 'battery'), '- - - battery')
    t.equal(codes('unrestricted', { onBattery: 'pause' }, 'battery'), '- battery battery battery')
    t.equal(codes('unrestricted', { onBattery: 'run' }, 'battery'), '- - - -')
    t.equal(codes('unrestricted', { onBattery: 'pause' }, 'unknown'), '- - - -')
    t.equal(codes('capped', { onBattery: 'pause' }, 'battery'), '- battery metered metered', 'cost is told first')
  },
)

await t.test('people are told why', async (t) => {
  const { reason } = gate({ cost: 'capped', power: 'mains', priority: 'low', settings: DEFAULTS })
  t.same(reason, { code: 'metered', text: 'a metered line' })
})
