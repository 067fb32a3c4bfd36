import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  encode,
  encodePieceHeader,
  KEEP_ALIVE,
  LARGE_REQUEST_BYTES,
  type Message,
  MessageReader,
  OWN_EXTENSIONS,
  WireError,
} from './codec.ts';
import { decodeHello, encodeHello, HELLO_BYTES } from './hello.ts';

const PIECES = 1000;
const piece = fc.integer({ min: 0, max: PIECES - 1 });
const block = fc.record({
  piece,
  offset: fc.integer({ min: 0, max: 2 ** 24 }),
  length: fc.integer({ min: 1, max: LARGE_REQUEST_BYTES }),
});
const message: fc.Arbitrary<Message> = fc.oneof(
  fc.constantFrom(
    ...(['choke', 'unchoke', 'interested', 'notInterested', 'haveAll', 'haveNone'] as const).map(
      (type) => ({ type }),
    ),
  ),
  piece.map((each) => ({ type: 'have' as const, piece: each })),
  fc.uint8Array({ maxLength: 200 }).map((bytes) => ({ type: 'bitfield' as const, bytes })),
  fc
    .tuple(fc.constantFrom('request' as const, 'cancel' as const, 'reject' as const), block)
    .map(([type, each]) => ({ type, ...each })),
  fc.uint8Array({ maxLength: 2000 }).map((batch) => ({ type: 'feed' as const, batch })),
  fc.constant({ type: 'extensions' as const, extensions: OWN_EXTENSIONS }),
);

/** Reads a stream that arrives in chunks of these sizes. */
function readAll(stream: Uint8Array, chunkBytes: number) {
  const messages: Message[] = [];
  const blocks: { piece: number; offset: number; bytes: Buffer }[] = [];
  let target = Buffer.alloc(0);
  const reader = new MessageReader(PIECES, {
    onMessage: (each) => messages.push(owned(each)),
    onBlockBegin: (_piece, _offset, length) => {
      target = Buffer.alloc(length);
      return target;
    },
    onBlockEnd: (at, offset) => blocks.push({ piece: at, offset, bytes: target }),
  });
  for (let at = 0; at < stream.length; at += chunkBytes) {
    // As the transport does it: a buffer that is used again for the next read.
    const chunk = Buffer.from(stream.subarray(at, at + chunkBytes));
    reader.push(chunk);
    chunk.fill(0xee);
  }
  return { messages, blocks };
}

function owned(each: Message): Message {
  if (each.type === 'bitfield') return { ...each, bytes: Uint8Array.from(each.bytes) };
  if (each.type === 'feed') return { ...each, batch: Uint8Array.from(each.batch) };
  return each;
}

function frame(...bytes: number[]): Buffer {
  const head = Buffer.alloc(4);
  head.writeUInt32BE(bytes.length);
  return Buffer.concat([head, Buffer.from(bytes)]);
}

