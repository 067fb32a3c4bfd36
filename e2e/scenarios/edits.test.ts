/** Fields that are edited while a file is on its way: what the nodes and the origin see of it. */
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect } from 'vitest';
import { conditionOf } from '../install/sluice.ts';
import {
  edit,
  expectOneEpoch,
  MIB,
  nameOf,
  OVERHEAD_BYTES,
  type Scenario,
  scenario,
  sparedNode,
  takenFromOrigin,
  untilEverywhere,
  untilReason,
} from './scenario.ts';

/** Bytes stop within it. */
const SUSPENDED_WITHIN_MS = 2_000;
/** For which nothing may come. */
const QUIET_MS = 5_000;
const TAINT = 'e2e.sluice.test/no-agents';

/** Verified, on all nodes. */
async function verifiedOf({ sluice }: Scenario, uid: string): Promise<number> {
  const nodes = await sluice.read.assignments(uid);
  return nodes.reduce((sum, { verifiedBytes }) => sum + verifiedBytes, 0);
}

describe('an edit in mid-transfer', () => {
  scenario('that suspends stops every byte, and nothing is fetched twice after', async (on) => {
    const { sluice } = on;
    const file = await on.putFile('suspended.bin', 96 * MIB);
    const name = nameOf(file);
    const uid = await on.distribute(file);
    await sluice.untilVerified(uid, 8 * MIB);
    await edit(on, name, { suspend: true });
    await sleep(SUSPENDED_WITHIN_MS, undefined, { signal: on.signal });
    const [taken, verified] = [await takenFromOrigin(on), await verifiedOf(on, uid)];
    await sleep(QUIET_MS, undefined, { signal: on.signal });
    expect(await takenFromOrigin(on), 'bytes of the origin').toBe(taken);
    expect(await verifiedOf(on, uid), 'bytes at nodes').toBe(verified);
    expect(taken, 'in mid-transfer').toBeLessThan(file.sizeBytes);
    await untilReason(sluice, name, 'Ready', 'Suspended');
    await edit(on, name, { suspend: false });
    await untilEverywhere(sluice, file);
    await expectOneEpoch(on, file);
    const most = file.sizeBytes * 1.03 + OVERHEAD_BYTES;
    expect(await takenFromOrigin(on), 'bytes of the origin').toBeLessThan(most);
  });

  scenario('of its rate, its waves and what it waits for acts at once', async (on) => {
    const { sluice, cluster } = on;
    const file = await on.putFile('edited.bin', 24 * MIB);
    const name = nameOf(file);
    // All at once these rates would take a minute and a half.
    const delivery = { maxRate: '256Ki', maxParallelNodes: 1 };
    const uid = await on.distribute(file, { spec: { delivery } });
    const first = await sluice.untilVerified(uid, MIB);
    const others = async () => {
      const nodes = await sluice.read.assignments(uid);
      return nodes.filter((node) => node.name !== first.name);
    };
    for (const { verifiedBytes } of await others()) {
      expect(verifiedBytes, 'of a node whose turn it is not').toBe(0);
    }
    await edit(on, name, { delivery: { maxParallelNodes: '100%' } });
    await sluice.until('all nodes transfer', async () => {
      const nodes = await others();
      expect(nodes).toHaveLength(cluster.nodes.length - 1);
      return nodes.every(({ verifiedBytes }) => verifiedBytes > 0) || undefined;
    });
    expect(await verifiedOf(on, uid), 'in mid-transfer').toBeLessThan(file.sizeBytes);
    await edit(on, name, { delivery: { maxRate: null } });
    await untilEverywhere(sluice, file);
    await expectOneEpoch(on, file);
  });

  scenario('of maxUnready is Ready without a node that has no agent', async (on) => {
    const { sluice, cluster } = on;
    const agentless = await sparedNode(on);
    const file = await on.putFile('unready.bin', 2 * MIB);
    const name = nameOf(file);
    const taint = (suffix: string) =>
      cluster.kubectl(['taint', 'node', agentless.name, `${TAINT}${suffix}`]);
    const untaint = on.undo(async () => {
      await taint('-');
      await sluice.untilAgentsReady();
    });
    await taint('=true:NoExecute');
    await sluice.until('its agent is gone', async () => {
      const agents = await sluice.pods('agent');
      return agents.every(({ node }) => node !== agentless.name) || undefined;
    });
    await on.distribute(file);
    const lacking = await sluice.until('all others have it', async () => {
      const { status } = await sluice.distribution(name);
      return status?.nodes?.ready === cluster.nodes.length - 1 ? status : undefined;
    });
    expect(conditionOf(lacking, 'Ready')).toMatchObject({ status: 'False' });
    await edit(on, name, { delivery: { maxUnready: 1 } });
    await sluice.untilReady(name);
    await edit(on, name, { delivery: { maxUnready: 0 } });
    await sluice.until('it is waited for again', async () => {
      const { status } = await sluice.distribution(name);
      return conditionOf(status, 'Ready')?.status === 'False' || undefined;
    });
    await untaint();
    await untilEverywhere(sluice, file);
  });
});
