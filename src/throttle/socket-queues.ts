/**
 * Bytes of our connections that are in the kernel: received and not read yet, or written and not acknowledged yet. They
 * are on the wire's side of the network card's counters and on the other side of ours; forgotten, our own buffering looks
 * like somebody else's traffic, and a governor yields to itself.
 *
 * Linux only: /proc/net/tcp and tcp6. One reading takes 2-5 ms of a processor however few connections there are, because
 * the kernel walks its whole hash table (2-core VM, 2026-11-25): ask seldom. Not asynchronous, although the event loop
 * stands still meanwhile: what is written between the reading and the taking of our own totals, up to some MB when uploads
 * start, would be taken for somebody else's (40 Mbit/s were seen).
 */
import { closeSync, openSync, readSync } from 'node:fs'
import { connectionKey, type OwnConnections } from './own-traffic.ts'

export interface QueueTotals {
  readonly receiveQueueBytes: number
  /** Of one connection to an origin, the most. */
  readonly largestWanReceiveQueueBytes: number
  readonly sendQueueBytes: number
}

/** About 10,000 connections. A larger table is not read to its end: it says nothing, and would cost too much. */
const MAX_TABLE_BYTES = 1_600_000
/** The kernel gives a page at a time. */
const BLOCK_BYTES = 4096
const LINE_FEED = 10
const COLON = 58
const ZERO_QUEUES: QueueTotals = { receiveQueueBytes: 0, largestWanReceiveQueueBytes: 0, sendQueueBytes: 0 }

/** @returns null where it cannot be told: not Linux, no /proc, or too many connections on this machine */
export function readSocketQueues(
  connections: OwnConnections,
  options: { readonly directory?: string } = {},
): QueueTotals | null {
  const { directory = '/proc/net' } = options
  if (connections.keys.size === 0) return ZERO_QUEUES
  const table = readTable(`${directory}/tcp`)
  if (table === null) return null
  const queues = sumQueues(table, connections.keys)
  if (!connections.hasIPv6) return queues
  const table6 = readTable(`${directory}/tcp6`)
  if (table6 === null) return null
  const queues6 = sumQueues(table6, connections.keys)
  return {
    receiveQueueBytes: queues.receiveQueueBytes + queues6.receiveQueueBytes,
    largestWanReceiveQueueBytes: Math.max(queues.largestWanReceiveQueueBytes, queues6.largestWanReceiveQueueBytes),
    sendQueueBytes: queues.sendQueueBytes + queues6.sendQueueBytes,
  }
}

function readTable(path: string): Buffer | null {
  let file: number | null = null
  try {
    file = openSync(path, 'r')
    const blocks: Buffer[] = []
    let readBytes = 0
    while (readBytes < MAX_TABLE_BYTES) {
      const block = Buffer.allocUnsafe(BLOCK_BYTES)
      const bytes = readSync(file, block)
      if (bytes === 0) return Buffer.concat(blocks)
      blocks.push(block.subarray(0, bytes))
      readBytes += bytes
    }
    return null
  } catch {
    return null
  } finally {
    if (file !== null) closeSync(file)
  }
}

/**
 * Sums the queues of the connections with these keys. Total: lines of another form are skipped.
 * @param table /proc/net/tcp or tcp6: `sl: local:port remote:port st tx_queue:rx_queue ...`, all hexadecimal
 */
export function sumQueues(table: Uint8Array, keys: OwnConnections['keys']): QueueTotals {
  let receiveQueueBytes = 0
  let largestWanReceiveQueueBytes = 0
  let sendQueueBytes = 0
  for (let start = 0; start < table.length; ) {
    const feed = table.indexOf(LINE_FEED, start)
    const end = feed === -1 ? table.length : feed
    // In place, and not by splitting: of thousands of lines a few are ours.
    const local = colonAfter(table, { start, end }, 2)
    const remote = colonAfter(table, { start: local + 1, end }, 1)
    const queues = colonAfter(table, { start: remote + 1, end }, 1)
    start = end + 1
    if (local === -1 || remote === -1 || queues === -1 || queues + 9 > end) continue
    const kind = keys.get(connectionKey(hex(table, local + 1, 4), hex(table, remote + 1, 4)))
    if (kind === undefined) continue
    sendQueueBytes += hex(table, queues - 8, 8)
    const receiveBytes = hex(table, queues + 1, 8)
    receiveQueueBytes += receiveBytes
    if (kind === 'wan') largestWanReceiveQueueBytes = Math.max(largestWanReceiveQueueBytes, receiveBytes)
  }
  return { receiveQueueBytes, largestWanReceiveQueueBytes, sendQueueBytes }
}

/** Index of the n-th colon of the line, or -1. */
function colonAfter(table: Uint8Array, line: { start: number; end: number }, n: number): number {
  let found = 0
  for (let at = line.start; at < line.end; at++) {
    if (table[at] === COLON && ++found === n) return at
  }
  return -1
}

/** NaN when it is no number, which is then in no set and in no sum. */
function hex(table: Uint8Array, start: number, digits: number): number {
  let value = 0
  for (let at = start; at < start + digits; at++) {
    const code = table[at] ?? 0
    // 0-9, A-F, a-f
    const digit =
      code >= 48 && code <= 57 ? code - 48 : (code | 32) >= 97 && (code | 32) <= 102 ? (code | 32) - 87 : NaN
    value = value * 16 + digit
  }
  return value
}
