import { decodeBatch } from '../feed/batch.ts';
import { decodeBatchList, encodeBatchList } from '../feed/batchList.ts';
import { certify, decodeCertificate, encodeCertificate } from '../feed/certificate.ts';
import { FeedLog } from '../feed/feedLog.ts';
import { FeedSigner } from '../feed/feedSigner.ts';
import { generateFeedKeyPair } from '../feed/keys.ts';
import { Bitfield } from '../pieces/bitfield.ts';
import { layoutOf } from '../pieces/layout.ts';
import { contentRangeOf } from '../session/originAnswer.ts';
import { chooseTopUp } from '../topup/chooseTopUp.ts';
import { buildTorrent } from '../torrent/buildTorrent.ts';
import { loadTorrent } from '../torrent/loadTorrent.ts';
import { TorrentError } from '../torrent/torrentError.ts';
import {
  encode,
  encodePieceHeader,
  FEED_WANTED,
  KEEP_ALIVE,
  type Message,
  MessageReader,
  OWN_EXTENSIONS,
  WireError,
} from '../wire/codec.ts';
import { decodeHashRequest } from '../wire/hashMessages.ts';
import { decodeHello, encodeHello } from '../wire/hello.ts';
import { decodeStockHandshake, encodeStockHandshake } from '../wire/stockHandshake.ts';
import { someHashRequest } from './hashRequest.ts';
import { mutate } from './mutation.ts';
import { SeededRandom } from './seededRandom.ts';

const PIECES = 200;
const BLOCK_BYTES = 1_000;
const MAX_MESSAGES = 12;

/** One that reads what strangers send: what is right for it, and what it may make of the rest. */
interface Decoder {
  readonly name: string;
  valid(random: SeededRandom): Uint8Array;
  /** Throws when an input does what none may do. */
  decode(bytes: Buffer): void;
}

/**
 * Gives every decoder so many mutated inputs. Answers what went wrong, by decoder and seed: an
 * error of another kind than a peer's, or something that was taken without a right signature.
 */
export function fuzzDecoders(firstSeed: number, inputs: number): string[] {
  const decoders = decodersOf();
  const problems: string[] = [];
  for (let at = 0; at < inputs; at += 1) {
    const seed = firstSeed + at;
    const random = new SeededRandom(seed);
    const decoder = decoders[seed % decoders.length] as Decoder;
    try {
      decoder.decode(mutate(decoder.valid(random), random));
    } catch (error) {
      problems.push(`${decoder.name}, seed ${seed}: ${String(error)}`);
    }
  }
  return problems;
}

