import { ControlError } from './controlError.ts';

/** Non-empty lines of UTF-8. A line above the bound ends it with InvalidAnswer. */
export async function* linesOf(
  chunks: AsyncIterable<Uint8Array>,
  maxLineBytes: number,
): AsyncGenerator<string> {
  let parts: Buffer[] = [];
  let sizeBytes = 0;
  for await (const chunk of chunks) {
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    let from = 0;
    for (;;) {
      const end = bytes.indexOf(0x0a, from);
      const part = bytes.subarray(from, end === -1 ? undefined : end);
      sizeBytes += part.length;
      if (sizeBytes > maxLineBytes) {
        throw new ControlError('InvalidAnswer', `a line is longer than ${maxLineBytes} bytes`);
      }
      parts.push(part);
      if (end === -1) break;
      if (sizeBytes > 0) yield Buffer.concat(parts, sizeBytes).toString('utf8');
      parts = [];
      sizeBytes = 0;
      from = end + 1;
    }
  }
}
