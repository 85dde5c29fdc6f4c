/** Run as another user: what somebody else can do with jobs on the public socket of an agent. Prints it as JSON. */
import { ControlClient } from '../../src/control/client.ts'
import { isShorthaulError } from '../../src/errors.ts'
import type { JobId } from '../../src/jobs/job.ts'

const [socketPath = '', job = '', url = '', target = ''] = process.argv.slice(2)
const client = await ControlClient.connect(socketPath)
if (client === null) throw new Error('nobody answers')
const { jobs } = client

async function tried(work: () => Promise<unknown>): Promise<unknown> {
  try {
    return await work()
  } catch (error) {
    return isShorthaulError(error) ? { code: error.code, message: error.message } : String(error)
  }
}

/** As a user would: made, followed to its end. */
async function carriedOut(): Promise<unknown> {
  const made = await jobs.create({ files: [{ url, target }], priority: 'foreground', autoComplete: true })
  const signal = AbortSignal.timeout(30_000)
  for await (const event of jobs.events({ job: made.id, after: 0, signal })) {
    if (event.kind === 'state' && ['acknowledged', 'error'].includes(event.state)) break
  }
  return jobs.get(made.id)
}

const found = {
  access: client.access,
  list: await tried(() => jobs.list()),
  all: await tried(() => jobs.list({ allUsers: true })),
  others: await tried(() => jobs.get(job as JobId)),
  cancelled: await tried(() => jobs.cancel(job as JobId)),
  fileUrl: await tried(() => jobs.create({ files: [{ url: 'file:///etc/shadow', target: `${target}-2` }] })),
  created: await tried(carriedOut),
  taken: await tried(() => jobs.takeOwnership(job as JobId)),
  cache: await tried(() => client.get('/v1/cache')),
}
await client.close()
process.stdout.write(JSON.stringify(found))
