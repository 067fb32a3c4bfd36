import type { SeededRandom } from './seededRandom.ts';

/** Numbers at which lengths, indexes and counts go wrong. */
const TELLING = [
  0, 1, 0x7f, 0x80, 0xff, 0xffff, 0x0002_0000, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff,
];
const MAX_INSERTED_BYTES = 64;
const SMALL_BYTES = 4_096;

/** A copy with one to three mistakes in it: what a broken or hostile peer might send instead. */
export function mutate(bytes: Uint8Array, random: SeededRandom): Buffer {
  let mutant = Buffer.from(bytes);
  const count = 1 + random.below(3);
  for (let at = 0; at < count; at += 1) mutant = mutateOnce(mutant, random);
  return mutant;
}

/** Of what goes over a connection; the rest are messages and headers. */
export function isPayload(bytes: Uint8Array): boolean {
  return bytes.byteLength > SMALL_BYTES;
}

/** Of a message, or the payload of a block, one bit. */
export function flipped(bytes: Uint8Array): Buffer {
  const wrong = Buffer.from(bytes);
  wrong[wrong.length >> 1] = (wrong[wrong.length >> 1] as number) ^ 1;
  return wrong;
}

function mutateOnce(bytes: Buffer, random: SeededRandom): Buffer<ArrayBuffer> {
  const mutant = Buffer.from(bytes);
  const at = random.below(bytes.length + 1);
  switch (random.below(7)) {
    case 0:
      if (at < bytes.length) mutant[at] = (mutant[at] as number) ^ (1 << random.below(8));
      return mutant;
    case 1:
      if (at < bytes.length) mutant[at] = random.below(256);
      return mutant;
    case 2:
      if (at + 4 <= bytes.length) {
        mutant.writeUInt32BE(random.pick(TELLING), at);
      }
      return mutant;
    case 3:
      return mutant.subarray(0, at);
    case 4: {
      const inserted = random.bytes(1 + random.below(MAX_INSERTED_BYTES));
      return Buffer.concat([mutant.subarray(0, at), inserted, mutant.subarray(at)]);
    }
    case 5:
      return Buffer.concat([mutant, mutant.subarray(at)]);
    default: {
      const until = Math.min(bytes.length, at + 1 + random.below(MAX_INSERTED_BYTES));
      return Buffer.concat([mutant.subarray(0, at), mutant.subarray(until)]);
    }
  }
}
