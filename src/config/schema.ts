/**
 * Every configuration key, and the only home of its default. docs/config.md and config/shorthaul.example.yaml are
 * generated from this table (`npm run docs`), and a test fails when they drift.
 *
 * Style: 0 means zero, off is null; the unit is in the name unless the value carries it. A key stands here only when
 * something obeys it.
 */
import { isIPv4 } from 'node:net'
import { JOBS_KEYS } from './jobs-keys.ts'
import {
  bytes,
  type ConfigKey,
  choice,
  count,
  days,
  durationMs,
  flag,
  key,
  list,
  nullable,
  path,
  rate,
  text,
} from './key.ts'
import { THROTTLE_KEYS } from './throttle-keys.ts'

const KiB = 2 ** 10
const GiB = 2 ** 30
const TiB = 2 ** 40

/** Where a daemon of the system keeps its data; an ordinary user's is in `dataDir` below. */
export const SYSTEM_DATA_DIR = '/var/lib/shorthaul'

const PORT = { min: 0, max: 65_535 }
const TIMEOUT_MS = { min: 100, max: 3_600_000 }

/** The port of HOST:PORT, where there is one, can be connected to. */
function hasPort(value: string): boolean {
  const port = Number(value.split(':')[1] ?? 1)
  return port >= 1 && port <= 65_535
}

function isPrefix(value: string): boolean {
  const [address = '', length = '32'] = value.split('/')
  return isIPv4(address) && Number(length) <= 32
}

