/** The part of hypercore-crypto 3 that content/ uses; the package ships no types. */
declare module 'hypercore-crypto' {
  interface MerkleNode {
    readonly index: number
    readonly size: number
    readonly hash: Uint8Array
  }
  interface KeyPair {
    readonly publicKey: Buffer
    readonly secretKey: Buffer
  }
  const crypto: {
    data(bytes: Uint8Array): Buffer
    parent(left: MerkleNode, right: MerkleNode): Buffer
    tree(roots: readonly MerkleNode[]): Buffer
    hash(bytes: Uint8Array | readonly Uint8Array[]): Buffer
    keyPair(seed?: Uint8Array): KeyPair
    sign(message: Uint8Array, secretKey: Uint8Array): Buffer
    verify(message: Uint8Array, signature: Uint8Array, publicKey: Uint8Array): boolean
    discoveryKey(key: Uint8Array): Buffer
    randomBytes(lengthBytes: number): Buffer
  }
  export default crypto
  export type { KeyPair, MerkleNode }
}
