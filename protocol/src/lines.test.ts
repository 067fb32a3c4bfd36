import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { linesOf } from './lines.ts';

async function collect(chunks: Uint8Array[], maxLineBytes = 1000): Promise<string[]> {
  async function* stream() {
    yield* chunks;
  }
  const lines: string[] = [];
  for await (const line of linesOf(stream(), maxLineBytes)) lines.push(line);
  return lines;
}

describe('lines of a stream', () => {
  it('come out whole however the bytes were cut', async () => {
    const line = fc
      .string({ unit: 'binary' })
      .filter((text) => text !== '' && !text.includes('\n'));
    await fc.assert(
      fc.asyncProperty(
        fc.array(line, { maxLength: 20 }),
        fc.integer({ min: 1, max: 9 }),
        async (lines, step) => {
          const bytes = Buffer.from(lines.map((each) => `${each}\n`).join(''));
          const chunks: Buffer[] = [];
          for (let at = 0; at < bytes.length; at += step)
            chunks.push(bytes.subarray(at, at + step));
          const expected = lines.map((each) => Buffer.from(each).toString('utf8'));
          expect(await collect(chunks, 100_000)).toEqual(expected);
        },
      ),
    );
  });

  it('are given up when they are too long, also without an end', async () => {
    const long = [Buffer.from('x'.repeat(600)), Buffer.from('x'.repeat(600))];
    await expect(collect(long)).rejects.toMatchObject({ code: 'InvalidMessage' });
  });

  it('leave out empty ones and one that is cut off', async () => {
    expect(await collect([Buffer.from('a\n\n\nb\ncut')])).toEqual(['a', 'b']);
  });
});
