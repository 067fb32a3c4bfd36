interface Bad {
  readonly bytes: Uint8Array;
  readonly senders: Int32Array;
}

/** Whole pieces: the oldest makes room, so that pieces that never verify do not end the search. */
const MAX_KEPT = 4;

/** Finds who sent wrong bytes when several peers sent blocks of a piece that did not verify. */
export class Suspects {
  readonly #bad = new Map<number, Bad>();

  /** Bytes that did not verify. Whom to ban at once: a sole sender. */
  mismatch(piece: number, bytes: Uint8Array, senders: Int32Array): number | undefined {
    const sole = senders.every((sender) => sender === senders[0]) ? senders[0] : undefined;
    if (sole !== undefined) return sole;
    this.#bad.delete(piece);
    const oldest = this.#bad.keys().next().value;
    if (this.#bad.size >= MAX_KEPT && oldest !== undefined) this.#bad.delete(oldest);
    this.#bad.set(piece, { bytes, senders });
    return undefined;
  }

  /** The right bytes: who had sent others for any block. */
  verified(piece: number, bytes: Uint8Array, blockBytes: number): Set<number> {
    const guilty = new Set<number>();
    const bad = this.#bad.get(piece);
    this.#bad.delete(piece);
    bad?.senders.forEach((sender, block) => {
      const [start, end] = [block * blockBytes, (block + 1) * blockBytes];
      const differs =
        Buffer.compare(bad.bytes.subarray(start, end), bytes.subarray(start, end)) !== 0;
      if (differs) guilty.add(sender);
    });
    return guilty;
  }
}
