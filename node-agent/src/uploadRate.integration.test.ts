/** The upload limit of a distribution at a relay that serves it by HTTP, with real processes. */
import { randomBytes } from 'node:crypto';
import type { Task } from '@sluice/protocol/messages.ts';
import { afterAll, beforeAll, beforeEach, expect, it, vi } from 'vitest';
import { distributeFile, tell } from './testing/distribute.ts';
import { testTenants } from './testing/testTenants.ts';

const MIB = 1024 * 1024;

const { origin, fleet, table } = testTenants(
  { relay: 'relay', one: 'agent' },
  { vi, beforeAll, beforeEach, afterAll },
);

/** Answers how long the node took, in seconds. */
async function carry(uid: string, sizeBytes: number, maxUploadRate?: number): Promise<number> {
  const body = randomBytes(sizeBytes);
  const made = distributeFile({ origin, table }, { uid, body });
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
