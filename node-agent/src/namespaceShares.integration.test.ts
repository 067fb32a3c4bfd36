/** A namespace that may have little of a node's disk, with real processes. */
import { randomBytes } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { distributeFile, tell } from './testing/distribute.ts';
import { type LeasedTask, LeaseTable } from './testing/leaseTable.ts';
import { ProcessFleet, receivedBytes } from './testing/processFleet.ts';
import { TestOrigin } from './testing/testOrigin.ts';

const MIB = 1024 * 1024;
/** The namespace `small` may have 5 MiB. */
const environment = { SLUICE_NAMESPACE_SHARES: `*=100%,small=${5 * MIB}` };

const origin = new TestOrigin();
const fleet = new ProcessFleet({ relay: 'relay', one: 'agent' }, vi, { environment });
const table = new LeaseTable<LeasedTask>(262_144);
const tenants = { origin, fleet, table };

beforeAll(async () => {
  await origin.start();
  await fleet.start({
    work: ({ name }) =>
      [...table.distributions.values()].flatMap(({ task }) => fleet.messagesFor(task, name)),
    lease: (request) => table.answer(request),
  });
});

beforeEach(({ onTestFailed }) => onTestFailed(() => fleet.printLogs()));

afterAll(async () => {
  await fleet.stop();
  await origin.stop();
});

const small = (uid: string, sizeBytes: number, epoch = 1) =>
  distributeFile(tenants, { uid, epoch, namespace: 'small', body: randomBytes(sizeBytes) });

const visible = (namespace: string, uid: string) =>
  readFile(path.join(fleet.programOf('one').folder, namespace, uid, `${uid}.bin`));

async function expectRefused(uid: string, epoch = 1): Promise<string | undefined> {
  const report = await fleet.reported(
    'one',
    uid,
    (now) => now.epoch === epoch && now.state === 'failed',
  );
  expect(report.error?.reason).toBe('NamespaceShareExceeded');
  expect(receivedBytes(report)).toBe(0);
  return report.error?.message;
}

describe('a namespace with a share of the disk', () => {
  it('has what fits, and nothing of what does not, while other namespaces go on', async () => {
    small('first', 3 * MIB);
    await fleet.ready('one', 'first');
    small('second', 3 * MIB);
    await expectRefused('second');
    const hidden = path.join(fleet.programOf('one').folder, 'small/.sluice');
    expect(await readdir(hidden)).toEqual(['first']);
    const body = randomBytes(8 * MIB);
    distributeFile(tenants, { uid: 'large', body });
    await fleet.ready('one', 'large');
    expect((await visible('team', 'large')).equals(body)).toBe(true);
  });

  it('needs room for a version beside the one that it replaces', async () => {
    const before = await visible('small', 'first');
    small('first', 2 * MIB + 1, 2);
    await expectRefused('first', 2);
    expect((await visible('small', 'first')).equals(before)).toBe(true);
    // The table has one epoch at a time: its relay is to be done with this one.
    await fleet.ready('relay', 'first', 2);
    await vi.waitFor(() => expect(table.leases.size).toBe(0), { timeout: 10_000 });
    small('first', 2 * MIB, 3);
    await fleet.ready('one', 'first', 3);
    expect((await visible('small', 'first')).length).toBe(2 * MIB);
  });

  it('is as full as before after a restart of the agent', async () => {
    await fleet.kill('one', 'SIGKILL');
    fleet.control.reports.length = 0;
    fleet.launch('one');
    await fleet.ready('one', 'first', 3);
    small('third', 1);
    await expectRefused('third');
  });

  it('has room again for what waits when something was deleted', async () => {
    const task = table.distributions.get('second')!.task;
    table.distributions.delete('first');
    fleet.control.send({ type: 'remove', uid: 'first', deleteFiles: true });
    await fleet.reported('one', 'first', ({ state }) => state === 'removed');
    // Not after the pause in which it would try by itself.
    fleet.control.send({ type: 'remove', uid: 'second', epoch: 1, deleteFiles: false });
    tell(fleet, task);
    await fleet.ready('one', 'second');
  });

  it('hears what it has there that was retained, and that stays', async () => {
    const retained = await visible('small', 'second');
    table.distributions.delete('second');
    fleet.control.send({ type: 'remove', uid: 'second', deleteFiles: false });
    small('fourth', 3 * MIB);
    const message = await expectRefused('fourth');
    expect(message).toMatch(/; it has 3\.00 MiB that no Distribution names: second \(second\)$/);
    expect((await visible('small', 'second')).equals(retained)).toBe(true);
  });
});
