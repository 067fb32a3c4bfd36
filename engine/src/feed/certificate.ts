import type { KeyObject } from 'node:crypto';
import {
  type FeedKeyPair,
  PUBLIC_KEY_BYTES,
  privateKeyOf,
  SIGNATURE_BYTES,
  signatureHolds,
  signBytes,
} from './keys.ts';

/** A run of whole pieces, [first, first + count). */
export interface Extent {
  readonly first: number;
  readonly count: number;
}

/** Proof that a puller may sign hashes of these extents. Base64 where it names bytes, as in JSON. */
export interface PullerCertificate {
  readonly pullerKey: string;
  readonly extents: Extent[];
  /** By the distribution's key, which never leaves the control server. */
  readonly signature: string;
}

export const SWARM_ID_BYTES = 20;
export const MAX_EXTENTS = 256;

/** Separates the signatures of certificates from every other use of the same key. */
const CERTIFICATE_CONTEXT = Buffer.from('sluice puller certificate v1\0');

export function certify(
  distributionKey: FeedKeyPair,
  swarmId: Uint8Array,
  pullerKey: Uint8Array,
  extents: readonly Extent[],
): PullerCertificate {
  if (extents.length > MAX_EXTENTS) throw new RangeError(`more than ${MAX_EXTENTS} extents`);
  if (pullerKey.byteLength !== PUBLIC_KEY_BYTES) throw new RangeError('a puller key has 32 bytes');
  const message = certificateMessage(swarmId, encodeCertified(pullerKey, extents));
  return {
    pullerKey: Buffer.from(pullerKey).toString('base64'),
    extents: extents.map(({ first, count }) => ({ first, count })),
    signature: signBytes(message, privateKeyOf(distributionKey)).toString('base64'),
  };
}

/** Whether `extents` name this piece. */
export function covers(extents: readonly Extent[], piece: number): boolean {
  return extents.some(({ first, count }) => piece >= first && piece < first + count);
}

/** A certificate as it stands in a batch: key, extent count, extents, signature. */
export interface DecodedCertificate {
  readonly pullerKey: Buffer;
  /** Its name: the key in hexadecimal digits. */
  readonly puller: string;
  readonly extents: readonly Extent[];
  readonly signature: Buffer;
  /** The bytes that the signature is over, without context and swarm id. */
  readonly certified: Buffer;
  readonly byteLength: number;
}

export function encodeCertificate(certificate: PullerCertificate): Buffer {
  const pullerKey = Buffer.from(certificate.pullerKey, 'base64');
  const signature = Buffer.from(certificate.signature, 'base64');
  if (pullerKey.length !== PUBLIC_KEY_BYTES || signature.length !== SIGNATURE_BYTES) {
    throw new RangeError('the certificate has a key or a signature of a wrong length');
  }
  return Buffer.concat([encodeCertified(pullerKey, certificate.extents), signature]);
}

/** Reads a certificate from the front of `bytes`; undefined when it is cut short or out of bounds. */
export function decodeCertificate(bytes: Buffer): DecodedCertificate | undefined {
  if (bytes.length < PUBLIC_KEY_BYTES + 2) return undefined;
  const extentCount = bytes.readUInt16BE(PUBLIC_KEY_BYTES);
  const certifiedBytes = PUBLIC_KEY_BYTES + 2 + extentCount * 8;
  if (extentCount > MAX_EXTENTS || bytes.length < certifiedBytes + SIGNATURE_BYTES) {
    return undefined;
  }
  const extents: Extent[] = [];
  for (let at = PUBLIC_KEY_BYTES + 2; at < certifiedBytes; at += 8) {
    extents.push({ first: bytes.readUInt32BE(at), count: bytes.readUInt32BE(at + 4) });
  }
  const pullerKey = bytes.subarray(0, PUBLIC_KEY_BYTES);
  return {
    pullerKey,
    puller: pullerKey.toString('hex'),
    extents,
    signature: bytes.subarray(certifiedBytes, certifiedBytes + SIGNATURE_BYTES),
    certified: bytes.subarray(0, certifiedBytes),
    byteLength: certifiedBytes + SIGNATURE_BYTES,
  };
}

export function certificateHolds(
  certificate: DecodedCertificate,
  swarmId: Uint8Array,
  feedKey: KeyObject,
): boolean {
  const message = certificateMessage(swarmId, certificate.certified);
  return signatureHolds(message, certificate.signature, feedKey);
}

function encodeCertified(pullerKey: Uint8Array, extents: readonly Extent[]): Buffer {
  const tail = Buffer.alloc(2 + extents.length * 8);
  tail.writeUInt16BE(extents.length, 0);
  extents.forEach(({ first, count }, index) => {
    tail.writeUInt32BE(first, 2 + index * 8);
    tail.writeUInt32BE(count, 6 + index * 8);
  });
  return Buffer.concat([pullerKey, tail]);
}

function certificateMessage(swarmId: Uint8Array, certified: Uint8Array): Buffer {
  return Buffer.concat([CERTIFICATE_CONTEXT, swarmId, certified]);
}