export const KEYS = {
  dataDir: key(path, {
    default: '~/.local/share/shorthaul',
    why:
      'Cache, drafts, jobs and the identity of this agent. One process owns it; two agents on one machine need two. ' +
      `\`$XDG_DATA_HOME/shorthaul\` where that is set; \`${SYSTEM_DATA_DIR}\` for root and under the systemd unit. ` +
      'Must be on a local disk: the index is not safe on a network file system.',
  }),
  branch: {
    name: key(
      text({
        pattern: /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/,
        shape: 'a name of 1 to 63 letters, digits, dots, dashes and underscores',
        range: '1 to 63 letters, digits, `.`, `-`, `_`',
      }),
      {
        default: 'default',
        why: 'What people call this branch, in status and logs. The secret, not the name, decides who belongs to it.',
      },
    ),
    secretFile: key(nullable(path), {
      default: null,
      why:
        'The branch secret: 32 random bytes in base64, the same file on every machine of the branch, readable by ' +
        'nobody else. `shorthaul branch init` makes one. null: a per-user secret is made in the data directory, ' +
        'so that agents of other users and machines are strangers.',
    }),
    adminFile: key(nullable(path), {
      default: null,
      why:
        'The key of the administrator, on one machine of a branch with a signed roster: its agent invites, admits and ' +
        'revokes. `shorthaul branch init --roster` makes it, beside the secret.',
    }),
    roster: key(
      nullable(
        list({
          pattern: /^[0-9a-f]{64}$/,
          shape: 'the public key of an agent, 64 lower-case hex digits',
          range: 'public keys, 64 hex digits each',
          maxCount: 10_000,
        }),
      ),
      {
        default: null,
        why:
          'The agents that may belong to the branch, besides knowing its secret: a list that is kept by hand on each ' +
          'machine, beside or instead of the signed roster (docs/roster.md). null: all. An empty list admits nobody.',
      },
    ),
  },
  network: {
    interface: key(
      nullable(
        text({
          pattern: /^[^\s/]{1,64}$/,
          shape: 'a network interface such as eth0, or an IPv4 address of this machine',
          range: 'a name, or an IPv4 address of this machine',
        }),
      ),
      {
        default: null,
        why:
          'The interface to meet peers on. null: the first with an IPv4 address that is not a tunnel or a container ' +
          'bridge, because those lead elsewhere.',
      },
    ),
    dhtPort: key(count({ min: 0, max: 65_534 }), {
      default: 17_736,
      why:
        'UDP; this port and the next one are used. Below the ephemeral ports of every system, so that nothing takes ' +
        'it by chance; fixed, so that a firewall can open it. 0: any free port.',
    }),
    lanePort: key(count(PORT), {
      default: 17_738,
      why: 'TCP; peers fetch segments here. Fixed for the same reasons as `network.dhtPort`. 0: any free port.',
    }),
    beaconPort: key(count({ ...PORT, min: 1 }), {
      default: 17_739,
      why:
        'UDP multicast; the same on all machines of the branch, and shared by all agents on one machine. Never 0, ' +
        'because everybody must know it beforehand.',
    }),
    beacon: key(flag, {
      default: true,
      why: 'Announce this agent by multicast (TTL 1), and hear others. Off: only `network.peers` are found.',
    }),
    peers: key(
      list({
        pattern: /^[A-Za-z0-9][A-Za-z0-9._-]{0,252}(?::[0-9]{1,5})?$/,
        isValid: hasPort,
        shape: 'HOST or HOST:PORT, such as 192.0.2.10:17736',
        range: '`HOST` or `HOST:PORT`',
        maxCount: 256,
      }),
      {
        default: [],
        why:
          'Agents to know from the start, by name or IPv4 address and their `network.dhtPort` (17736 when left out): ' +
          'for networks that drop multicast.',
      },
    ),
    localPrefixes: key(
      list({
        pattern: /^[0-9.]{7,15}(?:\/[0-9]{1,2})?$/,
        isValid: isPrefix,
        shape: 'an IPv4 prefix such as 192.0.2.0/24, or an address',
        range: '`IPv4/LENGTH` or `IPv4`',
        maxCount: 256,
      }),
      {
        default: [],
        why:
          'Networks that count as near, besides that of the interface: for a site with several subnets. ' +
          'A peer that is not near gets no bulk.',
      },
    ),
    maxPeerRttMs: key(durationMs({ min: 0, max: 1000 }), {
      default: 10,
      why:
        'A peer outside every local prefix still counts as near when its measured round trip is at most this. A LAN ' +
        'answers in 1 ms, busy Wi-Fi in a few, another town in more than 10. 0: by prefix only.',
    }),
  },
  cache: {
    maxBytes: key(bytes({ min: 0, max: 1024 * TiB }), {
      default: 20 * GiB,
      why:
        'Segments kept for later and for neighbours; the least recently used go first. 20 GiB holds a few system ' +
        'images and is a small part of any disk of today. 0: nothing is kept; deliveries still work.',
    }),
    minFreeBytes: key(bytes({ min: 0, max: 1024 * TiB }), {
      default: 2 * GiB,
      why: 'Free space on the disk of the data directory that the cache never eats into; it shrinks to keep it free.',
    }),
    maxAgeDays: key(nullable(days({ min: 0, max: 36_500 })), {
      default: 90,
      why:
        'Segments that nobody used for so long are removed. 90 days is what BITS calls inactive. 0: at once; ' +
        'null: never.',
    }),
  },
  transfer: {
    minClaimBytes: key(bytes({ min: 0, max: TiB }), {
      default: 256 * KiB,
      why:
        'Smaller content is fetched at once, without asking the branch who fetches it: coordinating would take longer ' +
        'than the bytes.',
    }),
    originConnections: key(count({ min: 1, max: 64 }), {
      default: 4,
      why:
        'Requests that this agent has open at the origin for one content at one time. Four fill most lines, also ' +
        'where the origin limits each connection.',
    }),
  },
  origin: {
    caFile: key(nullable(path), {
      default: null,
      why: 'PEM certificates to trust besides those of Node.js: for an origin with a private CA.',
    }),
    clientCertFile: key(nullable(path), {
      default: null,
      why:
        'PEM client certificate for origins that ask for one. What is fetched with it is private to this machine. ' +
        'Needs `origin.clientKeyFile`.',
    }),
    clientKeyFile: key(nullable(path), { default: null, why: 'PEM private key of `origin.clientCertFile`.' }),
    netrcFile: key(nullable(path), {
      default: null,
      why:
        'User names and passwords by host, in the format of `.netrc`. What is fetched with them is private. null: ' +
        '`$NETRC` or `~/.netrc`, where there is one.',
    }),
    connectTimeoutMs: key(durationMs(TIMEOUT_MS), {
      default: 10_000,
      why: 'Until TCP and TLS stand. Three tries of TCP on a lossy line take 7 s.',
    }),
    headersTimeoutMs: key(durationMs(TIMEOUT_MS), {
      default: 30_000,
      why: 'Until the response begins. Origins that build their answer first need seconds, not minutes.',
    }),
    idleTimeoutMs: key(durationMs(TIMEOUT_MS), {
      default: 60_000,
      why: 'Without one byte of the body while we are ready to read. Our own pauses do not count.',
    }),
    maxRedirects: key(count({ min: 0, max: 50 }), {
      default: 10,
      why: 'More is a loop in practice. 0: none is followed.',
    }),
  },
  trust: {
    attested: key(choice(['accept', 'spot-check', 'refuse']), {
      default: 'spot-check',
      why:
        'Hashes that only a member of the branch vouches for: it signed that it fetched the range from the origin. ' +
        '`spot-check`: of some of them a few KiB are compared with the origin, which costs a branch less than a hundredth ' +
        'of what it fetches, and who signed something else is put in quarantine. `refuse`: such segments come from the ' +
        'origin, unless a digest that the user or the origin gave covers them.',
    }),
  },
  serve: {
    enabled: key(flag, { default: true, why: 'Give segments to peers. Off: this agent takes and does not give.' }),
    maxUploads: key(count({ min: 0, max: 1024 }), {
      default: 8,
      why:
        'Segments being sent to peers at one time; more are told to come back. Finishing a few beats starving all. ' +
        '0: none.',
    }),
    maxBytesPerSec: key(nullable(rate), {
      default: null,
      why: 'What is sent to all peers together. null: no cap, because on a wired LAN nobody else needs it. 0: nothing.',
    }),
  },
  throttle: THROTTLE_KEYS,
  jobs: JOBS_KEYS,
  control: {
    socket: key(nullable(path), {
      default: null,
      why:
        'Unix socket (named pipe on Windows) where commands reach the daemon, besides `control.sock` in the data ' +
        'directory. null: `/run/shorthaul/control.sock` for root and under the systemd unit, where every local user ' +
        'may connect; else `$XDG_RUNTIME_DIR/shorthaul/control.sock`. At most 103 bytes.',
    }),
    http: key(
      nullable(
        text({
          pattern: /^(?:[A-Za-z0-9][A-Za-z0-9._-]{0,252}|\[[0-9A-Fa-f:.]{2,45}\]):[0-9]{1,5}$/,
          isValid: (value) => Number(value.slice(value.lastIndexOf(':') + 1)) <= 65_535,
          shape: 'HOST:PORT, such as 127.0.0.1:17740 or [::1]:17740',
          range: '`HOST:PORT`',
        }),
      ),
      {
        default: null,
        why:
          'Serve the control API over TCP too, for programs that cannot use a unix socket; port 0: any free one. ' +
          'Whoever has the token of `control.tokenFile` may do everything. It is not encrypted: 127.0.0.1 or [::1], ' +
          'unless something before it encrypts. null: sockets only.',
      },
    ),
    tokenFile: key(nullable(path), {
      default: null,
      why:
        'The token for `control.http`, one line; made, mode 0600, when it is missing. null: `control.token` in the data ' +
        'directory.',
    }),
  },
  log: {
    level: key(choice(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']), {
      default: 'info',
      why:
        'What is written to stderr: `info` has lifecycle and jobs, `debug` every segment, `trace` every message. ' +
        'URLs are logged without query and user info, secrets never.',
    }),
  },
} as const

type ValueOf<K> = K extends ConfigKey<infer T> ? T : never
type SectionName = {
  [S in keyof typeof KEYS]: (typeof KEYS)[S] extends ConfigKey<infer _> ? never : S
}[keyof typeof KEYS]

/** The whole configuration, checked, every key present; paths are absolute. Frozen. */
export type Config = {
  readonly [S in keyof typeof KEYS]: S extends SectionName
    ? { readonly [K in keyof (typeof KEYS)[S]]: ValueOf<(typeof KEYS)[S][K]> }
    : ValueOf<(typeof KEYS)[S]>
}
