import { describe, expect } from 'vitest';
import { killPod } from '../install/processes.ts';
import { NAMESPACE } from '../install/sluice.ts';
import {
  expectEverywhere,
  MIB,
  nameOf,
  PIECE,
  scenario,
  takenFromOrigin,
  untilEverywhere,
} from './scenario.ts';

describe('a process that is killed half way', () => {
  scenario('an agent resumes: no verified piece comes twice', async (on) => {
    const file = await on.putFile('agent-killed.bin', 48 * MIB);
    const uid = await on.distribute(file);
    const [agent] = await on.sluice.pods('agent');
    const before = await on.sluice.untilVerified(uid, file.sizeBytes / 3, agent!.node);
    expect(before.verifiedBytes, 'half way').toBeLessThan(file.sizeBytes);

    await killPod(on.cluster, agent!);
    await untilEverywhere(on.sluice, file);

    // A process counts what it received since its start.
    const nodes = await on.sluice.read.assignments(uid);
    const after = nodes.find(({ name }) => name === agent!.node);
    const received = Object.values(after!.received).reduce((sum, bytes) => sum + bytes, 0);
    expect(received).toBeLessThanOrEqual(file.sizeBytes - before.verifiedBytes);
    expect(received).toBeGreaterThan(0);
    expect(await takenFromOrigin(on)).toBeLessThan(file.sizeBytes * 1.03);
  });

  scenario('a relay: the others go on, and only what it alone held is pulled again', async (on) => {
    const file = await on.putFile('relay-killed.bin', 48 * MIB);
    const uid = await on.distribute(file);
    await on.sluice.untilVerified(uid, file.sizeBytes / 3);
    const [relay] = await on.sluice.pods('relay');

    on.undo(async () => {
      // The kubelet lets it wait longer each time: whoever comes next finds as many relays as we did.
      const selector = 'app.kubernetes.io/name=sluice,app.kubernetes.io/component=relay';
      const wait = ['wait', 'pod', '-n', NAMESPACE, '-l', selector, '--for=condition=Ready'];
      await on.cluster.kubectl([...wait, '--timeout=60s'], { timeoutMs: 70_000 });
    });
    await killPod(on.cluster, relay!);
    await on.sluice.untilReady(nameOf(file));

    await expectEverywhere(on.sluice, file);
    // A second of the origin's rate was not passed on at most, in whole pieces.
    const most = file.sizeBytes * 1.03 + 8 * MIB + 4 * PIECE;
    expect(await takenFromOrigin(on)).toBeLessThan(most);
  });
});
