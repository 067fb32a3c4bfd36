import bencode from 'bencode';

/** What a stock client says first (BEP 3), and what it can do besides. */
export interface StockHandshake {
  /** 20 bytes: of version 1, or the first 20 of version 2. */
  readonly infoHash: Uint8Array;
  readonly peerId: Uint8Array;
  /** BEP 6: rejects, and haves of all and none. */
  readonly fast: boolean;
  /** BEP 10. */
  readonly extended: boolean;
  /** BEP 52: it may ask for hashes. */
  readonly version2: boolean;
}

export const STOCK_HANDSHAKE_BYTES = 68;
const PROTOCOL = Buffer.from('\x13BitTorrent protocol', 'latin1');
/** In the sixth reserved byte. */
const EXTENDED_BIT = 0x10;
/** In the eighth. */
const FAST_BIT = 0x04;
const VERSION_2_BIT = 0x10;

/** What we can do besides. */
export function encodeStockHandshake(
  infoHash: Uint8Array,
  peerId: Uint8Array,
  version2: boolean,
): Buffer {
  const reserved = Buffer.alloc(8);
  reserved[5] = EXTENDED_BIT;
  reserved[7] = FAST_BIT | (version2 ? VERSION_2_BIT : 0);
  return Buffer.concat([PROTOCOL, reserved, infoHash, peerId]);
}

/** Undefined for anything else, an encrypted one included. Copies. */
export function decodeStockHandshake(bytes: Uint8Array): StockHandshake | undefined {
  const own = Buffer.from(bytes);
  if (own.length !== STOCK_HANDSHAKE_BYTES) return undefined;
  if (!own.subarray(0, PROTOCOL.length).equals(PROTOCOL)) return undefined;
  const has = (byte: number, bit: number) => ((own[PROTOCOL.length + byte] ?? 0) & bit) !== 0;
  return {
    infoHash: own.subarray(28, 48),
    peerId: own.subarray(48),
    fast: has(7, FAST_BIT),
    extended: has(5, EXTENDED_BIT),
    version2: has(7, VERSION_2_BIT),
  };
}

/** Requests that a stock client may have open with us; so many are told and kept. */
export const STOCK_QUEUED_REQUESTS = 512;

/** The handshake of BEP 10: no extension, only what we bear. */
export function encodeStockExtensions(): Buffer {
  const body = bencode.encode({ m: {}, reqq: STOCK_QUEUED_REQUESTS, v: 'Sluice' });
  const head = Buffer.alloc(6);
  head.writeUInt32BE(body.byteLength + 2, 0);
  head[4] = 20;
  return Buffer.concat([head, body]);
}
