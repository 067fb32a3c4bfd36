import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { LeadingController } from '../../testing/leadingController.ts';
import { aReport } from '../../testing/objects.ts';

const UID = 'uid-first';

let leading: LeadingController;

beforeEach(async () => {
  leading = new LeadingController(['n1', 'n2']);
  await leading.start();
  leading.apply('first', {});
  await leading.pass(1_000);
});
afterEach(() => leading.stop());

const one = aReport('n1', { state: 'ready', verifiedBytes: 1_000 });

function waiting(): number | undefined {
  const demand = leading.demands.get(UID);
  return demand && [...demand.domains.values()].reduce((sum, domain) => sum + domain.waiting, 0);
}

describe('relays', () => {
  it('do not come back for each try of a node that fails, but when bytes come to it', async () => {
    const error = { reason: 'DiskFull', message: 'no space' };
    const failed = aReport('n2', { state: 'failed', verifiedBytes: 500, error });
    leading.data.report(UID, [one, failed]);
    await leading.pass(2_000);
    expect(waiting()).toBe(0);
    for (let tries = 0; tries < 3; tries += 1) {
      leading.data.report(UID, [one, aReport('n2', { verifiedBytes: 500 })]);
      await leading.pass(10_000);
      expect(leading.statuses.get('first')?.nodes).toMatchObject({ failed: 1 });
      expect(waiting()).toBe(0);
      leading.data.report(UID, [one, failed]);
      await leading.pass(2_000);
    }
    leading.data.report(UID, [one, aReport('n2', { verifiedBytes: 501 })]);
    await leading.pass(10_000);
    expect(waiting()).toBe(1);
  });

  it('do not stay for nodes that nobody can serve: the origin has another version for good', async () => {
    leading.data.report(UID, [one, aReport('n2', { state: 'ready', verifiedBytes: 1_000 })]);
    await leading.pass(2_000);
    expect(leading.condition('first', 'Ready')).toBe('True/Delivered');
    const tell = async (seconds: number, verifiedBytes = 500) => {
      for (let second = 0; second < seconds; second += 1) {
        leading.data.report(UID, [one, aReport('n2', { verifiedBytes })], { sourceChanged: true });
        await leading.pass(1_000);
      }
    };
    await tell(25);
    expect(waiting(), 'others may have it').toBe(1);
    await tell(15);
    expect(leading.statuses.get('first')?.failedNodes).toMatchObject([{ reason: 'SourceChanged' }]);
    expect(waiting()).toBe(0);
    // A node gives it after all.
    await tell(5, 501);
    expect(waiting()).toBe(1);
  });
});
