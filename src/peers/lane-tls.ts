/**
 * The lane's TLS settings, both sides in one place because each line closes a hole: TLS 1.3 with an external PSK and
 * ephemeral keys, no certificates, no tickets.
 *
 * Invariant: the only way through a handshake is to know the PSK of a live offer.
 */
import { constants } from 'node:crypto'
import type { ServerOptions } from 'node:https'
import type { ConnectionOptions, SecureContextOptions, TLSSocket } from 'node:tls'

/** The hash of an external PSK in TLS 1.3 is SHA-256, so this or ChaCha20; AES is cheaper wherever it is in hardware. */
const CIPHERS = 'TLS_AES_128_GCM_SHA256'

const BOTH_SIDES = {
  minVersion: 'TLSv1.3',
  maxVersion: 'TLSv1.3',
  ciphers: CIPHERS,
  // A ticket is a key of its own: it would let its holder in after the offer was revoked.
  secureOptions: constants.SSL_OP_NO_TICKET,
  // No trusted roots (NODE_EXTRA_CA_CERTS joins only the default ones); to parse those takes a start 40 ms, too.
  ca: [],
} satisfies SecureContextOptions

/** Node hands identities to OpenSSL as C strings: raw bytes would be cut at the first zero byte, so they go as hex. */
export function identityText(identity: Uint8Array): string {
  return Buffer.from(identity.buffer, identity.byteOffset, identity.byteLength).toString('hex')
}

/** @param findPsk null: unknown identity; the handshake then fails, because there is no certificate to fall back on */
export function laneServerTls(findPsk: (socket: TLSSocket, identity: string) => Buffer | null): ServerOptions {
  return {
    ...BOTH_SIDES,
    pskCallback: findPsk,
  }
}

export function laneClientTls(offer: { readonly identity: Uint8Array; readonly psk: Uint8Array }): ConnectionOptions {
  const identity = identityText(offer.identity)
  return {
    ...BOTH_SIDES,
    pskCallback: () => ({ identity, psk: offer.psk }),
    // Said aloud, or NODE_TLS_REJECT_UNAUTHORIZED=0 in the environment would turn it off.
    rejectUnauthorized: true,
    // And no name is ever right.
    checkServerIdentity: () => new Error('The lane accepts no certificate'),
  }
}

/**
 * The last belt on the client: a handshake that succeeded without the PSK would carry a certificate. Under a PSK the
 * session counts as reused and there is none.
 */
export function isPskSession(socket: TLSSocket): boolean {
  return socket.getProtocol() === 'TLSv1.3' && socket.isSessionReused() && socket.getPeerX509Certificate() === undefined
}
