/** A source that gives nothing, and a mirror that does, with real processes. */
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import type { Task } from '@sluice/protocol/messages.ts';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { distributeFile, tell } from './testing/distribute.ts';
import { type LeasedTask, LeaseTable } from './testing/leaseTable.ts';
import { ProcessFleet } from './testing/processFleet.ts';
import { TestOrigin } from './testing/testOrigin.ts';

const MIB = 1024 * 1024;

const origin = new TestOrigin();
const mirror = new TestOrigin();
const fleet = new ProcessFleet({ relay: 'relay', one: 'agent' }, vi);
const table = new LeaseTable<LeasedTask>(262_144);

beforeAll(async () => {
  await origin.start();
  await mirror.start();
  await fleet.start({ lease: (request) => table.answer(request) });
});

beforeEach(({ onTestFailed }) => onTestFailed(() => fleet.printLogs()));

afterAll(async () => {
  await fleet.stop();
  await origin.stop();
  await mirror.stop();
});

/** Its source changes before anybody asks it; the mirror has it, under another name and ETag. */
function distribute(uid: string, body: Buffer): void {
  const made = distributeFile({ origin, table }, { uid, body });
  origin.put(`/${uid}.bin`, randomBytes(body.length));
  const etag = mirror.put(`/copies/of-${uid}`, body);
  const url = `${mirror.url}/copies/of-${uid}`;
  const mirrors = [{ id: 'm1', url, headers: {}, validators: [{ etag }] }];
  const task: Task = { ...made, source: { ...made.source!, mirrors } };
  table.distributions.set(uid, { ...table.distributions.get(uid)!, task, mirror: 'm1' });
  tell(fleet, task);
}

async function expectPlaced(uid: string, body: Buffer): Promise<void> {
  const file = path.join(fleet.programOf('one').folder, 'team', uid, `${uid}.bin`);
  expect((await readFile(file)).equals(body)).toBe(true);
}

describe('a mirror', () => {
  it('is pulled from under a lease for it, with its own validators', async () => {
    const body = randomBytes(8 * MIB + 1);
    distribute('mirrored', body);
    await fleet.ready('one', 'mirrored');
    await expectPlaced('mirrored', body);
    expect(table.failed).toContain('mirrored');
    expect(mirror.sentBytes.get('/copies/of-mirrored')).toBeGreaterThanOrEqual(body.length);
    expect(mirror.unguarded).toBe(0);
    const relay = await fleet.ready('relay', 'mirrored');
    expect(relay.received.fromOrigin).toBeGreaterThanOrEqual(body.length);
    // Of the source it is known what was wrong; bytes have come since.
    expect(relay.error).toBeUndefined();
  });
});
