import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { type ChildAnswer, type RunChild, runChild } from '../../src/throttle/child.ts'
import { parseMetered, readLinuxCost } from '../../src/throttle/host-cost.ts'
import { parsePmset, powerOf, readLinuxPower, readMacPower } from '../../src/throttle/host-power.ts'
import { parseWindows, readWindows } from '../../src/throttle/host-windows.ts'

const never = new AbortController().signal

/** A system on which every program answers so; remembers what was asked. */
function systemOf(answer: ChildAnswer): { run: RunChild; signal: AbortSignal; asked: string[] } {
  const asked: string[] = []
  const run: RunChild = async (command, args) => {
    asked.push([command, ...args].join(' '))
    return answer
  }
  return { run, signal: never, asked }
}

function failed(message: string) {
  return systemOf({ kind: 'failed', message })
}

function done(stdout: string) {
  return systemOf({ kind: 'done', stdout })
}

await t.test('NetworkManager: yes and guessed yes are metered, all else is not', async (t) => {
  const states = [0, 1, 2, 3, 4].map((data) => parseMetered(`{"type":"u","data":${data}}\n`))
  t.same(states, ['unknown', 'capped', 'unrestricted', 'capped', 'unrestricted'])
  for (const text of ['', 'u 4', '{"type":"u","data":5}', '{"type":"s","data":"4"}', 'null', '[4]']) {
    t.equal(parseMetered(text), null, text)
  }
  fc.assert(fc.property(fc.oneof(fc.string(), fc.json()), (text) => parseMetered(text) !== undefined))
})

await t.test('NetworkManager is asked without being started', async (t) => {
  const system = done('{"type":"u","data":3}\n')
  t.same(await readLinuxCost(system), { state: 'capped', failure: null })
  t.match(system.asked, [/^busctl --system --auto-start=no --json=short get-property .* Metered$/])
})

await t.test('a machine without NetworkManager, bus or busctl is unknown, which is no failure', async (t) => {
  // As systemd 252 says it.
  for (const system of [
    systemOf({ kind: 'missing' }),
    failed('Failed to connect to bus: No such file or directory'),
    failed(
      'Failed to get property Metered on interface org.freedesktop.NetworkManager: ' +
        'The name org.freedesktop.NetworkManager was not provided by any .service files',
    ),
  ]) {
    t.same(await readLinuxCost(system), { state: 'unknown', failure: null })
  }
})

await t.test('what cannot be read or understood is a failure and no state', async (t) => {
  t.same(await readLinuxCost(failed('Access denied')), { state: null, failure: 'busctl: Access denied' })
  t.match(await readLinuxCost(done('u 4')), { state: null, failure: /^busctl: u 4, expected/ })
  t.match(await readMacPower(done('')), { state: null, failure: /^pmset: / })
  t.match(await readWindows(failed('no answer in 20000 ms')), { state: null, failure: /^powershell: no answer/ })
  t.match(await readWindows(done('error')), { state: null, failure: /^powershell: error, expected/ })
})

/** A folder like /sys/class/power_supply. */
function supplies(t: Test, folders: Record<string, Record<string, string>>): string {
  const dir = t.testdir()
  for (const [name, files] of Object.entries(folders)) {
    mkdirSync(join(dir, name))
    for (const [file, text] of Object.entries(files)) writeFileSync(join(dir, name, file), `${text}\n`)
  }
  return dir
}

await t.test('Linux power: plugged in, or nothing that discharges, is the mains', async (t) => {
  const of = async (folders: Record<string, Record<string, string>>) =>
    (await readLinuxPower(supplies(t, folders))).state
  const BAT = { type: 'Battery', online: '1', status: 'Discharging' }
  t.equal(await of({}), 'mains', 'a desktop')
  t.equal(await of({ AC: { type: 'Mains', online: '1' }, BAT0: { ...BAT, status: 'Charging' } }), 'mains')
  t.equal(await of({ AC: { type: 'Mains', online: '0' }, BAT0: BAT }), 'battery')
  t.equal(await of({ AC: { type: 'Mains', online: '1' }, BAT0: BAT }), 'mains', 'a charger too weak')
  t.equal(await of({ 'ucsi-source-psy-1': { type: 'USB', online: '1' }, BAT0: BAT }), 'mains')
  t.equal(await of({ BAT0: BAT }), 'battery', 'a tablet without a Mains entry')
  t.equal(await of({ BAT0: { ...BAT, status: 'Unknown' }, BAT1: BAT }), 'battery')
  t.equal(await of({ mouse: { ...BAT, scope: 'Device' } }), 'mains', 'the battery of a mouse')
  t.equal(await of({ broken: {} }), 'mains')
  t.equal(powerOf([]), 'mains')
})

