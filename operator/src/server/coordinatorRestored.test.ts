/** A database that was restored empty, as nodes see it. */
import { expect, it } from 'vitest';
import { aPlanOf, aRecord, aTransferReport } from '../testing/objects.ts';
import { TestCoordinator } from '../testing/testCoordinator.ts';

it('has nothing deleted: a node keeps the version that it has beside the next one', async () => {
  const test = await new TestCoordinator().start();
  const { clock, coordinator } = test;
  const agent = test.connect('agent', 'n1');
  const report = (sequence: number) => {
    const transfers = [aTransferReport({ epoch: 2, state: 'ready' })];
    coordinator.fleet.report(agent, { incarnation: 'run', sequence, transfers }, clock.now());
  };
  const types = () => test.told.get('n1')?.map(({ type }) => type) ?? [];
  coordinator.setNodes(new Set(['n1']));
  coordinator.primed();
  report(1);
  await clock.advance(60_000);
  expect(types()).toEqual(['synced']);
  const nodes = [{ name: 'n1', domain: 'a' }];
  coordinator.apply(aPlanOf(aRecord({ epoch: 3 }), { nodes }));
  report(2);
  await clock.advance(60_000);
  expect(test.told.get('n1')).toContainEqual({
    type: 'task',
    task: expect.objectContaining({ epoch: 3 }),
  });
  expect(types()).not.toContain('remove');
  test.stop();
});
