/** The upload limit of a distribution at a relay that serves it by HTTP, with real processes. */
import { randomBytes } from 'node:crypto';
import type { Task } from '@sluice/protocol/messages.ts';
import { afterAll, beforeAll, beforeEach, expect, it, vi } from 'vitest';
import { distributeFile, tell } from './testing/distribute.ts';
import { type LeasedTask, LeaseTable } from './testing/leaseTable.ts';
import { ProcessFleet } from './testing/processFleet.ts';
import { TestOrigin } from './testing/testOrigin.ts';

const MIB = 1024 * 1024;

const origin = new TestOrigin();
const fleet = new ProcessFleet({ relay: 'relay', one: 'agent' }, vi);
const table = new LeaseTable<LeasedTask>(262_144);
const nobody = { programs: [], control: undefined } as unknown as ProcessFleet;

beforeAll(async () => {
  await origin.start();
  await fleet.start({ lease: (request) => table.answer(request) });
});

beforeEach(({ onTestFailed }) => onTestFailed(() => fleet.printLogs()));

afterAll(async () => {
  await fleet.stop();
  await origin.stop();
});

/** Answers how long the node took, in seconds. */
async function carry(uid: string, sizeBytes: number, maxUploadRate?: number): Promise<number> {
  const body = randomBytes(sizeBytes);
  const made = distributeFile({ origin, table, fleet: nobody }, { uid, body });
  const delivery = { topUp: ['Relay' as const], transport: 'HTTP' as const };
  const task: Task = {
    ...made,
    delivery: { ...delivery, ...(maxUploadRate && { maxUploadRate }) },
  };
  table.distributions.set(uid, { ...table.distributions.get(uid)!, task });
  const beganMs = performance.now();
  tell(fleet, task);
  await fleet.ready('one', uid);
  return (performance.now() - beganMs) / 1000;
}

it('a relay sends no faster by HTTP than maxUploadRate says', async () => {
  const free = await carry('free', 4 * MIB);
  const limited = await carry('limited', 4 * MIB, MIB);
  expect(limited).toBeGreaterThan(3.5);
  expect(free).toBeLessThan(limited);
});
