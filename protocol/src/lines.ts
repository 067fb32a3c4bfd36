/** Lines of UTF-8 out of a stream of bytes; empty ones say nothing and are left out. */
import { InvalidMessageError } from './validate.ts';

export class LineSplitter {
  readonly #maxLineBytes: number;
  #parts: Buffer[] = [];
  #sizeBytes = 0;

  constructor(maxLineBytes: number) {
    this.#maxLineBytes = maxLineBytes;
  }

  /** The lines that end in this chunk. Throws an InvalidMessageError when one is above the bound. */
  push(chunk: Uint8Array): string[] {
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    const lines: string[] = [];
    let from = 0;
    for (;;) {
      const end = bytes.indexOf(0x0a, from);
      const part = bytes.subarray(from, end === -1 ? undefined : end);
      this.#sizeBytes += part.length;
      if (this.#sizeBytes > this.#maxLineBytes) {
        throw new InvalidMessageError(`a line is longer than ${this.#maxLineBytes} bytes`);
      }
      if (part.length > 0) this.#parts.push(part);
      if (end === -1) return lines;
      if (this.#sizeBytes > 0) {
        lines.push(Buffer.concat(this.#parts, this.#sizeBytes).toString('utf8'));
      }
      this.#parts = [];
      this.#sizeBytes = 0;
      from = end + 1;
    }
  }
}

/** A line above the bound ends it with an InvalidMessageError. */
export async function* linesOf(
  chunks: AsyncIterable<Uint8Array>,
  maxLineBytes: number,
): AsyncGenerator<string> {
  const splitter = new LineSplitter(maxLineBytes);
  for await (const chunk of chunks) yield* splitter.push(chunk);
}
