import bencode from 'bencode';

/** Ids of BEP 3, BEP 6 (fast) and BEP 10 (extension protocol). */
const ID = {
  choke: 0,
  unchoke: 1,
  interested: 2,
  notInterested: 3,
  have: 4,
  bitfield: 5,
  request: 6,
  piece: 7,
  cancel: 8,
  haveAll: 14,
  haveNone: 15,
  reject: 16,
  extended: 20,
} as const;

/** What stock clients serve at most. */
export const STOCK_REQUEST_BYTES = 16_384;
/** Agreed among ourselves: fewer messages a byte. */
export const LARGE_REQUEST_BYTES = 131_072;
/** A feed batch with its framing. */
const MAX_EXTENDED_BYTES = 40_960;
/** Most messages are shorter: a process may have hundreds of peers. */
const MIN_PARTIAL_BYTES = 64;
const FEED_EXTENSION = 1;
const HANDSHAKE_EXTENSION = 0;
/** Length prefix, id, piece index and offset. */
export const PIECE_HEADER_BYTES = 13;

export interface BlockRequest {
  readonly piece: number;
  readonly offset: number;
  readonly length: number;
}

/** What a peer can do (BEP 10); ids are those under which it wants to be sent messages. */
export interface Extensions {
  readonly feedId: number | undefined;
  readonly maxRequestBytes: number;
}

export type Message =
  | { readonly type: 'choke' | 'unchoke' | 'interested' | 'notInterested' }
  | { readonly type: 'haveAll' | 'haveNone' }
  | { readonly type: 'have'; readonly piece: number }
  | { readonly type: 'bitfield'; readonly bytes: Uint8Array }
  | ({ readonly type: 'request' | 'cancel' | 'reject' } & BlockRequest)
  | { readonly type: 'extensions'; readonly extensions: Extensions }
  | { readonly type: 'feed'; readonly batch: Uint8Array };

/** Why a peer is closed: it sent what no correct peer of this version sends. */
export class WireError extends Error {
  readonly code:
    | 'Oversized'
    | 'Malformed'
    | 'OutOfOrder'
    | 'Flooding'
    | 'BadFeed'
    /** It is of another release, and speaks otherwise. */
    | 'UnknownVersion';

  constructor(code: WireError['code'], message: string) {
    super(message);
    this.name = 'WireError';
    this.code = code;
  }
}

export const KEEP_ALIVE = Buffer.alloc(4);

export function encode(message: Message, feedId = FEED_EXTENSION): Buffer {
  switch (message.type) {
    case 'choke':
    case 'unchoke':
    case 'interested':
    case 'notInterested':
    case 'haveAll':
    case 'haveNone':
      return frame(ID[message.type], 0);
    case 'have':
      return encodeHaves([message.piece]);
    case 'bitfield':
      return frame(ID.bitfield, message.bytes.byteLength, message.bytes);
    case 'request':
    case 'cancel':
    case 'reject': {
      const bytes = frame(ID[message.type], 12);
      bytes.writeUInt32BE(message.piece, 5);
      bytes.writeUInt32BE(message.offset, 9);
      bytes.writeUInt32BE(message.length, 13);
      return bytes;
    }
    case 'extensions': {
      const { feedId: ownFeedId, maxRequestBytes } = message.extensions;
      const m = ownFeedId === undefined ? {} : { sl_feed: ownFeedId };
      const body = Buffer.from(bencode.encode({ m, sl_request: maxRequestBytes }));
      return frame(ID.extended, body.length + 1, Buffer.of(HANDSHAKE_EXTENSION), body);
    }
    case 'feed':
      return frame(ID.extended, message.batch.byteLength + 1, Buffer.of(feedId), message.batch);
  }
}

const HAVE_BYTES = 9;

/** Many at once. */
export function encodeHaves(pieces: readonly number[]): Buffer {
  const bytes = Buffer.allocUnsafe(HAVE_BYTES * pieces.length);
  pieces.forEach((piece, index) => {
    const at = index * HAVE_BYTES;
    bytes.writeUInt32BE(5, at);
    bytes[at + 4] = ID.have;
    bytes.writeUInt32BE(piece, at + 5);
  });
  return bytes;
}

/** What comes before a block's bytes. */
export function encodePieceHeader({ piece, offset, length }: BlockRequest): Buffer {
  const bytes = Buffer.allocUnsafe(PIECE_HEADER_BYTES);
  bytes.writeUInt32BE(9 + length, 0);
  bytes[4] = ID.piece;
  bytes.writeUInt32BE(piece, 5);
  bytes.writeUInt32BE(offset, 9);
  return bytes;
}

/** Said first: large requests, and no feed yet. */
export const OWN_EXTENSIONS: Extensions = {
  feedId: undefined,
  maxRequestBytes: LARGE_REQUEST_BYTES,
};

/** Said later to those whose feed is wanted; a second handshake adds to the first (BEP 10). */
export const FEED_WANTED: Extensions = { ...OWN_EXTENSIONS, feedId: FEED_EXTENSION };