await t.test('Linux power: without sysfs it is unknown, an unreadable one is a failure', async (t) => {
  const dir = t.testdir({ file: '' })
  t.same(await readLinuxPower(join(dir, 'missing')), { state: 'unknown', failure: null })
  t.match(await readLinuxPower(join(dir, 'file')), { state: null, failure: /file: ENOTDIR$/ })
})

await t.test('macOS power is read from pmset', async (t) => {
  const battery =
    "Now drawing from 'Battery Power'\n -InternalBattery-0 (id=1)\t86%; discharging; 4:29 remaining present: true\n"
  const mains = "Now drawing from 'AC Power'\n -InternalBattery-0 (id=1)\t97%; charged; 0:00 remaining present: true\n"
  t.equal(parsePmset(battery), 'battery')
  t.equal(parsePmset(mains), 'mains')
  t.equal(parsePmset("Now drawing from 'AC Power'\n"), 'mains', 'a desktop')
  t.equal(parsePmset("Now drawing from 'UPS Power'\n"), 'battery')
  t.equal(parsePmset('usage: pmset'), null)
  t.same(await readMacPower(done(battery)), { state: 'battery', failure: null })
  t.same(await readMacPower(systemOf({ kind: 'missing' })), { state: 'unknown', failure: null })
})

await t.test('Windows: the dearest that is said of a line counts', async (t) => {
  const of = (fields: object) =>
    parseWindows(
      `${JSON.stringify({ type: 1, isRoaming: false, isOver: false, isNear: false, batteries: [], ...fields })}\r\n`,
    )
  t.same(
    [0, 1, 2, 3, 9].map((type) => of({ type })?.cost),
    ['unknown', 'unrestricted', 'capped', 'capped', 'unknown'],
  )
  t.equal(of({ type: 2, isNear: true })?.cost, 'nearCap')
  t.equal(of({ type: 2, isNear: true, isOver: true })?.cost, 'overCap')
  t.equal(of({ type: 2, isOver: true, isRoaming: true })?.cost, 'roaming')
  const power = [[], [1], [2], [3], [4], [6], [1, 3], [1, 2], [11]].map((batteries) => of({ batteries })?.power)
  t.same(power, ['mains', 'battery', 'mains', 'mains', 'battery', 'mains', 'battery', 'mains', 'mains'])
  for (const text of ['', '5', 'null', '{"type":1}', '{"type":"1","batteries":[]}']) t.equal(parseWindows(text), null)
  const system = done('{"type":2,"batteries":[1]}')
  t.same(await readWindows(system), { state: { cost: 'capped', power: 'battery' }, failure: null })
  t.notMatch(system.asked[0], '"', 'nothing that a command line of Windows would change')
  fc.assert(fc.property(fc.json(), (json) => parseWindows(json) !== undefined))
})

await t.test('a child is asked, and its failures are told apart', async (t) => {
  const run = (script: string, options: { signal?: AbortSignal; deadlineMs?: number } = {}) =>
    runChild(process.execPath, ['-e', script], { signal: never, deadlineMs: 60_000, ...options })
  t.same(await run('process.stdin.resume(); process.stdin.on("end", () => console.log("said"))'), {
    kind: 'done',
    stdout: 'said\n',
  })
  t.same(await runChild('no-such-program-here', [], { signal: never, deadlineMs: 1000 }), { kind: 'missing' })
  const notToRun = join(t.testdir({ program: '#!/bin/sh\n' }), 'program')
  t.same(await runChild(notToRun, [], { signal: never, deadlineMs: 1000 }), { kind: 'missing' }, 'nor may it be run')
  t.same(await run('console.error("broken"); process.exit(3)'), { kind: 'failed', message: 'broken' })
  t.match(await run('console.error("x".repeat(5000)); process.exit(1)'), { message: /^x{300}$/ })
  t.same(await run('setInterval(() => {}, 1e6)', { deadlineMs: 50 }), { kind: 'failed', message: 'no answer in 50 ms' })
  t.match(await run('process.stdout.write("x".repeat(1e6))'), { kind: 'failed' })
  t.same(await run('', { signal: AbortSignal.abort() }), { kind: 'failed', message: 'aborted' })
  const abort = new AbortController()
  const running = run('setInterval(() => {}, 1e6)', { signal: abort.signal })
  abort.abort()
  t.same(await running, { kind: 'failed', message: 'aborted' })
})
