/** An agent in a process of its own, to be killed: `agent-child.ts SECRET_HEX STATIC_PEER`. Prints its key. */

import crypto from 'hypercore-crypto'
import { systemClock, systemRandom } from '../../src/clock.ts'
import { deriveBranchKeys } from '../../src/peers/branch-keys.ts'
import { Network } from '../../src/peers/network.ts'
import { options, silent } from './branch-fixture.ts'

const [secret = '', peer = ''] = process.argv.slice(2)
const network = await Network.open(
  {
    clock: systemClock,
    random: systemRandom,
    log: silent,
    keyPair: crypto.keyPair(),
    keys: deriveBranchKeys(Buffer.from(secret, 'hex')),
  },
  options({ beacon: false, staticPeers: [peer], hostName: 'child' }),
)
process.stdout.write(`${network.key}\n`)