function frame(id: number, bodyBytes: number, ...parts: Uint8Array[]): Buffer {
  const head = Buffer.alloc(5 + (parts.length === 0 ? bodyBytes : 0));
  head.writeUInt32BE(bodyBytes + 1, 0);
  head[4] = id;
  return parts.length === 0 ? head : Buffer.concat([head, ...parts]);
}

/** Throws a WireError. `bytes` begins with the id; a block's bytes never come here. */
export function decode(bytes: Buffer, pieceCount: number): Message | undefined {
  const body = bytes.subarray(1);
  switch (bytes[0]) {
    case ID.choke:
      return empty(body, 'choke');
    case ID.unchoke:
      return empty(body, 'unchoke');
    case ID.interested:
      return empty(body, 'interested');
    case ID.notInterested:
      return empty(body, 'notInterested');
    case ID.haveAll:
      return empty(body, 'haveAll');
    case ID.haveNone:
      return empty(body, 'haveNone');
    case ID.have:
      expectLength(body, 4, 'have');
      return { type: 'have', piece: pieceIn(body, pieceCount) };
    case ID.bitfield:
      return { type: 'bitfield', bytes: body };
    case ID.request:
      return block(body, 'request', pieceCount);
    case ID.cancel:
      return block(body, 'cancel', pieceCount);
    case ID.reject:
      return block(body, 'reject', pieceCount);
    case ID.extended:
      return extended(body);
    default:
      // BEP 3: unknown messages are ignored.
      return undefined;
  }
}

function empty<
  T extends 'choke' | 'unchoke' | 'interested' | 'notInterested' | 'haveAll' | 'haveNone',
>(body: Buffer, type: T): Message {
  expectLength(body, 0, type);
  return { type };
}

function block(body: Buffer, type: 'request' | 'cancel' | 'reject', pieceCount: number): Message {
  expectLength(body, 12, type);
  const piece = pieceIn(body, pieceCount);
  const length = body.readUInt32BE(8);
  if (length === 0 || length > LARGE_REQUEST_BYTES) {
    throw new WireError('Oversized', `${type} of ${length} bytes`);
  }
  return { type, piece, offset: body.readUInt32BE(4), length };
}

function extended(body: Buffer): Message | undefined {
  if (body.length < 1) throw new WireError('Malformed', 'extended message without an id');
  if (body[0] === FEED_EXTENSION) return { type: 'feed', batch: body.subarray(1) };
  if (body[0] !== HANDSHAKE_EXTENSION) return undefined;
  let value: unknown;
  try {
    value = bencode.decode(body.subarray(1));
  } catch (cause) {
    throw new WireError('Malformed', `extension handshake: ${String(cause)}`);
  }
  const { m, sl_request: size } = asRecord(value);
  const { sl_feed: feedId } = asRecord(m);
  const large = typeof size === 'number' && size >= LARGE_REQUEST_BYTES;
  return {
    type: 'extensions',
    extensions: {
      feedId: typeof feedId === 'number' && feedId > 0 && feedId < 256 ? feedId : undefined,
      maxRequestBytes: large ? LARGE_REQUEST_BYTES : STOCK_REQUEST_BYTES,
    },
  };
}

