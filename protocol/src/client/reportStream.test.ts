import type { Readable } from 'node:stream';
import { beforeEach, describe, expect, it } from 'vitest';
import { ReportStream } from './reportStream.ts';

const NEVER = new AbortController().signal;
const reportOf = (sequence: number) => ({ incarnation: 'one-of-it', sequence, transfers: [] });

let stream: ReportStream;
let body: Readable;

beforeEach(() => {
  stream = new ReportStream();
  body = stream.body();
});

/** What goes up from now on. */
function readAll(): string[] {
  const lines: string[] = [];
  body.on('data', (chunk: Buffer) => lines.push(String(chunk)));
  return lines;
}

describe('reports by a work stream', () => {
  it('are answered up to the sequence that the server names', async () => {
    const lines = readAll();
    await new Promise(setImmediate);
    const sent = [1, 2, 3].map((sequence) => stream.send(reportOf(sequence), NEVER));
    stream.answered(2, { reportIntervalMs: 700 });
    expect(await Promise.all(sent.slice(0, 2))).toEqual([
      { reportIntervalMs: 700 },
      { reportIntervalMs: 700 },
    ]);
    stream.end();
    await expect(sent[2]).rejects.toMatchObject({ code: 'Unreachable' });
    expect(lines).toEqual([
      '\n',
      ...[1, 2, 3].map((each) => `${JSON.stringify(reportOf(each))}\n`),
    ]);
  });

  it('do not pile up where the way up stands still', async () => {
    // Nobody reads: the empty line waits.
    await expect(stream.send(reportOf(1), NEVER)).rejects.toMatchObject({ code: 'TimedOut' });
    expect(body.readableLength).toBe(1);
  });

  it('may be aborted before they go and while they wait, and another one goes after', async () => {
    readAll();
    await new Promise(setImmediate);
    const none = stream.send(reportOf(1), AbortSignal.abort());
    await expect(none).rejects.toMatchObject({ code: 'Aborted' });
    const abort = new AbortController();
    const waiting = stream.send(reportOf(2), abort.signal);
    abort.abort();
    await expect(waiting).rejects.toMatchObject({ code: 'Aborted' });
    const next = stream.send(reportOf(3), NEVER);
    stream.answered(3, { reportIntervalMs: 100 });
    await next;
  });
});
