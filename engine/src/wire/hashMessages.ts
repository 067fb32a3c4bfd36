import { WireError } from './codec.ts';

/** Ids of BEP 52. */
const HASH_REQUEST = 21;
const HASHES = 22;
const HASH_REJECT = 23;
const ROOT_BYTES = 32;
/** Root, then four numbers. */
const RANGE_BYTES = ROOT_BYTES + 16;

/** Hashes of a file's tree: a row of one level, and what proves that they are of that tree. */
export interface HashRange {
  /** Of the file. */
  readonly root: Buffer;
  /** Levels above the 16 KiB leaves. */
  readonly baseLayer: number;
  readonly index: number;
  readonly length: number;
  /** For so many levels above the base. */
  readonly proofLayers: number;
}

/** Undefined: another message than these. Throws for hashes, since none are ever asked for. */
export function decodeHashRequest(message: Buffer): HashRange | undefined {
  const [id] = message;
  if (id === HASHES || id === HASH_REJECT) {
    throw new WireError('OutOfOrder', 'an answer about hashes that nobody asked for');
  }
  if (id !== HASH_REQUEST) return undefined;
  const body = message.subarray(1);
  if (body.length !== RANGE_BYTES) {
    throw new WireError('Malformed', `hash request of ${body.length} bytes`);
  }
  return {
    root: Buffer.from(body.subarray(0, ROOT_BYTES)),
    baseLayer: body.readUInt32BE(ROOT_BYTES),
    index: body.readUInt32BE(ROOT_BYTES + 4),
    length: body.readUInt32BE(ROOT_BYTES + 8),
    proofLayers: body.readUInt32BE(ROOT_BYTES + 12),
  };
}

/** `hashes` undefined: a reject. */
export function encodeHashAnswer(range: HashRange, hashes: Uint8Array | undefined): Buffer {
  const head = Buffer.alloc(5 + RANGE_BYTES);
  head.writeUInt32BE(1 + RANGE_BYTES + (hashes?.byteLength ?? 0), 0);
  head[4] = hashes === undefined ? HASH_REJECT : HASHES;
  head.set(range.root, 5);
  head.writeUInt32BE(range.baseLayer, 5 + ROOT_BYTES);
  head.writeUInt32BE(range.index, 9 + ROOT_BYTES);
  head.writeUInt32BE(range.length, 13 + ROOT_BYTES);
  head.writeUInt32BE(range.proofLayers, 17 + ROOT_BYTES);
  return hashes === undefined ? head : Buffer.concat([head, hashes]);
}