describe('the codec', () => {
  it('reads what it wrote, however the stream is cut', () => {
    fc.assert(
      fc.property(
        fc.array(message, { maxLength: 12 }),
        fc.integer({ min: 1, max: 300 }),
        (messages, chunkBytes) => {
          const stream = Buffer.concat(messages.flatMap((each) => [encode(each), KEEP_ALIVE]));
          expect(readAll(stream, chunkBytes).messages).toEqual(messages.map(owned));
        },
      ),
    );
  });

  it('puts the bytes of a block where they belong', () => {
    fc.assert(
      fc.property(
        piece,
        fc.uint8Array({ minLength: 1, maxLength: 3000 }),
        fc.integer({ min: 1, max: 500 }),
        (at, bytes, chunkBytes) => {
          const header = encodePieceHeader({ piece: at, offset: 7, length: bytes.length });
          const stream = Buffer.concat([header, bytes, encode({ type: 'unchoke' })]);
          const { blocks, messages } = readAll(stream, chunkBytes);
          expect(blocks).toEqual([{ piece: at, offset: 7, bytes: Buffer.from(bytes) }]);
          expect(messages).toEqual([{ type: 'unchoke' }]);
        },
      ),
    );
  });

  it.each([
    ['a have of a piece that is not there', encode({ type: 'have', piece: PIECES }), 'Malformed'],
    ['a have of two bytes', frame(4, 0, 0), 'Malformed'],
    ['an unchoke with a body', frame(1, 0), 'Malformed'],
    ['a message of 16 MiB', Buffer.of(1, 0, 0, 0, 5), 'Oversized'],
    ['an empty extended message', frame(20), 'Malformed'],
    ['a broken extension handshake', frame(20, 0, 0x64, 0x31), 'Malformed'],
    ['a block of no bytes', frame(7, 0, 0, 0, 0, 0, 0, 0, 0), 'Oversized'],
    [
      'a request of more than is ever served',
      encode({ type: 'request', piece: 0, offset: 0, length: LARGE_REQUEST_BYTES + 1 }),
      'Oversized',
    ],
    [
      'a block of more than is ever asked for',
      encodePieceHeader({ piece: 0, offset: 0, length: LARGE_REQUEST_BYTES + 1 }),
      'Oversized',
    ],
  ])('refuses %s', (_, stream, code) => {
    for (const chunkBytes of [4, stream.length]) {
      expect(() => readAll(stream, chunkBytes)).toThrow(expect.objectContaining({ code }));
    }
  });

  it('writes a block by the set() of its target, where that has one of its own', () => {
    const written: number[] = [];
    class Watched extends Uint8Array {
      override set(bytes: Uint8Array, offset = 0): void {
        written.push(offset, ...bytes);
      }
    }
    const target = new Watched(3);
    const reader = new MessageReader(PIECES, {
      onMessage: () => {},
      onBlockBegin: () => target,
      onBlockEnd: () => {},
    });
    reader.push(
      Buffer.concat([encodePieceHeader({ piece: 0, offset: 0, length: 3 }), Buffer.of(7)]),
    );
    reader.push(Buffer.of(8, 9));
    expect(written).toEqual([0, 7, 1, 8, 9]);
    expect([...target]).toEqual([0, 0, 0]);
  });

  it('gives unknown messages to whoever wants them, however the stream is cut', () => {
    const stream = Buffer.concat([frame(99, 1, 2, 3), frame(98)]);
    for (let chunkBytes = 1; chunkBytes <= stream.length; chunkBytes += 1) {
      const unknown: number[][] = [];
      const reader = new MessageReader(PIECES, {
        onMessage: () => {},
        onBlockBegin: () => undefined,
        onBlockEnd: () => {},
        onUnknown: (bytes) => unknown.push([...bytes]),
      });
      for (let at = 0; at < stream.length; at += chunkBytes) {
        reader.push(stream.subarray(at, at + chunkBytes));
      }
      expect(unknown).toEqual([[99, 1, 2, 3], [98]]);
    }
  });

  it('throws nothing but a WireError at garbage, and ignores unknown messages', () => {
    expect(readAll(frame(99, 1, 2, 3), 2).messages).toEqual([]);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), (garbage) => {
        try {
          readAll(garbage, 64);
        } catch (error) {
          expect(error).toBeInstanceOf(WireError);
        }
      }),
    );
  });
});

describe('the hello', () => {
  const hello = {
    swarmId: Buffer.alloc(20, 1),
    peerId: Buffer.alloc(20, 2),
    role: 'agent' as const,
    nonce: Buffer.alloc(32, 3),
  };

  it('comes back from its bytes', () => {
    const bytes = encodeHello(hello);
    expect(bytes.length).toBe(HELLO_BYTES);
    expect(decodeHello(bytes)).toMatchObject(hello);
    expect(encodeHello(decodeHello(bytes))).toEqual(bytes);
  });

  it('keeps bits that a newer release sets: what is proven is what was sent', () => {
    const bytes = encodeHello(hello);
    bytes[27] = (bytes[27] as number) | 0x01;
    bytes[22] = 0x80;
    expect(decodeHello(bytes)).toMatchObject(hello);
    expect(encodeHello(decodeHello(bytes))).toEqual(bytes);
  });

  it.each([
    ['another protocol', 1, 0x62, 'Malformed'],
    ['no extension messages', 25, 0, 'Malformed'],
    ['no fast messages', 27, 0, 'Malformed'],
    ['an unknown role', 68, 7, 'Malformed'],
    ['another version', 23, 1, 'UnknownVersion'],
  ])('is refused with %s', (_, at, byte, code) => {
    const bytes = encodeHello(hello);
    bytes[at] = byte;
    expect(() => decodeHello(bytes)).toThrow(expect.objectContaining({ code }));
  });

  it('of another version is told by its version, whatever else is new in it', () => {
    const bytes = encodeHello(hello);
    bytes[23] = 1;
    bytes[27] = 0;
    bytes[68] = 2;
    expect(() => decodeHello(bytes)).toThrow("version 2 of the peers' protocol, this process 1");
  });
});
