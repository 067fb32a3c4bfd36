import { beforeEach, describe, expect, it } from 'vitest';
import { TokenBucket } from '../pacing/tokenBucket.ts';
import { VirtualClock } from '../sim/virtualClock.ts';
import { type BlockRequest, LARGE_REQUEST_BYTES } from '../wire/codec.ts';
import { PieceMemory } from './pieceMemory.ts';
import { SendProgress } from './sendProgress.ts';
import { type Receiver, type Served, Uploader } from './uploader.ts';

const MIB = 1_048_576;
const OWNER = 'swarm';

let clock: VirtualClock;
let memory: PieceMemory;
let uploader: Uploader;

beforeEach(() => {
  clock = new VirtualClock();
  memory = new PieceMemory();
  uploader = new Uploader(unlimited(), clock, memory);
});

function unlimited(): TokenBucket {
  return new TokenBucket({ rateBytesPerSecond: undefined, capacityBytes: 0 }, 0);
}

/** Takes what it is sent after so long, or nothing at all. */
class FakeReceiver implements Receiver {
  readonly isOpen = true;
  readonly requests: BlockRequest[] = [];
  readingBytes = 0;
  queuedBytes = 0;
  receivedBytes = 0;
  reads: boolean;
  takesMs = 1;
  readonly #progress = new SendProgress(0);
  readonly #unsent: (() => void)[] = [];

  constructor(reads: boolean) {
    this.reads = reads;
  }

  get takenLatelyBytes(): number {
    return this.#progress.takenLatelyBytes(this.queuedBytes, clock.now());
  }

  send(): void {}

  sendBlock(_block: BlockRequest, { byteLength }: Uint8Array, onSent?: () => void): void {
    this.#progress.writes(byteLength, this.queuedBytes, clock.now());
    this.queuedBytes += byteLength;
    this.#unsent.push(() => {
      this.queuedBytes -= byteLength;
      this.receivedBytes += byteLength;
      onSent?.();
    });
    clock.setTimer(this.takesMs, () => this.take());
  }

  take(): void {
    if (!this.reads) return;
    for (const sent of this.#unsent.splice(0)) sent();
  }

  asks(piece: number, blocks: number, length = LARGE_REQUEST_BYTES): void {
    for (let at = 0; at < blocks; at += 1) {
      this.requests.push({ piece, offset: at * length, length });
    }
    uploader.add(this, served);
  }
}

const served: Served = {
  bucket: unlimited(),
  isSecondary: () => false,
  serves: () => true,
  lend: (piece) => memory.lend(OWNER, piece),
  readInto: async () => clock.settleSoon(),
  uploaded: () => {},
  broke: (error) => {
    throw error;
  },
};

function keep(piece: number, sizeBytes: number): void {
  memory.keep(OWNER, piece, memory.take(sizeBytes), true);
}

function pass(ms: number): Promise<boolean> {
  return clock.run(() => false, ms);
}

/** One after the other, as long as they can get something. */
async function silent(count: number, length = LARGE_REQUEST_BYTES): Promise<FakeReceiver[]> {
  const receivers = Array.from({ length: count }, () => new FakeReceiver(false));
  for (const receiver of receivers) {
    receiver.asks(1, 32, length);
    await pass(5);
  }
  return receivers;
}

describe('peers that take nothing', () => {
  it.each([
    { name: 'of ours, with pieces from the disk', count: 20, length: LARGE_REQUEST_BYTES },
    { name: 'stock clients', count: 20, length: 16_384 },
  ])('do not hold up who takes: $name', async ({ count, length }) => {
    await silent(count, length);
    const reader = new FakeReceiver(true);
    reader.asks(2, 64, length);
    await pass(1_000);
    expect(reader.receivedBytes).toBe(64 * length);
  });

  it('do not hold up who takes, with pieces that are in memory', async () => {
    for (let piece = 0; piece < 16; piece += 1) keep(piece, MIB);
    for (let piece = 0; piece < 16; piece += 1) new FakeReceiver(false).asks(piece, 8);
    await pass(10);
    const reader = new FakeReceiver(true);
    reader.asks(0, 8);
    await pass(100);
    expect(reader.receivedBytes).toBe(MIB);
  });

  it('do not hold up who took something lately, however many they are', async () => {
    const reader = new FakeReceiver(true);
    reader.asks(0, 32);
    await pass(100);
    await silent(200);
    reader.asks(2, 64);
    await pass(100);
    expect(reader.receivedBytes).toBe(96 * LARGE_REQUEST_BYTES);
  });

  it('who are slow, and hold all that is given on trust, do not hold up who comes and takes', async () => {
    for (let count = 0; count < 200; count += 1) {
      const slow = new FakeReceiver(true);
      slow.takesMs = 1_000;
      slow.asks(0, 100);
    }
    await pass(1_500);
    const late = new FakeReceiver(true);
    late.asks(2, 64);
    for (let round = 0; round < 80; round += 1) await pass(100);
    expect(late.receivedBytes).toBe(64 * LARGE_REQUEST_BYTES);
  });

  it('leave room, when they end, for those who wait', async () => {
    const [one, ...others] = await silent(200);
    if (one === undefined) throw new Error('nobody');
    const late = new FakeReceiver(true);
    late.asks(2, 32);
    await pass(100);
    expect(late.receivedBytes).toBe(0);
    for (const other of others) uploader.remove(other);
    one.requests.length = 0;
    one.reads = true;
    one.take();
    await pass(100);
    expect(late.receivedBytes).toBe(32 * LARGE_REQUEST_BYTES);
  });

  it('are served no further once they stop', async () => {
    const receiver = new FakeReceiver(true);
    receiver.asks(0, 64);
    await pass(10);
    expect(receiver.receivedBytes).toBeGreaterThan(MIB);
    receiver.reads = false;
    await pass(3_000);
    receiver.asks(0, 64);
    await pass(10);
    expect(receiver.queuedBytes).toBeLessThanOrEqual(8 * LARGE_REQUEST_BYTES);
    const heldBytes = receiver.queuedBytes;
    receiver.asks(0, 64);
    await pass(10);
    expect(receiver.queuedBytes).toBe(heldBytes);
  });
});

it('gives who takes a MiB ahead', async () => {
  const receiver = new FakeReceiver(true);
  receiver.asks(0, 32);
  await pass(20);
  receiver.reads = false;
  receiver.asks(0, 32);
  await pass(20);
  expect(receiver.queuedBytes).toBe(MIB);
});

it('sends from pieces that are too large to be lent, too', async () => {
  keep(0, 16 * MIB);
  const slow = new FakeReceiver(true);
  slow.asks(0, 32);
  await pass(20);
  slow.reads = false;
  slow.asks(0, 8);
  await pass(20);
  const other = new FakeReceiver(true);
  other.asks(0, 32);
  await pass(100);
  expect(other.receivedBytes).toBe(32 * LARGE_REQUEST_BYTES);
});
