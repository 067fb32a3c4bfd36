import { expect, it, vi } from 'vitest';
import type { KubeClient } from '../kube/client.ts';
import { testControllers } from '../testing/adapters/controllersSetup.ts';
import { FakeClock } from '../testing/fakeClock.ts';
import { FakeDataSide } from '../testing/fakeDataSide.ts';

it('a replica that is stopped while it comes to lead starts nothing', async () => {
  const data = new FakeDataSide();
  const began = vi.spyOn(data, 'onChange');
  const controllers = testControllers({ client: {} as KubeClient, data, clock: new FakeClock() });
  controllers.hold();
  const leading = controllers.lead();
  const stopped = controllers.stop();
  await Promise.allSettled([leading]);
  expect(began).not.toHaveBeenCalled();
  await stopped;
});
