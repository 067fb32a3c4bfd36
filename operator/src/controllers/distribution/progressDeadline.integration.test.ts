/** How long a Distribution may stand still, as it is edited, on a real API server. */
import { afterAll, afterEach, beforeAll, beforeEach, expect, it, vi } from 'vitest';
import { leadingControllers, TestCluster } from '../../testing/adapters/controllersSetup.ts';
import { FakeDataSide } from '../../testing/fakeDataSide.ts';
import { aReport } from '../../testing/objects.ts';
import type { Controllers } from '../controllers.ts';

const WAIT = { timeout: 30_000, interval: 50 };
const EXCEEDED = 'ProgressDeadlineExceeded';

let cluster: TestCluster;
let data: FakeDataSide;
let controllers: Controllers;

beforeAll(async () => {
  cluster = await TestCluster.start();
  await cluster.addNode('node-a');
});
beforeEach(async () => {
  data = new FakeDataSide();
  controllers = await leadingControllers({ client: cluster.api.operator, data });
});
afterEach(() => controllers.stop());
afterAll(() => cluster?.api.stop());

it('the deadline is the one that is written now, for what stands still already, too', async () => {
  const { metadata } = await cluster.apply('still', { progressDeadlineSeconds: 10 });
  await vi.waitFor(() => expect(data.plans.has(metadata.uid)).toBe(true), WAIT);
  data.report(metadata.uid, [aReport('node-a', { verifiedBytes: 500 })]);
  const reportedAtMs = performance.now();
  const exceededAtMs = () =>
    vi.waitFor(async () => {
      const condition = await cluster.ready('still');
      expect(condition?.reason).toBe(EXCEEDED);
      expect(condition?.message).toContain('no byte moved for 10s;');
      return performance.now();
    }, WAIT);
  const firstMs = (await exceededAtMs()) - reportedAtMs;

  await cluster.edit('still', { progressDeadlineSeconds: 600 });
  await vi.waitFor(async () => {
    const { status } = await cluster.read('still');
    expect(status?.observedGeneration).toBe(2);
    const reasons = status?.conditions?.map(({ reason }) => reason);
    expect(reasons).toContain('Transferring');
    expect(reasons).not.toContain(EXCEEDED);
  }, WAIT);

  // It has stood still for so long already: nobody waits anew.
  const editedAtMs = performance.now();
  await cluster.edit('still', { progressDeadlineSeconds: 10 });
  expect((await exceededAtMs()) - editedAtMs).toBeLessThan(firstMs / 2);
});
