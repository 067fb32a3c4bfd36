import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MAX_BATCH_BYTES } from '../feed/batch.ts';
import { decodeBatchList, encodeBatchList } from '../feed/batchList.ts';
import {
  type DecodedCertificate,
  decodeCertificate,
  encodeCertificate,
} from '../feed/certificate.ts';
import { contentRangeOf } from '../session/originAnswer.ts';
import { WireError } from '../wire/codec.ts';
import { decodeHashRequest, type HashRange } from '../wire/hashMessages.ts';
import { decodeHello, encodeHello } from '../wire/hello.ts';
import { decodeStockHandshake, encodeStockHandshake } from '../wire/stockHandshake.ts';
import { encodeHashRequest } from './hashRequest.ts';

/** Behind the length of a message. */
const ID_AT = 4;

const bytesOf = (length: number) =>
  fc.uint8Array({ minLength: length, maxLength: length }).map((bytes) => Buffer.from(bytes));
const anyBytes = fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes));
const uint32 = fc.nat(0xffff_ffff);

const hello = fc.record({
  swarmId: bytesOf(20),
  peerId: bytesOf(20),
  role: fc.constantFrom('relay' as const, 'agent' as const),
  nonce: bytesOf(32),
});
const hashRange = fc.record({
  root: bytesOf(32),
  baseLayer: uint32,
  index: uint32,
  length: uint32,
  proofLayers: uint32,
});
const certificate = fc.record({
  pullerKey: bytesOf(32).map((key) => key.toString('base64')),
  extents: fc
    .array(fc.record({ gap: fc.nat(50), count: fc.integer({ min: 1, max: 50 }) }), {
      minLength: 1,
      maxLength: 20,
    })
    .map((parts) => {
      let end = 0;
      return parts.map(({ gap, count }) => {
        const first = end + gap + 1;
        end = first + count;
        return { first, count };
      });
    }),
  signature: bytesOf(64).map((signature) => signature.toString('base64')),
});

function encodedAgain({ pullerKey, extents, signature }: DecodedCertificate): Buffer {
  return encodeCertificate({
    pullerKey: pullerKey.toString('base64'),
    extents: [...extents],
    signature: signature.toString('base64'),
  });
}

/** What it answers; undefined also when it refuses as peers are refused. */
function taken<T>(decode: () => T): T | undefined {
  try {
    return decode();
  } catch (error) {
    if (error instanceof WireError) return undefined;
    throw error;
  }
}

function asRequest(range: HashRange): Buffer {
  return encodeHashRequest(range).subarray(ID_AT);
}

function rangeSaid(contentRange: string) {
  const headers = { 'content-range': contentRange };
  return contentRangeOf({ status: 206, headers, headerBytes: 0, timeToHeadMs: 0 });
}

describe('what is encoded is decoded as it was:', () => {
  it('hellos', () => {
    fc.assert(
      fc.property(hello, (said) => {
        expect(decodeHello(encodeHello(said))).toMatchObject(said);
      }),
    );
  });

  it('handshakes of stock clients', () => {
    fc.assert(
      fc.property(bytesOf(20), bytesOf(20), fc.boolean(), (infoHash, peerId, version2) => {
        const bytes = encodeStockHandshake(infoHash, peerId, version2);
        const said = { infoHash, peerId, version2, fast: true, extended: true };
        expect(decodeStockHandshake(bytes)).toEqual(said);
      }),
    );
  });

  it('requests for hashes', () => {
    fc.assert(
      fc.property(hashRange, (range) => {
        expect(decodeHashRequest(asRequest(range))).toEqual(range);
      }),
    );
  });

  it('lists of batches', () => {
    fc.assert(
      fc.property(fc.array(anyBytes, { maxLength: 8 }), (batches) => {
        expect(decodeBatchList(encodeBatchList(batches))).toEqual(batches);
      }),
    );
  });

  it('certificates', () => {
    fc.assert(
      fc.property(certificate, (issued) => {
        const decoded = decodeCertificate(encodeCertificate(issued));
        expect(decoded && encodedAgain(decoded)).toEqual(encodeCertificate(issued));
      }),
    );
  });

  it('ranges that origins say', () => {
    const number = fc.nat(1e9);
    fc.assert(
      fc.property(number, number, fc.option(number), (start, last, total) => {
        const said = rangeSaid(`bytes ${start}-${last}/${total ?? '*'}`);
        expect(said).toEqual({ start, end: last + 1, totalBytes: total ?? undefined });
      }),
    );
  });
});

describe('any other bytes are refused, or mean what they are:', () => {
  const encoded = [
    {
      name: 'hellos',
      arbitrary: hello.map((said) => encodeHello(said)),
      again: (bytes: Buffer) => {
        const decoded = taken(() => decodeHello(bytes));
        return decoded && encodeHello(decoded);
      },
    },
    {
      name: 'requests for hashes',
      arbitrary: hashRange.map(asRequest),
      again: (bytes: Buffer) => {
        const decoded = taken(() => decodeHashRequest(bytes));
        return decoded && asRequest(decoded);
      },
    },
    {
      name: 'lists of batches',
      arbitrary: fc.array(anyBytes, { maxLength: 4 }).map(encodeBatchList),
      again: (bytes: Buffer) => {
        const decoded = decodeBatchList(bytes);
        return decoded && encodeBatchList(decoded);
      },
    },
    {
      name: 'certificates',
      arbitrary: certificate.map(encodeCertificate),
      again: (bytes: Buffer) => {
        const decoded = decodeCertificate(bytes);
        return decoded && encodedAgain(decoded);
      },
    },
  ];

  it.each(encoded)('$name', ({ arbitrary, again }) => {
    fc.assert(
      fc.property(anyBytes, (bytes) => {
        expect([undefined, bytes.toString('hex')]).toContain(again(bytes)?.toString('hex'));
      }),
    );
    // With one byte that is another one, and with an end that is missing.
    fc.assert(
      fc.property(arbitrary, fc.nat(), fc.nat(255), fc.boolean(), (bytes, at, value, isCut) => {
        const place = at % (bytes.length + 1);
        const mutant = Buffer.from(isCut ? bytes.subarray(0, place) : bytes);
        if (!isCut && place < mutant.length) mutant[place] = value;
        expect([undefined, mutant.toString('hex')]).toContain(again(mutant)?.toString('hex'));
      }),
    );
  });

  it('handshakes of stock clients', () => {
    fc.assert(
      fc.property(anyBytes, (bytes) => {
        expect(decodeStockHandshake(bytes)).toBeUndefined();
      }),
    );
  });

  it('a list with a batch that is too long', () => {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(MAX_BATCH_BYTES + 1);
    expect(
      decodeBatchList(Buffer.concat([length, Buffer.alloc(MAX_BATCH_BYTES + 1)])),
    ).toBeUndefined();
  });

  it('ranges that origins say', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        const said = rangeSaid(text);
        if (said === undefined) return;
        const { start, end, totalBytes } = said;
        expect([start, end].every(Number.isSafeInteger)).toBe(true);
        expect(totalBytes === undefined || Number.isSafeInteger(totalBytes)).toBe(true);
      }),
    );
  });
});