function asRecord(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

function pieceIn(body: Buffer, pieceCount: number): number {
  const piece = body.readUInt32BE(0);
  if (piece >= pieceCount) throw new WireError('Malformed', `piece ${piece} of ${pieceCount}`);
  return piece;
}

function expectLength(body: Buffer, length: number, type: string): void {
  if (body.length !== length) throw new WireError('Malformed', `${type} of ${body.length} bytes`);
}

export interface ReaderHandlers {
  /** Where a block's bytes go; undefined reads past them. Throwing closes the peer. */
  onBlockBegin(piece: number, offset: number, length: number): Uint8Array | undefined;
  /** `kept`: all of it went to where onBlockBegin said. */
  onBlockEnd(piece: number, offset: number, length: number, kept: boolean): void;
  /** Bytes in it are only valid during the call. */
  onMessage(message: Message): void;
  /** An empty message. */
  onKeepAlive?(): void;
  /** A message that decode() does not know, id first; absent: they are ignored (BEP 3). */
  onUnknown?(message: Buffer): void;
}

interface IncomingBlock extends BlockRequest {
  at: number;
}

/** Cuts a stream into messages; a block's bytes are copied once, to where they belong. */
export class MessageReader {
  readonly #pieceCount: number;
  readonly #handlers: ReaderHandlers;
  readonly #maxMessageBytes: number;
  /** A message, or a block's header, that has not come whole; larger when a larger one comes. */
  #partial: Buffer = Buffer.allocUnsafeSlow(MIN_PARTIAL_BYTES);
  #partialBytes = 0;
  #block: IncomingBlock | undefined;
  #target: Uint8Array | undefined;
  /** The same memory for Node's own copy, where there is such memory. */
  #plainTarget: Buffer | undefined;

  constructor(pieceCount: number, handlers: ReaderHandlers) {
    this.#pieceCount = pieceCount;
    this.#handlers = handlers;
    this.#maxMessageBytes = Math.max(MAX_EXTENDED_BYTES, 1 + Math.ceil(pieceCount / 8));
  }

  /** Throws a WireError, or what a handler throws; the stream is useless then. */
  push(chunk: Uint8Array): void {
    const isBuffer = chunk instanceof Buffer;
    const bytes = isBuffer ? chunk : Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    let at = 0;
    while (at < bytes.length) {
      if (this.#block !== undefined) at += this.#fillBlock(bytes, at);
      else at += this.#takeWhole(bytes, at) || this.#fillMessage(bytes, at);
    }
  }

  /** Of the block that is coming in to where onBlockBegin said. */
  get arrivingBytes(): number {
    return this.#target === undefined ? 0 : (this.#block?.at ?? 0);
  }

  /** The rest of the block that is coming in goes nowhere. */
  dropTarget(): void {
    this.#target = undefined;
    this.#plainTarget = undefined;
  }

  #fillBlock(bytes: Buffer, at: number): number {
    const block = this.#block as IncomingBlock;
    const count = Math.min(bytes.length - at, block.length - block.at);
    // Node's copy: the language's own takes three times as long into shared memory.
    if (this.#plainTarget !== undefined) bytes.copy(this.#plainTarget, block.at, at, at + count);
    else this.#target?.set(bytes.subarray(at, at + count), block.at);
    block.at += count;
    if (block.at === block.length) {
      const kept = this.#target !== undefined;
      this.#block = undefined;
      this.dropTarget();
      this.#handlers.onBlockEnd(block.piece, block.offset, block.length, kept);
    }
    return count;
  }

  /** A message that came whole needs no copy. Answers its bytes; 0: it did not, or is a block. */
  #takeWhole(bytes: Buffer, at: number): number {
    if (this.#partialBytes > 0 || bytes.length - at < 5) return 0;
    const length = bytes.readUInt32BE(at);
    const id = bytes[at + 4];
    const isWhole = bytes.length - at - 4 >= length;
    if (length === 0 || id === ID.piece || !isWhole || length > this.#maxMessageBytes) return 0;
    this.#take(bytes.subarray(at + 4, at + 4 + length));
    return 4 + length;
  }

  #fillMessage(bytes: Buffer, at: number): number {
    const wanted = this.#wantedBytes();
    if (wanted > this.#partial.length) this.#grow(wanted);
    const count = Math.min(bytes.length - at, wanted - this.#partialBytes);
    bytes.copy(this.#partial, this.#partialBytes, at, at + count);
    this.#partialBytes += count;
    if (this.#partialBytes === this.#wantedBytes()) this.#finishMessage();
    return count;
  }

  #grow(bytes: number): void {
    const grown = Buffer.allocUnsafeSlow(bytes);
    this.#partial.copy(grown, 0, 0, this.#partialBytes);
    this.#partial = grown;
  }

  /** How much has to be there before more can be said: length, then id, then the whole. */
  #wantedBytes(): number {
    if (this.#partialBytes < 4) return 4;
    const length = this.#partial.readUInt32BE(0);
    if (length === 0 || this.#partialBytes < 5) return length === 0 ? 4 : 5;
    if (this.#partial[4] === ID.piece) return PIECE_HEADER_BYTES;
    if (length > this.#maxMessageBytes) {
      throw new WireError('Oversized', `message ${this.#partial[4]} of ${length} bytes`);
    }
    return 4 + length;
  }

  #finishMessage(): void {
    const length = this.#partial.readUInt32BE(0);
    const whole = this.#partial.subarray(4, this.#partialBytes);
    this.#partialBytes = 0;
    if (length === 0) {
      this.#handlers.onKeepAlive?.();
      return;
    }
    if (whole[0] === ID.piece) {
      this.#beginBlock(whole, length - 9);
      return;
    }
    this.#take(whole);
  }

  #take(whole: Buffer): void {
    const message = decode(whole, this.#pieceCount);
    if (message !== undefined) this.#handlers.onMessage(message);
    else this.#handlers.onUnknown?.(whole);
  }

  #beginBlock(header: Buffer, length: number): void {
    if (length <= 0 || length > LARGE_REQUEST_BYTES) {
      throw new WireError('Oversized', `block of ${length} bytes`);
    }
    const piece = pieceIn(header.subarray(1), this.#pieceCount);
    const offset = header.readUInt32BE(5);
    const target = this.#handlers.onBlockBegin(piece, offset, length);
    this.#target = target;
    // What has a set() of its own is not to be written past it.
    if (target !== undefined && target.set === Uint8Array.prototype.set) {
      this.#plainTarget = Buffer.from(target.buffer, target.byteOffset, length);
    }
    this.#block = { piece, offset, length, at: 0 };
  }
}
