import { createHash } from 'node:crypto'
import fc from 'fast-check'
import t from 'tap'
import { parseAnnouncement, Swarms } from '../../bench/swarm/announce.ts'
import { bencode } from '../../bench/swarm/bencode.ts'
import { PIECE_BYTES, torrentOf } from '../../bench/swarm/torrent.ts'
import { generate } from '../lab/generated-content.ts'

void t.test('bencode', async (t) => {
  await t.test('writes what BEP 3 shows', async (t) => {
    t.equal(bencode('spam').toString(), '4:spam')
    t.equal(bencode(-3).toString(), 'i-3e')
    t.equal(bencode(['spam', 'eggs']).toString(), 'l4:spam4:eggse')
    t.equal(bencode({ spam: ['a', 'b'], cow: 'moo' }).toString(), 'd3:cow3:moo4:spaml1:a1:bee')
    t.equal(bencode('ü').toString(), '2:ü', 'lengths are of bytes')
  })

  await t.test('refuses numbers that are not whole', async (t) => {
    t.throws(() => bencode(0.5), RangeError)
    t.throws(() => bencode(Number.NaN), RangeError)
  })

  await t.test('orders keys by their bytes', async (t) => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.string({ unit: 'grapheme' }), { maxLength: 8 }), (keys) => {
        const entries = keys.filter((key) => key !== '__proto__').map((key) => [key, 1] as const)
        const sorted = entries.map(([key]) => Buffer.from(key)).sort(Buffer.compare)
        const expected = sorted.map((key) => Buffer.concat([Buffer.from(`${key.length}:`), key, Buffer.from('i1e')]))
        const whole = Buffer.concat([Buffer.from('d'), ...expected, Buffer.from('e')])
        t.ok(bencode(Object.fromEntries(entries)).equals(whole))
      }),
    )
  })
})

void t.test('a torrent names its web seed and hashes each piece of the content', async (t) => {
  const content = { seed: 3, bytes: PIECE_BYTES + 5, generation: 1 }
  const options = { trackerUrl: 'http://tracker/announce', fileName: 'f', webSeedUrl: 'http://origin/f' }
  const torrent = torrentOf(content, options)
  const bytes = Buffer.concat([...generate(content, 0, content.bytes)])
  const pieces = [bytes.subarray(0, PIECE_BYTES), bytes.subarray(PIECE_BYTES)]
  const hashes = Buffer.concat(pieces.map((piece) => createHash('sha1').update(piece).digest()))
  t.ok(torrent.includes(Buffer.concat([Buffer.from('6:pieces40:'), hashes])))
  t.ok(torrent.includes('8:url-list15:http://origin/f'))
  t.notOk(torrentOf(content, { ...options, webSeedUrl: null }).includes('url-list'))
})

void t.test('the tracker', async (t) => {
  const query = (port: number, more = '') => `info_hash=%01%ff&peer_id=x&port=${port}&left=0${more}`
  const announce = (swarms: Swarms, address: string, text: string) => {
    const announcement = parseAnnouncement(text, address)
    if (!announcement) throw new Error('not parsed')
    return swarms.announce(announcement)
  }

  await t.test('tells each peer of the others of its swarm', async (t) => {
    const swarms = new Swarms()
    t.ok(announce(swarms, '10.0.0.1', query(6881)).includes('5:peers0:'))
    const second = announce(swarms, '10.0.0.2', query(258))
    t.ok(second.includes(Buffer.concat([Buffer.from('5:peers6:'), Buffer.from([10, 0, 0, 1, 0x1a, 0xe1])])))
    t.ok(announce(swarms, '10.0.0.3', 'info_hash=other&port=1&left=9').includes('5:peers0:'), 'other swarm')
  })

  await t.test('forgets who stops', async (t) => {
    const swarms = new Swarms()
    announce(swarms, '10.0.0.1', query(6881))
    announce(swarms, '10.0.0.1', query(6881, '&event=stopped'))
    t.ok(announce(swarms, '10.0.0.2', query(6881)).includes('5:peers0:'))
  })

  await t.test('refuses what names no swarm or port', async (t) => {
    for (const text of [
      '',
      'port=1',
      'info_hash=a',
      'info_hash=a&port=0',
      'info_hash=a&port=65536',
      'info_hash&port=1',
    ])
      t.equal(parseAnnouncement(text, '10.0.0.1'), undefined, text)
  })
})
