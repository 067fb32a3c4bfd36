/** Pieces as bits, high bit first (BEP 3), with their count kept. */
export class Bitfield {
  readonly size: number;
  readonly bytes: Uint8Array;
  #count = 0;

  constructor(size: number) {
    this.size = size;
    this.bytes = new Uint8Array(Math.ceil(size / 8));
  }

  get count(): number {
    return this.#count;
  }

  get full(): boolean {
    return this.#count === this.size;
  }

  has(piece: number): boolean {
    return ((this.bytes[piece >> 3] ?? 0) & (128 >> (piece & 7))) !== 0;
  }

  /** Whether it was not set before. */
  add(piece: number): boolean {
    if (piece < 0 || piece >= this.size) throw new RangeError(`no piece ${piece} of ${this.size}`);
    if (this.has(piece)) return false;
    this.bytes[piece >> 3] = (this.bytes[piece >> 3] ?? 0) | (128 >> (piece & 7));
    this.#count += 1;
    return true;
  }

  /** Whether it was set before. */
  delete(piece: number): boolean {
    if (!this.has(piece)) return false;
    this.bytes[piece >> 3] = (this.bytes[piece >> 3] as number) & ~(128 >> (piece & 7));
    this.#count -= 1;
    return true;
  }

  /** In order. */
  *pieces(): Generator<number> {
    for (let piece = 0; piece < this.size; piece += 1) if (this.has(piece)) yield piece;
  }

  /** Undefined when the length is wrong or a bit behind the last piece is set (BEP 3). */
  static parse(bytes: Uint8Array, size: number): Bitfield | undefined {
    if (bytes.byteLength !== Math.ceil(size / 8)) return undefined;
    const spare = bytes.byteLength * 8 - size;
    if (spare > 0 && ((bytes[bytes.byteLength - 1] as number) & ((1 << spare) - 1)) !== 0) {
      return undefined;
    }
    const field = new Bitfield(size);
    for (let piece = 0; piece < size; piece += 1) {
      if (((bytes[piece >> 3] as number) & (128 >> (piece & 7))) !== 0) field.add(piece);
    }
    return field;
  }
}
