import { describe, expect } from 'vitest';
import { distributionResource, originResource } from '../install/resources.ts';
import type { DistributionObject, Sluice } from '../install/sluice.ts';
import { LIMITS } from './limits.ts';
import { MIB, nameOf, scenario } from './scenario.ts';

type Condition = NonNullable<NonNullable<DistributionObject['status']>['conditions']>[number];

const ALWAYS = 200;

/** Of this type, once it has this reason. */
function untilReason(
  sluice: Sluice,
  name: string,
  type: string,
  reason: string,
): Promise<Condition> {
  return sluice.until(`${type} with ${reason}`, async () => {
    const { status } = await sluice.distribution(name);
    const found = status?.conditions?.find((condition) => condition.type === type);
    if (found?.reason === reason) return found;
    throw new Error(JSON.stringify(status?.conditions));
  });
}

describe('a failure says what it is, and what to do', () => {
  scenario('when the file is not at the origin', async (on) => {
    const file = await on.putFile('not-there.bin', MIB);
    await on.behave(file, { statusSequence: Array(ALWAYS).fill(404) });
    await on.distribute(file);
    const stalled = await untilReason(on.sluice, nameOf(file), 'Stalled', 'SourceNotFound');
    expect(stalled).toMatchObject({ status: 'True' });
    expect(stalled.message).toMatch(/404.*; put the file there, or correct spec\.source\.url$/);
  });

  scenario('when the credentials are missing, make no sense, or are wrong', async (on) => {
    const { sluice } = on;
    const file = await on.putFile('secret.bin', MIB);
    await on.behave(file, { statusSequence: Array(ALWAYS).fill(401) });
    const name = nameOf(file);
    const source = { url: file.url, secretRef: { name: 'origin-token' } };
    await sluice.apply(
      distributionResource({ name, url: file.url, spec: { source, target: { path: name } } }),
    );
    const missing = await untilReason(sluice, name, 'Stalled', 'SecretNotFound');
    expect(missing.message).toMatch(/no Secret 'origin-token' in namespace 'default'; create it/);

    const secret = (stringData: object) => ({
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name: 'origin-token', namespace: 'default' },
      stringData,
    });
    await sluice.apply(secret({ pasword: 'misspelt' }));
    const invalid = await untilReason(sluice, name, 'Stalled', 'SecretInvalid');
    expect(invalid.message).toMatch(/has none of the keys token/);

    await sluice.apply(secret({ token: 'not-the-one' }));
    const refused = await untilReason(sluice, name, 'Stalled', 'SourceForbidden');
    expect(refused.message).toMatch(/401.*; put credentials that the origin accepts/);
    expect(refused.message, 'no secret in a status').not.toContain('not-the-one');

    await on.behave(file, {});
    await sluice.untilReady(name);
    await on.cluster.kubectl(['delete', 'secret', 'origin-token', '-n', 'default']);
  });

  scenario('when the bytes have another digest: which nodes, and what to do', async (on) => {
    const file = await on.putFile('other-digest.bin', MIB);
    await on.distribute(file, { sha256: 'cd'.repeat(32) });
    await untilReason(on.sluice, nameOf(file), 'Stalled', 'DigestMismatch');
    const { status } = await on.sluice.distribution(nameOf(file));
    expect(status?.failedNodes).toHaveLength(on.cluster.nodes.length);
    for (const { reason, message } of status?.failedNodes ?? []) {
      expect(reason).toBe('DigestMismatch');
      expect(message).toMatch(/; correct spec\.source\.digest/);
    }
  });

  scenario('when no node matches, and serves the first that does', async (on) => {
    const file = await on.putFile('no-node.bin', MIB);
    const name = nameOf(file);
    const target = { path: name, nodeSelector: { 'e2e.sluice.test/wanted': 'yes' } };
    await on.distribute(file, { spec: { target } });
    const ready = await untilReason(on.sluice, name, 'Ready', 'NoNodesMatch');
    expect(ready.status).toBe('True');
    const [node] = on.cluster.nodes;
    const label = (text: string) => on.cluster.kubectl(['label', 'node', node!.name, text]);
    await label('e2e.sluice.test/wanted=yes');
    await untilReason(on.sluice, name, 'Ready', 'Delivered');
    await label('e2e.sluice.test/wanted-');
  });

  scenario('when the quota is used up: until when, and goes on when it is raised', async (on) => {
    const { sluice } = on;
    const file = await on.putFile('over-quota.bin', 12 * MIB);
    const name = nameOf(file);
    const host = 'mirror.sluice.test';
    const origin = (bytes: number) =>
      originResource('quota', host, { ...LIMITS, maxTraffic: { bytes, period: '24h' } });
    await sluice.apply(origin(6 * MIB));
    const url = file.url.replace('origin.sluice.test', host);
    await sluice.apply(distributionResource({ name, url, sha256: file.sha256 }));
    const waiting = await untilReason(sluice, name, 'Reconciling', 'QuotaExhausted');
    expect(waiting.message).toMatch(
      /used up until \d{4}-.*Z; wait, or raise spec\.limits\.maxTraffic/,
    );
    const { bytesTotal } = await on.cluster.origin.stats();
    expect(bytesTotal, 'bytes at the origin').toBeLessThanOrEqual(6 * MIB);
    await sluice.apply(origin(100 * MIB));
    await sluice.untilReady(name);
    await on.cluster.kubectl(['delete', 'origin', 'quota']);
  });
});
