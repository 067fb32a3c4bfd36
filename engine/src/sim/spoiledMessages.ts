import bencode from 'bencode';
import {
  encode,
  encodePieceHeader,
  FEED_WANTED,
  KEEP_ALIVE,
  type Message,
  OWN_EXTENSIONS,
  STOCK_REQUEST_BYTES,
} from '../wire/codec.ts';
import { someHashRequest } from './hashRequest.ts';
import type { SeededRandom } from './seededRandom.ts';

/** Where a message says what it is. */
const ID_AT = 4;
const PAYLOAD_BYTES = 1_000;

export interface Said {
  readonly pieceCount: number;
  /** Batches of the feed that are right. */
  readonly batches: readonly Uint8Array[];
}

/** What a member of a swarm says to one that it calls, in any order. */
export function memberMessage({ pieceCount, batches }: Said, random: SeededRandom): Buffer {
  const batch = random.pick(batches);
  return someMessage(pieceCount, random, [
    () => encode({ type: 'feed', batch }),
    () => encode({ type: 'extensions', extensions: OWN_EXTENSIONS }),
    () => encode({ type: 'extensions', extensions: FEED_WANTED }),
  ]);
}

/** What an ordinary client says. */
export function clientMessage(pieceCount: number, random: SeededRandom): Buffer {
  return someMessage(pieceCount, random, [() => someHashRequest(random), () => extensions()]);
}

function someMessage(
  pieceCount: number,
  random: SeededRandom,
  more: readonly (() => Buffer)[],
): Buffer {
  const piece = random.below(pieceCount);
  const length = STOCK_REQUEST_BYTES;
  const block = { piece, offset: random.below(4) * length, length };
  const said = (message: Message) => () => encode(message);
  const kinds: readonly (() => Buffer)[] = [
    said({ type: 'interested' }),
    said({ type: 'notInterested' }),
    said({ type: 'unchoke' }),
    said({ type: 'choke' }),
    said({ type: 'haveAll' }),
    said({ type: 'haveNone' }),
    said({ type: 'have', piece }),
    said({ type: 'bitfield', bytes: random.bytes(Math.ceil(pieceCount / 8)) }),
    said({ type: 'request', ...block }),
    said({ type: 'request', ...block }),
    said({ type: 'cancel', ...block }),
    said({ type: 'reject', ...block }),
    () => KEEP_ALIVE,
    () =>
      Buffer.concat([
        encodePieceHeader({ ...block, length: PAYLOAD_BYTES }),
        Buffer.alloc(PAYLOAD_BYTES),
      ]),
    ...more,
  ];
  return random.pick(kinds)();
}

/** BEP 10, as clients say it. */
function extensions(): Buffer {
  const body = bencode.encode({ m: { ut_metadata: 1, ut_pex: 2 }, reqq: 250, v: 'client' });
  const head = Buffer.alloc(6);
  head.writeUInt32BE(body.byteLength + 2, 0);
  head[ID_AT] = 20;
  return Buffer.concat([head, body]);
}
