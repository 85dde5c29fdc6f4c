/** `shorthaul branch`: make and rotate the secret that agents of one branch share, and compare machines without showing it. */
import { access } from 'node:fs/promises'
import { dirname, isAbsolute, join, resolve } from 'node:path'
import crypto from 'hypercore-crypto'
import { systemClock } from '../clock.ts'
import { currentUser, type LoadedConfig } from '../config/load.ts'
import {
  addRosterKey,
  type BranchSecret,
  createSecret,
  ensureAdminSeed,
  ensureIdentitySeed,
  readSecret,
  rotateSecret,
} from '../config/secret.ts'
import { parseDuration } from '../config/units.ts'
import { type AgentKey, idFromBytes } from '../content/ids.ts'
import { ShorthaulError, systemCode } from '../errors.ts'
import { deriveBranchKeys } from '../peers/branch-keys.ts'
import { type GlobalOptions, loadCliConfig } from './context.ts'
import { createOutput, formatTable, type Output } from './output.ts'

const FILE_NAME = 'branch.secret'
const ADMIN_FILE_NAME = 'branch.admin'
const FINGERPRINT_BYTES = 8
const DEFAULT_WINDOW = '7d'
const MAX_WINDOW_MS = 90 * 24 * 3600 * 1000

export interface InitOptions extends GlobalOptions {
  readonly out?: string
  readonly roster?: boolean
}

export async function initVerb(options: InitOptions): Promise<void> {
  const output = createOutput({ isJson: options.json === true })
  const loaded = await loadCliConfig(options)
  const path = options.out === undefined ? defaultSecretPath(loaded) : resolve(options.out)
  if (options.roster === true) {
    await initRoster(path, { loaded, output })
    return
  }
  const created = await createSecret(path)
  const fingerprint = fingerprintOf(created)
  output.json({ event: 'branch-init', path, fingerprint })
  output.text(nextSteps({ path, fingerprint, isConfigured: loaded.config.branch.secretFile === path }))
}

/** A branch that goes by a roster: a new one, or one that had none. */
async function initRoster(path: string, { loaded, output }: { loaded: LoadedConfig; output: Output }): Promise<void> {
  const old = (await exists(path)) ? await readSecret(path) : null
  if (old !== null && old.rosterKey !== null) {
    throw new ShorthaulError(
      'SHORTHAUL_TARGET_UNWRITABLE',
      `Cannot make a roster: the branch of "${path}" has one already, expected none`,
      { details: { path } },
    )
  }
  const admin = await ensureAdminSeed(join(dirname(path), ADMIN_FILE_NAME))
  const rosterKey = crypto.keyPair(admin.seed).publicKey
  const made = old === null ? await createSecret(path, rosterKey) : await addRosterKey(old, rosterKey)
  const fingerprint = fingerprintOf(made)
  output.json({ event: 'branch-init', path, fingerprint, adminFile: admin.path })
  const { branch } = loaded.config
  const isConfigured = branch.secretFile === path && branch.adminFile === admin.path
  output.text(
    [
      old === null ? `Wrote the branch secret to ${path}` : `The branch of ${path} goes by a roster from now`,
      `Wrote the administrator's key to ${admin.path}`,
      `Fingerprint: ${fingerprint}`,
      '',
      'What to do next:',
      ...(isConfigured
        ? ['  1. The configuration of this machine names both already.']
        : [
            '  1. Name both in the configuration of this machine, and of no other:',
            '       branch:',
            `         secretFile: ${path}`,
            `         adminFile: ${admin.path}`,
          ]),
      '  2. Restart the agent here. It is the first on the roster.',
      '  3. For each other machine: `shorthaul branch invite NAME` here, and `shorthaul branch join CODE` there.',
      ...(old === null
        ? []
        : ['     Those that have the secret already are let in again only by that, or `shorthaul branch admit`.']),
      `  4. Keep a copy of ${admin.path} in a safe place: without it nobody can be invited or shut out.`,
    ].join('\n'),
  )
}

/** Where the secret of the branch is, or would be made. */
export function defaultSecretPath({ config, file }: LoadedConfig): string {
  if (config.branch.secretFile !== null) return config.branch.secretFile
  if (file !== null) return join(dirname(file), FILE_NAME)
  const { homeDir, isRoot } = currentUser()
  if (isRoot) return join('/etc/shorthaul', FILE_NAME)
  const base = process.env.XDG_CONFIG_HOME ?? ''
  return join(isAbsolute(base) ? base : join(homeDir, '.config'), 'shorthaul', FILE_NAME)
}

function nextSteps(made: { path: string; fingerprint: string; isConfigured: boolean }): string {
  const { path, fingerprint, isConfigured } = made
  const setting = isConfigured
    ? ['  2. The configuration names this file already; the other machines need it in branch.secretFile too.']
    : ['  2. Name it in the configuration of each machine:', '       branch:', `         secretFile: ${path}`]
  return [
    `Wrote the branch secret to ${path}`,
    `Fingerprint: ${fingerprint}`,
    '',
    'What to do next:',
    '  1. Copy the file to the other machines of the branch over a safe channel (scp, your configuration management;',
    '     not mail, not chat): whoever has it belongs to the branch. Only the user that runs the agent may read it.',
    ...setting,
    '  3. Restart the agents. `shorthaul branch show` prints the same fingerprint on every machine.',
  ].join('\n')
}

export interface RotateOptions extends GlobalOptions {
  readonly window?: string
}

