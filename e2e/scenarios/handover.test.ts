import { describe, expect } from 'vitest';
import { NAMESPACE, type Sluice } from '../install/sluice.ts';
import { MIB, scenario, untilEverywhere } from './scenario.ts';

async function leader(sluice: Sluice): Promise<string> {
  const args = ['get', 'lease', 'sluice-operator', '-n', NAMESPACE, '-o', 'json'];
  const { spec } = JSON.parse(await sluice.cluster.kubectl(args)) as {
    spec: { holderIdentity: string };
  };
  return spec.holderIdentity.split('/')[0] ?? '';
}

async function scale(sluice: Sluice, replicas: number): Promise<void> {
  const deployment = ['deployment/sluice-operator', '-n', NAMESPACE];
  await sluice.cluster.kubectl(['scale', ...deployment, `--replicas=${replicas}`]);
  await sluice.cluster.kubectl(['rollout', 'status', ...deployment, '--timeout=60s']);
}

describe('with two replicas', () => {
  scenario('the leader goes in mid-transfer and the transfer does not notice', async (on) => {
    const { sluice } = on;
    await scale(sluice, 2);
    const file = await on.putFile('handover.bin', 64 * MIB);
    const uid = await on.distribute(file);
    await sluice.untilVerified(uid, file.sizeBytes / 4);
    const first = await leader(sluice);
    await sluice.cluster.kubectl(['delete', 'pod', first, '-n', NAMESPACE, '--wait=false']);
    const second = await sluice.until('another leader', async () => {
      const now = await leader(sluice);
      return now !== '' && now !== first ? now : undefined;
    });
    expect(second).not.toBe(first);
    await untilEverywhere(sluice, file);
    // Nothing is begun anew: what relays had under leases of the first leader counts on.
    const { bytesTotal } = await on.cluster.origin.stats();
    expect(bytesTotal).toBeLessThan(file.sizeBytes * 1.03 + 8 * MIB);
    const restarted = (await sluice.events('handover')).filter(
      ({ reason }) => reason === 'EpochStarted',
    );
    expect(restarted).toHaveLength(1);
    await scale(sluice, 1);
  });
});
