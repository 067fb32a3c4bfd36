import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  sign,
  verify,
} from 'node:crypto';

export const PUBLIC_KEY_BYTES = 32;
export const SIGNATURE_BYTES = 64;

/** Ed25519 (RFC 8032). `seed` is the private key; both are 32 raw bytes, fit for storing. */
export interface FeedKeyPair {
  readonly publicKey: Buffer;
  readonly seed: Buffer;
}

export function generateFeedKeyPair(): FeedKeyPair {
  const jwk = generateKeyPairSync('ed25519').privateKey.export({ format: 'jwk' });
  return {
    publicKey: Buffer.from(jwk.x ?? '', 'base64url'),
    seed: Buffer.from(jwk.d ?? '', 'base64url'),
  };
}

/** Making one costs as much as a signature: a pair that is kept has it made once. */
const privateKeys = new WeakMap<FeedKeyPair, KeyObject>();

export function privateKeyOf(pair: FeedKeyPair): KeyObject {
  const known = privateKeys.get(pair) ?? newPrivateKey(pair);
  privateKeys.set(pair, known);
  return known;
}

function newPrivateKey(pair: FeedKeyPair): KeyObject {
  const key = {
    kty: 'OKP',
    crv: 'Ed25519',
    x: pair.publicKey.toString('base64url'),
    d: pair.seed.toString('base64url'),
  };
  return createPrivateKey({ key, format: 'jwk' });
}

/** Throws on anything that is not 32 bytes. */
export function publicKeyOf(raw: Uint8Array): KeyObject {
  const key = { kty: 'OKP', crv: 'Ed25519', x: Buffer.from(raw).toString('base64url') };
  return createPublicKey({ key, format: 'jwk' });
}

export function signBytes(message: Uint8Array, key: KeyObject): Buffer {
  return sign(null, message, key);
}

export function signatureHolds(
  message: Uint8Array,
  signature: Uint8Array,
  key: KeyObject,
): boolean {
  return verify(null, message, key, signature);
}
