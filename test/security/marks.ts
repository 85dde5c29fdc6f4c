/** Secrets of a test, and where they turn up: as they are, and in the forms in which programs write text. */
import { randomBytes } from 'node:crypto'

export interface Mark {
  /** What the secret is, for people. */
  readonly name: string
  readonly secret: string
}

/** @param around what stands before and behind the random part, such as characters that are escaped somewhere */
export function newMark(name: string, { before = '', behind = '' } = {}): Mark {
  return { name, secret: `${before}${randomBytes(12).toString('hex')}${behind}` }
}

/** The middle of the base64 of a text that begins at each of three offsets: what is around it changes the ends only. */
function base64Forms(secret: string): string[] {
  return [0, 1, 2].map((offset) => {
    const encoded = Buffer.from(`${'x'.repeat(offset)}${secret}`)
      .toString('base64')
      .replaceAll('=', '')
    return encoded.slice(offset === 0 ? 0 : 4, -4)
  })
}

/** Every form that counts as the secret itself. */
export function formsOf(secret: string): readonly string[] {
  const base64 = base64Forms(secret)
  return [
    secret,
    encodeURIComponent(secret),
    JSON.stringify(secret).slice(1, -1),
    Buffer.from(secret).toString('hex'),
    ...base64,
    ...base64.map((text) => text.replaceAll('+', '-').replaceAll('/', '_')),
  ]
}

/** Names of the marks that are in it, with the form that was found. */
export function marksIn(bytes: Buffer | string, marks: readonly Mark[]): readonly string[] {
  const texts = [typeof bytes === 'string' ? bytes : bytes.toString('latin1')]
  try {
    texts.push(decodeURIComponent(texts[0] ?? ''))
  } catch {
    // Not percent-encoded as a whole; its parts are in the forms.
  }
  const found: string[] = []
  for (const { name, secret } of marks) {
    const form = formsOf(secret).find((each) => texts.some((text) => text.toLowerCase().includes(each.toLowerCase())))
    if (form !== undefined) found.push(`${name} as ${form === secret ? 'it is' : form}`)
  }
  return found
}
