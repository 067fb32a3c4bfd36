import type { Tenants } from './distribute.ts';
import { LeaseTable } from './leaseTable.ts';
import { ProcessFleet, type WaitFor } from './processFleet.ts';
import { TestOrigin } from './testOrigin.ts';

const PIECE = 262_144;

/** Of the test runner; vitest's module is one. */
export interface Hooks {
  readonly vi: { readonly waitFor: WaitFor };
  beforeAll(start: () => Promise<void>): unknown;
  beforeEach(before: (context: { onTestFailed(then: () => void): void }) => void): unknown;
  afterAll(stop: () => Promise<void>): unknown;
}

/** An origin, real processes and the leases they get, for all tests of a file; gone with the last. */
export function testTenants(
  programs: ConstructorParameters<typeof ProcessFleet>[0],
  { vi, beforeAll, beforeEach, afterAll }: Hooks,
): Required<Tenants> {
  const origin = new TestOrigin();
  const fleet = new ProcessFleet(programs, vi);
  const table: Tenants['table'] = new LeaseTable(PIECE);
  beforeAll(async () => {
    await origin.start();
    await fleet.start({ lease: (request) => table.answer(request) });
  });
  beforeEach(({ onTestFailed }) => onTestFailed(() => fleet.printLogs()));
  afterAll(async () => {
    await fleet.stop();
    await origin.stop();
  });
  return { origin, fleet, table };
}
