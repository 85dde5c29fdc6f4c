/**
 * Writes segments into a part until it is killed, or completes it.
 * argv: target, number of segments, `hang` or `complete`
 */
import { verifySegment } from '../../src/content/verify.ts'
import { PartFile } from '../../src/transfer/part-file.ts'
import { partSegment } from './part-segments.ts'

const [, , target = '', count = '0', end = 'hang'] = process.argv
const part = await PartFile.open(target)
const lengthBytes = Number(count) * 2 ** 20
await part.begin({ lengthBytes })
for (let index = 0; index < Number(count); index++) await part.write(index, verifySegment(partSegment(index), null))
process.stdout.write(`${part.localPath}\n`)
if (end === 'hang') setInterval(() => {}, 60_000)
else await part.complete(lengthBytes)
