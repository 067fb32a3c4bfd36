import type { BlockRequest } from '../wire/codec.ts';

/** The blocks that one peer owes us, and the times by which swarm/conduct.ts judges it. */
export class OutstandingRequests {
  bytes = 0;
  lastReceivedAtMs: number;
  /** When it last finished a block, or began to owe one. */
  lastBlockAtMs: number;
  readonly #blocks = new Map<string, BlockRequest>();

  constructor(nowMs: number) {
    this.lastReceivedAtMs = nowMs;
    this.lastBlockAtMs = nowMs;
  }

  add(blocks: readonly BlockRequest[], nowMs: number): void {
    // Its silence counts from now on.
    if (this.bytes === 0) {
      this.lastReceivedAtMs = nowMs;
      this.lastBlockAtMs = nowMs;
    }
    for (const block of blocks) {
      this.#blocks.set(blockKey(block), block);
      this.bytes += block.length;
    }
  }

  has(block: BlockRequest): boolean {
    return this.#blocks.has(blockKey(block));
  }

  list(): BlockRequest[] {
    return [...this.#blocks.values()];
  }

  /** The request is answered, by its bytes or by a reject. False: there is none. */
  settle(block: BlockRequest): boolean {
    if (!this.#blocks.delete(blockKey(block))) return false;
    this.bytes -= block.length;
    this.lastBlockAtMs = this.lastReceivedAtMs;
    return true;
  }
}

/** With its length: another one than was asked for is no answer, and would not fit its place. */
export function blockKey({ piece, offset, length }: BlockRequest): string {
  return `${piece}/${offset}/${length}`;
}
