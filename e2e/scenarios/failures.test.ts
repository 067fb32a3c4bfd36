import path from 'node:path';
import { describe, expect } from 'vitest';
import type { ClusterNode } from '../cluster/cluster.ts';
import { distributionResource, originResource } from '../install/resources.ts';
import { changeSettings, NAMESPACE, ROOT, type Sluice, sha256OfFile } from '../install/sluice.ts';
import type { OriginFile } from '../origin/origin.ts';
import { LIMITS, SETTINGS } from './limits.ts';
import {
  MIB,
  nameOf,
  refusing,
  type Scenario,
  scenario,
  takenFromOrigin,
  untilEverywhere,
  untilReason,
} from './scenario.ts';

const IMAGES_TIMEOUT_MS = 300_000;
/** Room for both files beside the part that must stay free. */
const SMALL_DISK_BYTES = 96 * MIB;

/** Where the agent was replaced by one that does not start. */
function untilNodeWithoutAgent(sluice: Sluice): Promise<string> {
  const pending = '{.items[?(@.status.phase=="Pending")].spec.nodeName}';
  const agents = ['get', 'pods', '-n', NAMESPACE, '-l', 'app.kubernetes.io/component=agent'];
  return sluice.until('an agent that does not start', async () => {
    const name = await sluice.cluster.kubectl([...agents, '-o', `jsonpath=${pending}`]);
    return name === '' ? undefined : name;
  });
}

/** Bytes of a file that the origin has given to each host, where it is more than an answer about it. */
async function pullersOf({ cluster }: Scenario, file: OriginFile): Promise<Map<string, number>> {
  const taken = new Map<string, number>();
  for (const { client, path: of, bytes } of (await cluster.origin.stats()).requests) {
    if (of !== `/${file.name}`) continue;
    const host = client.slice(0, client.lastIndexOf(':'));
    taken.set(host, (taken.get(host) ?? 0) + bytes);
  }
  return new Map([...taken].filter(([, sum]) => sum > MIB));
}

/** The agent of a node has a disk of its own, in memory, until the scenario is over. */
async function giveSmallDisk({ cluster, sluice, undo }: Scenario, node: ClusterNode) {
  const replaceAgent = async () => {
    const agentOf = async () => (await sluice.pods('agent')).find((pod) => pod.node === node.name);
    const before = await sluice.until('an agent', agentOf);
    await cluster.kubectl(['delete', 'pod', before.name, '-n', NAMESPACE]);
    await sluice.until('the next agent', agentOf);
  };
  const options = `size=${SMALL_DISK_BYTES},mode=755`;
  await node.run('mount', ['-n', '-t', 'tmpfs', '-o', options, 'small', ROOT]);
  undo(replaceAgent);
  undo(() => node.run('umount', ['-n', ROOT]));
  // Nobody is to look for files that go with the disk.
  undo(() => cluster.kubectl(['delete', 'distributions', '--all', '-n', 'default']));
  await replaceAgent();
}

