/**
 * Fetches whose target belongs to a process at the other end: one answer of frames each, and the digests they wait for.
 * A process of the agent's own user lends its part, and the agent writes into it.
 */
import { randomUUID } from 'node:crypto'
import type { Logger } from 'pino'
import { isShorthaulError, ShorthaulError } from '../errors.ts'
import { Loans } from './loans.ts'
import { asShorthaul } from './problem.ts'
import { RemoteDelivery } from './remote-delivery.ts'
import type { FetchBody } from './requests.ts'
import type { Exchange } from './route.ts'

export const FETCH_TYPE = 'application/vnd.shorthaul.fetch'

export class Fetches {
  readonly #log: Logger
  readonly #stop: AbortSignal
  readonly #deliveries = new Map<string, RemoteDelivery>()
  readonly #loans = new Loans()

  /** @param stop aborted when the server closes */
  constructor({ log, stop }: { readonly log: Logger; readonly stop: AbortSignal }) {
    this.#log = log
    this.#stop = stop
  }

  /** Answers with frames until the fetch ended, however it did. */
  async answer({ response, signal, agent, asker }: Exchange, body: FetchBody): Promise<void> {
    const id = randomUUID()
    const { isInOrder } = body
    const isWhole = (body.request.ranges ?? null) === null
    const isLendable = asker.access === 'owner' && isWhole && !isInOrder
    const loan = await this.#loans.borrow(isLendable ? body.part : null)
    if (isLendable && body.part !== null && loan.part === null) this.#log.debug('part not to be had: the client writes')
    const leftOver = loan.isFresh ? body.leftOver : []
    const delivery = new RemoteDelivery(response, {
      leftOver,
      isInOrder,
      isWhole,
      part: loan.part?.content ?? null,
      signal,
    })
    this.#deliveries.set(id, delivery)
    response.writeHead(200, { 'content-type': FETCH_TYPE })
    try {
      await delivery.send({ frame: 'accepted', id })
      const result = await agent.fetch(body.request, delivery, {
        signal,
        onEvent: (event) => delivery.tell(event),
        isOwner: asker.access === 'owner',
      })
      await delivery.send({ frame: 'result', result })
    } catch (error) {
      if (response.destroyed) return
      // The agent's own end is not the user's interruption: the client may go on by itself.
      const shown = this.#stop.aborted ? endOf(this.#stop.reason, error) : error
      if (!isShorthaulError(shown)) this.#log.error({ err: shown }, 'fetch failed unexpectedly')
      const { code, message, retryable, details } = asShorthaul(shown)
      // Waited for: frames leave in turn, and an answer that ended before its last one tells nothing.
      await delivery.send({ frame: 'error', code, message, retryable, details }).catch(() => {})
    } finally {
      this.#deliveries.delete(id)
      response.end()
      await loan.end().catch((err: unknown) => this.#log.warn({ err }, 'lent part not closed'))
    }
  }

  /** The client computed it from the bytes in its target. @throws SHORTHAUL_USAGE */
  digestIs(id: string, sha256: string): void {
    const delivery = this.#deliveries.get(id)
    if (!delivery) throw new ShorthaulError('SHORTHAUL_USAGE', 'Cannot take the digest: there is no such fetch')
    delivery.digestIs(sha256)
  }
}

/** @param reason why the server closes */
function endOf(reason: unknown, cause: unknown): ShorthaulError {
  const { message, details } = asShorthaul(reason)
  return new ShorthaulError('SHORTHAUL_CONTROL_IO', message, { cause, details })
}
