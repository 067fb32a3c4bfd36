/** Bytes that a node or relay has already as another distribution's, with real processes. */
import { randomBytes } from 'node:crypto';
import { open, readFile } from 'node:fs/promises';
import path from 'node:path';
import type { Task } from '@sluice/protocol/messages.ts';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { distributeFile } from './testing/distribute.ts';
import { receivedBytes } from './testing/processFleet.ts';
import { testTenants } from './testing/testTenants.ts';

const MIB = 1024 * 1024;
const SIZE = 12 * MIB + 5;

/** What each process is told that not all are; null: nothing of it. */
type Told = Readonly<Record<string, Partial<Task> | null>>;

const { origin, fleet, table } = testTenants(
  { relay: 'relay', one: 'agent', two: 'agent' },
  { vi, beforeAll, beforeEach, afterAll },
);

function tell(task: Task, differences: Told): void {
  for (const { name } of fleet.programs) {
    const own = differences[name];
    if (own === null) continue;
    for (const message of fleet.messagesFor({ ...task, ...own }, name)) {
      fleet.control.send(message, { name });
    }
  }
}

interface Made {
  readonly body: Buffer;
  readonly namespace?: string;
  readonly epoch?: number;
}

/** Of nobody who was not told. */
function distribute(uid: string, { body, namespace, epoch }: Made, differences: Told = {}): Task {
  const of = { uid, body, ...(namespace && { namespace }), ...(epoch && { epoch }) };
  const task = distributeFile({ origin, table }, of);
  tell(task, differences);
  return task;
}

/** Its bytes may come from nobody but who has them: the origin gives none. */
function copy(uid: string, made: Made, differences: Told): Task {
  const task = distribute(uid, made, { relay: null, one: null, two: null });
  table.distributions.get(uid)!.free.length = 0;
  tell(task, differences);
  return task;
}

const donorsOf = (...tasks: Task[]) =>
  tasks.map(({ namespace, uid, epoch }) => ({ namespace, uid, epoch }));

const placed = (name: string, { namespace, uid }: Task) =>
  path.join(fleet.programOf(name).folder, namespace, uid, `${uid}.bin`);

async function expectPlaced(name: string, task: Task, body: Buffer): Promise<void> {
  expect((await readFile(placed(name, task))).equals(body), `${task.uid} on ${name}`).toBe(true);
}

const sentBytes = (uid: string) => origin.sentBytes.get(`/${uid}.bin`) ?? 0;

describe('bytes that a node has of another distribution', () => {
  it('are copied there, signed there, and given to everybody else', async () => {
    const body = randomBytes(SIZE);
    const first = distribute('first', { body, namespace: 'blue' }, { two: null });
    await fleet.ready('one', 'first');
    await fleet.ready('relay', 'first');
    fleet.control.send({ type: 'remove', uid: 'first', deleteFiles: true }, { name: 'relay' });
    await fleet.reported('relay', 'first', ({ state }) => state === 'removed');

    const donors = donorsOf(first);
    const second = copy(
      'second',
      { body, namespace: 'red' },
      {
        relay: { donors },
        one: { donors, signs: true },
        two: { donors },
      },
    );
    const one = await fleet.ready('one', 'second');
    const two = await fleet.ready('two', 'second');
    expect(receivedBytes(one)).toBe(0);
    expect(one.bitfield).toBeDefined();
    expect(receivedBytes(two)).toBeGreaterThanOrEqual(SIZE);
    expect(two.received.fromOrigin).toBe(0);
    await expectPlaced('one', second, body);
    await expectPlaced('two', second, body);
    expect(sentBytes('second')).toBe(0);
    // Another owner's files are as they were.
    await expectPlaced('one', first, body);
  });

  it('are as good at a relay, which takes no lease for them', async () => {
    const body = randomBytes(SIZE);
    const first = distribute('kept', { body }, { one: null, two: null });
    await fleet.ready('relay', 'kept');
    const before = table.settled.length;
    copy('renamed', { body }, { relay: { donors: donorsOf(first), signs: true } });
    for (const name of ['relay', 'one', 'two']) await fleet.ready(name, 'renamed');
    expect(receivedBytes(await fleet.ready('relay', 'renamed'))).toBe(0);
    expect(sentBytes('renamed')).toBe(0);
    expect(table.settled.slice(before)).not.toContain('renamed');
  });

  it('are found when they come later, and when they are told later', async () => {
    const body = randomBytes(SIZE);
    const early = copy(
      'early',
      { body },
      {
        one: { donors: [{ namespace: 'team', uid: 'late', epoch: 1 }] },
        two: {},
      },
    );
    await fleet.reported('one', 'early', ({ state }) => state === 'transferring');
    const late = distribute('late', { body });
    // Nobody has signed anything of it yet: it is there by its digest alone.
    expect(receivedBytes(await fleet.ready('one', 'early'))).toBe(0);
    await fleet.ready('two', 'late');
    expect(fleet.control.lastReport('two', 'early')?.state).toBe('transferring');
    tell(early, { one: null, two: { donors: donorsOf(late), signs: true } });
    expect(receivedBytes(await fleet.ready('two', 'early'))).toBe(0);
    await fleet.ready('relay', 'early');
    expect(sentBytes('early')).toBe(0);
  });

  it('are held against the digest: what was changed there is taken from others', async () => {
    const body = randomBytes(SIZE);
    const first = distribute('spoilt', { body });
    for (const name of ['one', 'two']) await fleet.ready(name, 'spoilt');
    const file = await open(placed('one', first), 'r+');
    await file.write(randomBytes(1_000), 0, 1_000, 5 * MIB);
    await file.close();
    const donors = donorsOf(first);
    const second = copy(
      'healed',
      { body },
      {
        one: { donors },
        two: { donors, signs: true },
      },
    );
    const one = await fleet.ready('one', 'healed');
    await expectPlaced('one', second, body);
    expect(receivedBytes(one)).toBeGreaterThan(0);
    expect(receivedBytes(one)).toBeLessThan(MIB);
    expect(sentBytes('healed')).toBe(0);
  });

  it('are not looked for where the control server names nobody', async () => {
    const body = randomBytes(MIB);
    distribute('mine', { body, namespace: 'blue' });
    await fleet.ready('one', 'mine');
    distribute('yours', { body, namespace: 'red' });
    expect(receivedBytes(await fleet.ready('one', 'yours'))).toBeGreaterThanOrEqual(MIB);
    expect(sentBytes('yours')).toBeGreaterThanOrEqual(MIB);
  });
});

describe('bytes of the epoch before, when its relay is gone', () => {
  it('are signed by a node that has them, and nobody pulls them', async () => {
    const body = randomBytes(SIZE);
    distribute('moved', { body });
    for (const name of ['one', 'two', 'relay']) await fleet.ready(name, 'moved');
    fleet.control.send({ type: 'remove', uid: 'moved', deleteFiles: true }, { name: 'relay' });
    await fleet.reported('relay', 'moved', ({ state }) => state === 'removed');
    const before = sentBytes('moved');
    copy('moved', { body, epoch: 2 }, { one: { signs: true } });
    for (const name of ['one', 'two']) {
      expect(receivedBytes(await fleet.ready(name, 'moved', 2))).toBe(0);
    }
    await fleet.ready('relay', 'moved', 2);
    expect(sentBytes('moved')).toBe(before);
  });
});
