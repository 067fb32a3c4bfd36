import { createHash } from 'node:crypto';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { startLoopbackOrigin } from './loopback.ts';
import type { Behaviour, MeterStats, OriginFile, OriginHost } from './origin.ts';
import { ask, oneConnection } from './testing.ts';

const KIB = 1024;

let origin: OriginHost;
let file: OriginFile;

beforeAll(async () => {
  origin = await startLoopbackOrigin();
  file = await origin.putFile('file.bin', { sizeBytes: 300 * KIB, seed: 1 });
});
afterAll(() => origin?.stop());
afterEach(async () => {
  await origin.behave('/file.bin', undefined);
  // One that a failed test left would spoil the counts of the next.
  await origin.cutConnections();
  await untilClosed();
  await origin.reset();
});

async function openConnections(): Promise<number> {
  return (await origin.stats()).connections.open;
}

/** The meter sees the end of a connection a moment after the client. */
async function untilClosed(): Promise<MeterStats> {
  const giveUpAt = performance.now() + 5_000;
  for (;;) {
    const stats = await origin.stats();
    if (stats.connections.open === 0) return stats;
    if (performance.now() > giveUpAt) throw new Error('connections stay open at the meter');
    await sleep(10);
  }
}

describe('the files of the origin', () => {
  it('are the same bytes for the same seed, and say their digest', async () => {
    const again = await origin.putFile('again.bin', { sizeBytes: 300 * KIB, seed: 1 });
    const other = await origin.putFile('other.bin', { sizeBytes: 300 * KIB, seed: 2 });
    expect(again.sha256).toBe(file.sha256);
    expect(other.sha256).not.toBe(file.sha256);
    const { body } = await ask(file.url);
    expect(createHash('sha256').update(body).digest('hex')).toBe(file.sha256);
  });

  it('get another validator with other bytes of the same size', async () => {
    const before = await origin.putFile('changing.bin', { sizeBytes: KIB, seed: 1 });
    const first = await ask(before.url, { method: 'HEAD' });
    await origin.changeFile('changing.bin', { sizeBytes: KIB, seed: 2 });
    const second = await ask(before.url, { method: 'HEAD' });
    expect(first.headers.etag).toMatch(/^"/);
    expect(second.headers.etag).not.toBe(first.headers.etag);
    const old = { 'if-match': first.headers.etag };
    expect((await ask(before.url, { headers: old })).status).toBe(412);
  });
});

describe('the meter', () => {
  it('counts every request, connection and byte as the client sees them', async () => {
    const kept = oneConnection();
    await ask(file.url, { agent: kept });
    const range = await ask(file.url, { agent: kept, headers: { range: 'bytes=1000-1999' } });
    const single = await ask(file.url, { method: 'HEAD' });
    await expect.poll(openConnections).toBe(1);
    kept.destroy();
    const stats = await untilClosed();

    expect(range.status).toBe(206);
    expect(range.body.length).toBe(1_000);
    expect(stats.requests.map(({ method, status, range }) => [method, status, range])).toEqual([
      ['GET', 200, undefined],
      ['GET', 206, 'bytes=1000-1999'],
      ['HEAD', 200, undefined],
    ]);
    expect(stats.requests.every(({ complete }) => complete)).toBe(true);
    expect(stats.requests[1]?.contentRange).toBe(`bytes 1000-1999/${file.sizeBytes}`);
    expect(stats.connections).toMatchObject({ open: 0, peak: 2, total: 2 });
    expect(stats.connections.list.map(({ bytes }) => bytes)).toEqual([
      range.connectionBytes,
      single.connectionBytes,
    ]);
    const received = range.connectionBytes + single.connectionBytes;
    expect(stats.bytesTotal).toBe(received);
    expect(sum(stats.requests.map(({ bytes }) => bytes))).toBe(received);
    expect(sum(stats.perMillisecond.map(([, bytes]) => bytes))).toBe(received);
  });

  it('counts a connection that sends nothing, from its accept to its end', async () => {
    const idle = oneConnection();
    await ask(file.url, { method: 'HEAD', agent: idle });
    await ask(file.url, { method: 'HEAD' });
    await expect.poll(openConnections).toBe(1);
    await sleep(100);
    expect(await openConnections()).toBe(1);
    idle.destroy();
    const [first, second] = (await untilClosed()).connections.list;
    expect((first?.closeMs ?? 0) - (first?.openMs ?? 0)).toBeGreaterThan(100);
    expect(second?.closeMs).toBeLessThan(first?.closeMs ?? 0);
  });

  it('finds the fullest second however it lies', async () => {
    const sizes = [200 * KIB, 150 * KIB, 250 * KIB, 90 * KIB];
    // No second holds three bursts; two come within 700 ms unless this machine is very busy.
    const pausesMs = [0, 600, 700, 600];
    const received: number[] = [];
    for (const [at, sizeBytes] of sizes.entries()) {
      await sleep(pausesMs[at] ?? 0);
      const headers = { range: `bytes=0-${sizeBytes - 1}` };
      received.push((await ask(file.url, { headers })).connectionBytes);
    }
    const stats = await origin.stats();
    const windows = stats.perMillisecond.map(([start]) => {
      const within = stats.perMillisecond.filter(([at]) => at >= start && at < start + 1_000);
      return sum(within.map(([, bytes]) => bytes));
    });
    expect(stats.maxOneSecondWindowBytes).toBe(Math.max(...windows));
    expect(stats.maxOneSecondWindowBytes).toBeGreaterThanOrEqual(Math.max(...received));
    expect(stats.maxOneSecondWindowBytes).toBeLessThan(sum(received));
    expect(stats.bytesTotal).toBe(sum(received));
  });

  it('counts what was sent to a slow client, not what the origin could send', async () => {
    const large = await origin.putFile('large.bin', { sizeBytes: 64 * KIB * KIB, seed: 3 });
    const [host, port] = origin.address.split(':');
    const client = connect({ host: host ?? '', port: Number(port) });
    client.pause();
    client.write(`GET /${large.name} HTTP/1.1\r\nHost: origin\r\n\r\n`);
    const takenBytes = async () => (await origin.stats()).requests[0]?.bytes ?? 0;
    await expect.poll(takenBytes).toBeGreaterThan(0);
    // Until nothing more is taken.
    for (let last = 0; last < (await takenBytes()); await sleep(300)) last = await takenBytes();
    const [taken] = (await origin.stats()).requests;
    client.destroy();
    const [ended] = (await untilClosed()).requests;
    // Buffers of the kernel at both ends take some; the rest waits.
    expect(taken?.bytes).toBeLessThan(large.sizeBytes / 4);
    expect(ended).toMatchObject({ bytes: taken?.bytes, complete: false });
    await origin.remove(large.name);
    expect((await ask(large.url)).status).toBe(404);
  });
});

describe('an idle time-out of the origin', () => {
  const TIMEOUT_MS = 400;

  afterEach(() => origin.closeIdleAfter(undefined));

  it('ends connections over which nothing was asked or taken for so long', async () => {
    const idle = oneConnection();
    await ask(file.url, { method: 'HEAD', agent: idle });
    await origin.closeIdleAfter(TIMEOUT_MS);
    const { requests, connections } = await untilClosed();
    const [kept] = connections.list;
    expect((kept?.closeMs ?? 0) - (requests[0]?.endMs ?? 0)).toBeGreaterThanOrEqual(TIMEOUT_MS - 1);
    idle.destroy();
  });

  it('ends one whose client takes no more of the answer, not one that is slow', async () => {
    await origin.closeIdleAfter(TIMEOUT_MS);
    const large = await origin.putFile('large.bin', { sizeBytes: 64 * KIB * KIB, seed: 3 });
    const [host, port] = origin.address.split(':');
    const client = connect({ host: host ?? '', port: Number(port) });
    client.on('error', () => {});
    client.write(`GET /${large.name} HTTP/1.1\r\nHost: origin\r\n\r\n`);
    let isSlow = true;
    client.on('data', () => {
      client.pause();
      setTimeout(() => isSlow && client.resume(), 5);
    });
    await sleep(2 * TIMEOUT_MS);
    expect(await openConnections()).toBe(1);
    isSlow = false;
    const [ended] = (await untilClosed()).requests;
    expect(ended?.complete).toBe(false);
    client.destroy();
    await origin.remove(large.name);
  });
});

describe('an origin that misbehaves', () => {
  const behave = (behaviour: Behaviour) => origin.behave('/file.bin', behaviour);
  const range = { range: 'bytes=1000-1999' };

  it('ignores ranges', async () => {
    await behave({ noRanges: true });
    const { status, body, headers } = await ask(file.url, { headers: range });
    expect([status, body.length, headers['accept-ranges']]).toEqual([200, 300 * KIB, undefined]);
  });

  it('answers with a sequence of statuses and then as it should', async () => {
    await behave({ statusSequence: [503, 404] });
    const statuses: number[] = [];
    for (let at = 0; at < 3; at += 1) statuses.push((await ask(file.url)).status);
    expect(statuses).toEqual([503, 404, 200]);
    expect((await origin.stats()).requests.map(({ status }) => status)).toEqual(statuses);
  });

  it('waits before its answer', async () => {
    await behave({ delayMs: 200 });
    const startedAt = performance.now();
    await ask(file.url);
    expect(performance.now() - startedAt).toBeGreaterThanOrEqual(199);
  });

  it('holds everything back for a part of each period', async () => {
    await behave({ stallEveryMs: 200, stallForMs: 120 });
    for (let at = 0; at < 8; at += 1) await ask(file.url, { headers: range });
    const written = (await origin.stats()).perMillisecond.map(([millisecond]) => millisecond % 200);
    // What was let through at the very end of a period may be written at the begin of the next.
    expect(written.filter((phase) => phase >= 20 && phase < 119)).toEqual([]);
    expect(written.length).toBeGreaterThan(0);
  });

  it('stops in the middle with the connection open', async () => {
    await behave({ stallAfterBytes: 5_000 });
    const { body, complete } = await ask(file.url, { idleMs: 300 });
    expect([body.length, complete]).toEqual([5_000, false]);
  });

  it('closes in the middle', async () => {
    await behave({ truncateAfterBytes: 5_000 });
    const { body, complete } = await ask(file.url);
    expect([body.length, complete]).toEqual([5_000, false]);
    expect((await untilClosed()).requests[0]?.complete).toBe(false);
  });

  it.each([
    ['whole', {}, 1_500],
    ['in part', range, 500],
  ])('changes one byte of a file that is asked for %s', async (_, headers, at) => {
    const right = await ask(file.url, { headers });
    await behave({ corruptAtByte: 1_500 });
    const wrong = await ask(file.url, { headers });
    const differing = [...right.body.keys()].filter((i) => right.body[i] !== wrong.body[i]);
    expect(differing).toEqual([at]);
  });

  it('has another validator, and judges requests by it', async () => {
    await behave({ etag: '"new"' });
    expect((await ask(file.url)).headers.etag).toBe('"new"');
    const match = async (etag: string) =>
      (await ask(file.url, { headers: { ...range, 'if-match': etag } })).status;
    expect([await match('"old"'), await match('"new"')]).toEqual([412, 206]);
    const old = { ...range, 'if-range': '"old"' };
    expect((await ask(file.url, { headers: old })).status).toBe(200);
  });

  it('leaves validators out', async () => {
    await behave({ omitValidators: true });
    const { headers } = await ask(file.url);
    expect([headers.etag, headers['last-modified']]).toEqual([undefined, undefined]);
  });

  it('resets connections, those that ask and those that are open', async () => {
    await behave({ cutConnections: true });
    await expect(ask(file.url)).rejects.toThrow(/ECONNRESET|socket hang up/);
    await origin.behave('/file.bin', { stallAfterBytes: 5_000 });
    const stalled = ask(file.url);
    const sentBytes = async () => (await origin.stats()).requests[1]?.bytes ?? 0;
    await expect.poll(sentBytes).toBeGreaterThan(5_000);
    expect(await origin.cutConnections()).toBe(1);
    expect((await stalled).complete).toBe(false);
  });

  it('mistreats only what is under the prefix', async () => {
    await behave({ statusSequence: [500] });
    await origin.writeFile('well.txt', 'well');
    expect((await ask(`${origin.url}/well.txt`)).body.toString()).toBe('well');
  });
});

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