export async function rotateVerb(options: RotateOptions): Promise<void> {
  const output = createOutput({ isJson: options.json === true })
  const windowMs = parseDuration(options.window ?? DEFAULT_WINDOW)
  if (windowMs > MAX_WINDOW_MS) {
    throw new ShorthaulError(
      'SHORTHAUL_USAGE',
      `Cannot rotate the branch secret with a window of ${options.window}: expected at most 90d`,
    )
  }
  const { config } = await loadCliConfig(options)
  const path = config.branch.secretFile ?? join(config.dataDir, FILE_NAME)
  const old = await readSecret(path)
  const { wireKey } = deriveBranchKeys(old.secret, old)
  const made = await rotateSecret(old, { nowMs: systemClock.nowMs(), windowMs, wireKey })
  const [fingerprint, previousFingerprint] = [fingerprintOf(made), fingerprintOf(old)]
  const validUntil = made.previous === null ? null : new Date(made.previous.validUntilMs).toISOString()
  output.json({ event: 'branch-rotate', path, fingerprint, previousFingerprint, previousValidUntil: validUntil })
  output.text(
    [
      `Wrote a new branch secret to ${path}`,
      `Fingerprint: ${fingerprint}, before ${previousFingerprint}`,
      validUntil === null
        ? 'The secret before is worth nothing from now: agents that have only that one are strangers.'
        : `The secret before is good until ${validUntil}.`,
      '',
      'What to do next:',
      `  1. Copy the file to the other machines of the branch${validUntil === null ? '' : ' before then'}, in any order.`,
      '  2. Agents notice it within about a minute, at once on SIGHUP (`systemctl reload shorthaul`); none is restarted.',
    ].join('\n'),
  )
  if (old.warning !== null) output.remark(`shorthaul: the file before was readable by other users; this one is not`)
}

export async function showVerb(options: GlobalOptions): Promise<void> {
  const output = createOutput({ isJson: options.json === true })
  const { config } = await loadCliConfig(options)
  const { name, roster } = config.branch
  const found = await findSecret(config)
  const key = await ownKey(config.dataDir)
  const fingerprint = found.secret ? fingerprintOf(found.secret) : null
  const previous = found.secret ? previousOf(found.secret) : null
  const isOnRoster = roster === null ? null : key !== null && roster.includes(key)
  output.json({
    event: 'branch',
    name,
    secretFile: found.path,
    isShared: config.branch.secretFile !== null,
    fingerprint,
    previousFingerprint: previous?.fingerprint ?? null,
    previousValidUntil: previous?.validUntil ?? null,
    key,
    hasSignedRoster: found.secret === null ? null : found.secret.rosterKey !== null,
    rosterSize: roster?.length ?? null,
    isOnRoster,
  })
  const kind =
    config.branch.secretFile === null ? ' (of this user alone; `shorthaul branch init` makes one to share)' : ''
  output.text(
    formatTable([
      ['branch', name],
      ['secret', `${found.path}${kind}`],
      ['fingerprint', fingerprint ?? 'none yet: the secret is made when an agent starts'],
      ...(previous === null ? [] : [['before', `${previous.fingerprint}, good until ${previous.validUntil}`] as const]),
      ['agent key', key ?? 'none yet: it is made when an agent starts'],
      ...(found.secret?.rosterKey
        ? [['roster', 'signed by the administrator; `shorthaul branch members` lists it'] as const]
        : []),
      ...(roster !== null || !found.secret?.rosterKey
        ? [[found.secret?.rosterKey ? 'and here' : 'roster', formatRoster(roster, isOnRoster)] as const]
        : []),
    ]),
  )
  if (found.secret?.warning) output.remark(`shorthaul: ${found.secret.warning}`)
}

function formatRoster(roster: readonly string[] | null, isOnRoster: boolean | null): string {
  if (roster === null) return 'none: whoever has the secret belongs to the branch'
  return `${roster.length} ${roster.length === 1 ? 'key' : 'keys'}; this agent is ${isOnRoster ? '' : 'NOT '}on it`
}

/**
 * The secret in use. That of a single user is null before an agent made it: looking makes nothing, because whoever looks
 * may be another user than the one that runs the agent.
 * @throws SHORTHAUL_SECRET_INVALID
 */
export async function findSecret(
  config: LoadedConfig['config'],
): Promise<{ readonly path: string; readonly secret: BranchSecret | null }> {
  const { secretFile } = config.branch
  const path = secretFile ?? join(config.dataDir, FILE_NAME)
  if (secretFile === null && !(await exists(path))) return { path, secret: null }
  return { path, secret: await readSecret(path) }
}

/** The secret before a rotation while it is good, else null. */
function previousOf({ previous }: BranchSecret): { readonly fingerprint: string; readonly validUntil: string } | null {
  if (previous === null || previous.validUntilMs <= systemClock.nowMs()) return null
  return { fingerprint: fingerprintOf(previous), validUntil: new Date(previous.validUntilMs).toISOString() }
}

/** Of the topic, which is public on the LAN anyway and a one-way image of the secret: it tells nothing. */
export function fingerprintOf({ secret }: Pick<BranchSecret, 'secret'>): string {
  return deriveBranchKeys(secret).topic.subarray(0, FINGERPRINT_BYTES).toString('hex')
}

async function ownKey(dataDir: string): Promise<AgentKey | null> {
  if (!(await exists(join(dataDir, 'identity.seed')))) return null
  const { seed } = await ensureIdentitySeed(dataDir)
  return idFromBytes<AgentKey>(crypto.keyPair(seed).publicKey)
}

/** False only when it is surely not there: what may not be looked at fails where it is read, with a reason. */
async function exists(path: string): Promise<boolean> {
  try {
    await access(path)
    return true
  } catch (error) {
    const system = systemCode(error)
    return system !== 'ENOENT' && system !== 'ENOTDIR'
  }
}