describe('a failure says what it is, and what to do', () => {
  scenario('when the file is not at the origin', async (on) => {
    const file = await on.putFile('not-there.bin', MIB);
    await on.behave(file, refusing(404));
    await on.distribute(file);
    const stalled = await untilReason(on.sluice, nameOf(file), 'Stalled', 'SourceNotFound');
    expect(stalled).toMatchObject({ status: 'True' });
    expect(stalled.message).toMatch(/404.*; put the file there, or correct spec\.source\.url$/);
  });

  scenario('when the credentials are missing, make no sense, or are wrong', async (on) => {
    const { sluice } = on;
    const file = await on.putFile('secret.bin', MIB);
    await on.behave(file, refusing(401));
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
    const gone = ['delete', 'secret', 'origin-token', '-n', 'default', '--ignore-not-found'];
    on.undo(() => on.cluster.kubectl(gone));
    await sluice.apply(secret({ pasword: 'misspelt' }));
    const invalid = await untilReason(sluice, name, 'Stalled', 'SecretInvalid');
    expect(invalid.message).toMatch(/has none of the keys token/);

    await sluice.apply(secret({ token: 'not-the-one' }));
    const refused = await untilReason(sluice, name, 'Stalled', 'SourceForbidden');
    expect(refused.message).toMatch(/401.*; put credentials that the origin accepts/);
    expect(refused.message, 'no secret in a status').not.toContain('not-the-one');

    await on.behave(file, {});
    await sluice.untilReady(name);
  });

  scenario('when the bytes have another digest: which nodes, and what to do', async (on) => {
    const file = await on.putFile('other-digest.bin', MIB);
    await on.distribute(file, { sha256: 'cd'.repeat(32) });
    await untilReason(on.sluice, nameOf(file), 'Stalled', 'DigestMismatch');
    const { status } = await on.sluice.distribution(nameOf(file));
    expect(status?.failedNodes).toHaveLength(on.cluster.nodes.length);
    for (const { reason, message } of status?.failedNodes ?? []) {
      expect(reason).toBe('DigestMismatch');
      expect(message).toMatch(/; correct the digest in spec\.source, or /);
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
    on.undo(() => label('e2e.sluice.test/wanted-'));
    await label('e2e.sluice.test/wanted=yes');
    await untilReason(on.sluice, name, 'Ready', 'Delivered');
  });

  scenario('when the quota is used up: until when, and goes on when it is raised', async (on) => {
    const { sluice } = on;
    const file = await on.putFile('over-quota.bin', 12 * MIB);
    const name = nameOf(file);
    const host = 'mirror.sluice.test';
    const origin = (bytes: number) =>
      originResource('quota', host, { ...LIMITS, maxTraffic: { bytes, period: '24h' } });
    on.undo(() => on.cluster.kubectl(['delete', 'origin', 'quota', '--ignore-not-found']));
    await sluice.apply(origin(6 * MIB));
    const url = file.url.replace('origin.sluice.test', host);
    await sluice.apply(distributionResource({ name, url, sha256: file.sha256 }));
    const waiting = await untilReason(sluice, name, 'Reconciling', 'QuotaExhausted');
    expect(waiting.message).toMatch(
      /used up until \d{4}-.*Z; wait, or raise spec\.limits\.maxTraffic/,
    );
    expect(await takenFromOrigin(on), 'bytes at the origin').toBeLessThanOrEqual(6 * MIB);
    await sluice.apply(origin(100 * MIB));
    await sluice.untilReady(name);
  });

  scenario(
    'when images cannot be pulled, and agents stand in for relays',
    async (on) => {
      const { sluice, cluster } = on;
      const stoodIn = await on.putFile('stood-in.bin', 24 * MIB);
      const relayed = await on.putFile('relayed.bin', 2 * MIB);
      const single = await on.putFile('without-agent.bin', MIB);
      // Relays that run already have the image, and would do.
      const relays = { dedicated: true };
      const restore = on.undo(async () => {
        await changeSettings(cluster, SETTINGS);
        await sluice.untilAgentsReady();
      });
      await changeSettings(cluster, { ...SETTINGS, fleetTag: 'missing' });
      const without = await untilNodeWithoutAgent(sluice);
      await on.distribute(stoodIn, { spec: { relays } });
      await on.distribute(relayed, { spec: { relays, delivery: { transport: 'HTTP' } } });
      const nodeSelector = { 'kubernetes.io/hostname': without };
      const target = { path: nameOf(single), nodeSelector };
      await on.distribute(single, { spec: { relays, target } });

      const image = (of: string) =>
        `image '\\S+${of}:missing' cannot be pulled \\(.+\\); correct the image or imagePullSecrets in the chart's values$`;
      const short = await untilReason(
        sluice,
        nameOf(relayed),
        'RelaysAvailable',
        'ImageNotPullable',
      );
      expect(short).toMatchObject({ status: 'False' });
      expect(short.message).toMatch(new RegExp(`^relays of zone-a, zone-b: ${image('relay')}`));
      const relayless = await untilReason(sluice, nameOf(relayed), 'Stalled', 'ImageNotPullable');
      expect(relayless.message).toMatch(new RegExp(`; relays do not start: ${image('relay')}`));
      await sluice.untilEvent(nameOf(relayed), 'ImageNotPullable');

      const { conditions, failedNodes } = await sluice.until('a failed node', async () => {
        const { status } = await sluice.distribution(nameOf(single));
        return status?.failedNodes?.length ? status : undefined;
      });
      expect(failedNodes).toEqual([
        {
          name: without,
          reason: 'NoAgent',
          message: expect.stringMatching(
            /^image '\S+agent:missing' cannot be pulled .+; run `kubectl describe daemonset sluice-agent` in/,
          ),
        },
      ]);
      const agentless = conditions?.find(({ type }) => type === 'Stalled');
      expect(agentless).toMatchObject({ reason: 'ImageNotPullable' });
      expect(agentless?.message).toMatch(new RegExp(`; agents do not start: ${image('agent')}`));

      await sluice.until('the nodes with agents have it', async () => {
        const { status } = await sluice.distribution(nameOf(stoodIn));
        return status?.nodes?.ready === cluster.nodes.length - 1 || undefined;
      });
      const agents = await sluice.pods('agent');
      const pullers = await pullersOf(on, stoodIn);
      const zones = [...pullers.keys()].map((host) => {
        const agent = agents.find(({ address }) => address === host);
        return cluster.nodes.find(({ name }) => name === agent?.node)?.zone;
      });
      expect(zones, 'zones of those that pull').not.toEqual([]);
      expect(zones, 'who pulls is an agent').not.toContain(undefined);
      expect(zones, 'one a zone').toHaveLength(new Set(zones).size);
      const taken = [...pullers.values()].reduce((sum, bytes) => sum + bytes, 0);
      expect(taken, 'bytes of the origin').toBeLessThan(stoodIn.sizeBytes * 1.03 + MIB);
      const waits = await sluice.distribution(nameOf(relayed));
      expect(waits.status?.nodes?.ready, 'without relays nobody has it over HTTP').toBe(0);
      await restore();
      for (const file of [stoodIn, relayed]) await untilEverywhere(sluice, file);
      await sluice.untilReady(nameOf(single));
    },
    { timeoutMs: IMAGES_TIMEOUT_MS },
  );

  scenario('when the disk of one node is full, until there is room', async (on) => {
    const { sluice, cluster } = on;
    const [node, ...others] = cluster.nodes;
    const file = await on.putFile('disk-full.bin', 48 * MIB);
    const next = await on.putFile('disk-pressure.bin', 8 * MIB);
    const remedy = 'free space on the disk of the agent root, or take the node out of the selector';
    const placed = ({ name }: OriginFile) =>
      path.posix.join('default', path.parse(name).name, name);
    await giveSmallDisk(on, node!);
    const uid = await on.distribute(file);
    await sluice.untilVerified(uid, 4 * MIB, node!.name);
    const filler = `${ROOT}/filler`;
    await node!.run('sh', ['-c', `dd if=/dev/zero of=${filler} bs=64k 2>/dev/null || true`]);
    const [failed] = await sluice.until('a node that failed', async () => {
      const { status } = await sluice.distribution(nameOf(file));
      return status?.failedNodes?.length ? status.failedNodes : undefined;
    });
    expect(failed).toMatchObject({ name: node!.name, reason: 'DiskFull' });
    expect(failed?.message).toMatch(new RegExp(`; ${remedy}$`));

    const nextUid = await on.distribute(next);
    for (const each of [file, next]) {
      const stalled = await untilReason(sluice, nameOf(each), 'Stalled', 'DiskFull');
      expect(stalled.message).toMatch(new RegExp(`2 of 3 nodes ready, 1 failed; .+; ${remedy}$`));
      for (const other of others) {
        const found = await sha256OfFile(sluice.placed(other, nameOf(each), each.name));
        expect(found, `SHA-256 on ${other.name}`).toBe(each.sha256);
      }
    }
    const { status } = await sluice.distribution(nameOf(next));
    expect(status?.failedNodes).toMatchObject([{ name: node!.name, reason: 'DiskPressure' }]);
    const nodes = await sluice.read.assignments(nextUid);
    const refused = nodes.find(({ name }) => name === node!.name);
    expect(refused?.received, 'before the first byte').toEqual({
      fromPeers: 0,
      fromRelays: 0,
      fromRelayHttp: 0,
      fromOrigin: 0,
    });

    await node!.run('rm', [filler]);
    for (const each of [file, next]) {
      await sluice.untilReady(nameOf(each));
      const said = await node!.run('sha256sum', [path.posix.join(ROOT, placed(each))]);
      expect(said, `SHA-256 on ${node!.name}`).toMatch(new RegExp(`^${each.sha256} `));
    }
  });
});
