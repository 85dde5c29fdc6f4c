/** An origin as a member sees it that lies, or whose memory is broken: everything is right but the bytes. */
import type {
  OpenOptions,
  Origin,
  OriginDocument,
  OriginFacts,
  OriginRequest,
  OriginStream,
  ReadOptions,
} from '../../src/origin/origin.ts'

export class FalseOrigin implements Origin {
  readonly #origin: Origin
  readonly #isFalse: (offset: number) => boolean

  /** @param isFalse whether the byte at an offset of the content is another one than the true one */
  constructor(origin: Origin, isFalse: (offset: number) => boolean = () => true) {
    this.#origin = origin
    this.#isFalse = isFalse
  }

  probe(request: OriginRequest, options: { readonly signal: AbortSignal }): Promise<OriginFacts> {
    return this.#origin.probe(request, options)
  }

  async open(request: OriginRequest, options: OpenOptions): Promise<OriginStream> {
    const stream = await this.#origin.open(request, options)
    return { ...stream, offset: stream.offset, cancel: () => stream.cancel(), body: this.#falsified(stream) }
  }

  read(request: OriginRequest, options: ReadOptions): Promise<OriginDocument> {
    return this.#origin.read(request, options)
  }

  carriesCredentials(request: OriginRequest): boolean {
    return this.#origin.carriesCredentials(request)
  }

  close(): Promise<void> {
    return this.#origin.close()
  }

  async *#falsified(stream: OriginStream): AsyncGenerator<Uint8Array> {
    let offset = stream.offset
    for await (const chunk of stream.body) {
      const start = offset
      offset += chunk.byteLength
      yield chunk.map((byte, at) => (this.#isFalse(start + at) ? byte ^ 0xff : byte))
    }
  }
}