function decodersOf(): Decoder[] {
  const swarmId = Buffer.alloc(20, 1);
  const keys = generateFeedKeyPair();
  const keyPair = generateFeedKeyPair();
  const extents = [{ first: 0, count: PIECES }];
  const certificate = certify(keys, swarmId, keyPair.publicKey, extents);
  const signer = new FeedSigner({ swarmId, keyPair, certificate });
  const hashOf = (piece: number) => Buffer.alloc(32, piece);
  const batches = Array.from({ length: 20 }, (_, at) => {
    const pieces = Array.from({ length: 1 + at }, (__, next) => at + next);
    return signer.sign(pieces.map((piece) => ({ piece, hash: hashOf(piece) })))[0] as Buffer;
  });
  const batch = (random: SeededRandom) => random.pick(batches);
  const hello = encodeHello({
    swarmId,
    peerId: Buffer.alloc(20, 2),
    role: 'agent',
    nonce: Buffer.alloc(32, 3),
  });
  const handshake = encodeStockHandshake(swarmId, Buffer.alloc(20, 2), true);
  const torrent = torrentOf(hashOf);
  return [
    { name: 'messages', valid: streamOf, decode: readStream },
    { name: 'stock handshake', valid: () => handshake, decode: decodeStockHandshake },
    {
      name: 'hash request',
      // As a message is given to its decoder, id first.
      valid: (random) => someHashRequest(random).subarray(4),
      decode: (bytes) => orThrowsA(WireError, () => decodeHashRequest(bytes)),
    },
    {
      name: 'torrent',
      valid: () => torrent,
      decode: (bytes) => orThrowsA(TorrentError, () => loadTorrent(bytes)),
    },
    {
      name: 'hello',
      valid: () => hello,
      decode: (bytes) => orThrowsA(WireError, () => decodeHello(bytes)),
    },
    { name: 'batch', valid: batch, decode: decodeBatch },
    {
      name: 'batch list',
      valid: (random) => encodeBatchList([batch(random), batch(random)]),
      decode: decodeBatchList,
    },
    {
      name: 'certificate',
      valid: () => encodeCertificate(certificate),
      decode: decodeCertificate,
    },
    {
      name: 'bitfield',
      valid: (random) => random.bytes(PIECES / 8),
      decode: (bytes) => {
        const field = Bitfield.parse(bytes, PIECES);
        if (field !== undefined && field.count > PIECES) throw new Error('more than all pieces');
      },
    },
    {
      name: 'content range',
      valid: (random) => Buffer.from(`bytes ${random.below(1e9)}-${random.below(1e9)}/1000000000`),
      decode: (bytes) => {
        const headers = { 'content-range': bytes.toString('latin1') };
        contentRangeOf({ status: 206, headers, headerBytes: 0, timeToHeadMs: 0 });
      },
    },
    {
      name: 'top-up body',
      valid: (random) => random.bytes(PIECES / 8),
      decode: (bytes) => {
        const holds = (piece: number) => piece % 3 === 0;
        const assembles = (piece: number) => piece % 3 === 1;
        const sent = new Uint32Array(PIECES);
        const given = { pieceCount: PIECES, sent, holds, assembles, random: () => 0 };
        const piece = chooseTopUp(bytes, given);
        if (piece === undefined) return;
        const isAcceptable = ((bytes[piece >> 3] ?? 0) & (128 >> (piece & 7))) !== 0;
        if (!isAcceptable || !(holds(piece) || assembles(piece))) throw new Error(`gives ${piece}`);
      },
    },
    {
      name: 'feed',
      valid: batch,
      decode: (bytes) => {
        const log = new FeedLog({ swarmId, feedKey: keys.publicKey, pieceCount: PIECES });
        for (const { piece, hash } of log.accept(bytes).fresh) {
          if (!hashOf(piece).equals(hash)) throw new Error(`took another hash of piece ${piece}`);
        }
      },
    },
  ];
}

function streamOf(random: SeededRandom): Buffer {
  const count = 1 + random.below(MAX_MESSAGES);
  return Buffer.concat(Array.from({ length: count }, () => partOf(random)));
}

function partOf(random: SeededRandom): Buffer {
  const piece = random.below(PIECES);
  const block = { piece, offset: random.below(4) * BLOCK_BYTES, length: BLOCK_BYTES };
  const kinds: (() => Message)[] = [
    () => ({ type: 'unchoke' }),
    () => ({ type: 'haveAll' }),
    () => ({ type: 'have', piece }),
    () => ({ type: 'bitfield', bytes: random.bytes(PIECES / 8) }),
    () => ({ type: 'request', ...block }),
    () => ({ type: 'reject', ...block }),
    () => ({ type: 'feed', batch: random.bytes(100) }),
    () => ({ type: 'extensions', extensions: OWN_EXTENSIONS }),
    () => ({ type: 'extensions', extensions: FEED_WANTED }),
  ];
  const kind = kinds[random.below(kinds.length + 2)];
  if (kind !== undefined) return encode(kind());
  if (random.below(2) === 0) return KEEP_ALIVE;
  return Buffer.concat([encodePieceHeader(block), Buffer.alloc(BLOCK_BYTES)]);
}

function readStream(stream: Buffer): void {
  const reader = new MessageReader(PIECES, {
    onMessage: () => {},
    onBlockBegin: (_piece, _offset, length) => new Uint8Array(length),
    onBlockEnd: () => {},
  });
  orThrowsA(WireError, () => {
    for (let at = 0; at < stream.length; at += 100) reader.push(stream.subarray(at, at + 100));
  });
}

/** Some folders, a file of several pieces, and one of none. */
function torrentOf(hashOf: (piece: number) => Buffer): Buffer {
  const files = ['a/b/c', 'a/d', 'e'].map((path, at) => ({ path, sizeBytes: at * 40_000 }));
  const layout = layoutOf(files, 16_384);
  const pieces = Array.from({ length: layout.pieceCount }, (_, piece) => piece);
  const pieceHashes = pieces.map(hashOf);
  const sha1Pieces = pieceHashes.map((hash) => hash.subarray(0, 20));
  return buildTorrent({ name: 'set', layout, pieceHashes, sha1Pieces });
}

function orThrowsA(kind: new (...args: never[]) => Error, work: () => void): void {
  try {
    work();
  } catch (error) {
    if (!(error instanceof kind)) throw error;
  }
}
