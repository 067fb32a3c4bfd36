/** Nodes come and go; what docs/distribution.md says of each is judged by status, disks and database. */
import { chmod, lstat, open, readdir, realpath, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { PROTOCOL_VERSIONS } from '@sluice/protocol/versions.ts';
import { describe, expect } from 'vitest';
import type { ClusterNode } from '../cluster/cluster.ts';
import { withDatabase } from '../install/remains.ts';
import {
  conditionOf,
  type DistributionObject,
  NAMESPACE,
  type Pod,
  sha256OfFile,
} from '../install/sluice.ts';
import type { OriginFile } from '../origin/origin.ts';
import {
  expectEverywhere,
  leaderOf,
  MIB,
  nameOf,
  PIECE,
  type Scenario,
  scenario,
  sparedNode,
  switchOff,
  takenFromOrigin,
  untilEverywhere,
  watchStatus,
} from './scenario.ts';

type Status = NonNullable<DistributionObject['status']>;

const LABEL = 'e2e.sluice.test/node';
const TAINT = 'e2e.sluice.test/no-agents';
const CONTROL_PORT = 8443;
/** Kubernetes takes 50 s to believe that a silent node is not ready. */
const NOT_READY_TIMEOUT_MS = 90_000;

const namesOf = (nodes: readonly ClusterNode[]) => nodes.map(({ name }) => name);
const othersThan = ({ cluster }: Scenario, node: ClusterNode) =>
  cluster.nodes.filter((each) => each !== node);

/** Waits until so many nodes are waited for, and so many of them have the file. */
function untilNodes(on: Scenario, file: OriginFile, desired: number, ready: number) {
  return on.sluice.until(`${ready} of ${desired} nodes are ready`, async () => {
    const { status } = await on.sluice.distribution(nameOf(file));
    const { nodes } = status ?? {};
    if (nodes?.desired === desired && nodes.ready === ready) return status;
    throw new Error(JSON.stringify(status));
  });
}

/** Whoever waited for it does not wait again, whatever nodes come and go. */
function expectReadyThroughout(statuses: readonly Status[]): void {
  const conditions = statuses.map((status) => conditionOf(status, 'Ready'));
  const first = conditions.findIndex((ready) => ready?.status === 'True');
  expect(first, 'it was Ready').toBeGreaterThanOrEqual(0);
  expect(conditions.slice(first).filter((ready) => ready?.status !== 'True')).toEqual([]);
}

/** Waits until the database has rows of these nodes, and of no others; answers their nodes' uids. */
function untilRowsOf(on: Scenario, uid: string, nodes: readonly ClusterNode[]) {
  return withDatabase(on.cluster, (database) =>
    on.sluice.until(`rows of ${namesOf(nodes)}`, async () => {
      const rows = await database.nodes(uid);
      const uids = namesOf(nodes).map((name) => rows.get(name)?.nodeUid);
      const isSo = rows.size === nodes.length && !uids.includes(undefined);
      return isSo ? uids : undefined;
    }),
  );
}

async function uidOf({ cluster }: Scenario, { name }: ClusterNode): Promise<string> {
  return cluster.kubectl(['get', 'node', name, '-o', 'jsonpath={.metadata.uid}']);
}

async function agentOn({ sluice }: Scenario, { name }: ClusterNode): Promise<Pod> {
  return sluice.until(`an agent on ${name}`, async () => {
    return (await sluice.pods('agent')).find(({ node }) => node === name);
  });
}

/** What proves to the control API that an agent runs in this pod. */
function tokenOf(node: ClusterNode, { uid }: Pod): Promise<string> {
  const volumes = `/var/lib/kubelet/pods/${uid}/volumes`;
  return node.run('cat', [`${volumes}/kubernetes.io~projected/token/token`]);
}

/** What the control API says to a process that comes with this token. */
async function sessionWith(on: Scenario, token: string): Promise<string> {
  const { address } = await leaderOf(on.sluice);
  const protocolVersions = [...PROTOCOL_VERSIONS];
  const ports = { bitTorrentPort: 6881 };
  const body = { protocolVersions, kind: 'agent', incarnation: 'one-of-before', ...ports };
  const ask = ['-sk', '--max-time', '10', '-H', 'content-type: application/json'];
  const who = ['-H', `authorization: Bearer ${token}`, '-d', JSON.stringify(body)];
  const url = `https://${address}:${CONTROL_PORT}/v1/session`;
  const node = on.cluster.nodes.find(({ process }) => process !== undefined);
  return node!.run('curl', [...ask, ...who, url]);
}

/** As an administrator or an autoscaler does it; its pods go as the garbage collector would have it. */
async function deleteNode({ cluster }: Scenario, { name }: ClusterNode): Promise<void> {
  await cluster.kubectl(['delete', 'node', name]);
  const pods = ['pods', '-A', '--field-selector', `spec.nodeName=${name}`];
  await cluster.kubectl(['delete', ...pods, '--force', '--grace-period=0']);
}

describe('a node', () => {
  scenario('that is deleted is forgotten, and installed anew it is served like any', async (on) => {
    const { cluster, sluice } = on;
    const node = await sparedNode(on);
    const others = othersThan(on, node);
    const file = await on.putFile('before-deletion.bin', 8 * MIB);
    const later = await on.putFile('after-deletion.bin', 4 * MIB);
    const uid = await on.distribute(file);
    await untilEverywhere(sluice, file);
    const watch = await watchStatus(on, file);
    const token = await tokenOf(node, await agentOn(on, node));
    const before = await uidOf(on, node);
    await switchOff(on, node);
    await deleteNode(on, node);
    await untilNodes(on, file, others.length, others.length);
    await untilRowsOf(on, uid, others);

    // To this one it will be a node that joins after it was Ready.
    await on.distribute(later);
    await untilNodes(on, later, others.length, others.length);
    const watchOfLater = await watchStatus(on, later);
    const taken = await takenFromOrigin(on);

    await node.emptyDisk();
    await node.start();
    // Nothing that its agent of before has said counts: what is said to be there is there.
    for (const each of [file, later]) {
      await untilNodes(on, each, cluster.nodes.length, cluster.nodes.length);
      await expectEverywhere(sluice, each);
    }
    expect(await takenFromOrigin(on), 'bytes from the origin').toBe(taken);
    expect(await uidOf(on, node)).not.toBe(before);
    const uids = await untilRowsOf(on, uid, cluster.nodes);
    expect(uids).toEqual(await Promise.all(cluster.nodes.map((each) => uidOf(on, each))));
    expectReadyThroughout(await watch.end());
    expectReadyThroughout(await watchOfLater.end());
    expect(JSON.parse(await sessionWith(on, token))).toMatchObject({ code: 'Unauthenticated' });
  });

  scenario('that is drained is not waited for, is named, and is served last', async (on) => {
    const { cluster, sluice } = on;
    const node = await sparedNode(on);
    const all = cluster.nodes.length;
    const file = await on.putFile('drained.bin', 4 * MIB);
    const flags = ['--ignore-daemonsets', '--delete-emptydir-data', '--timeout=60s'];
    on.undo(() => cluster.kubectl(['uncordon', node.name]));
    await cluster.kubectl(['drain', node.name, ...flags]);
    // One after the other, two seconds each: what lasts for a second is in the status.
    const delivery = { maxParallelNodes: 1, maxRate: '2Mi' };
    await on.distribute(file, { spec: { delivery } });
    const watch = await watchStatus(on, file);
    await untilNodes(on, file, all, all);
    await expectEverywhere(sluice, file);
    const statuses = await watch.end();
    expectReadyThroughout(statuses);

    const isBefore = ({ nodes }: Status) => nodes?.desired === all - 1;
    const messages = statuses.filter(isBefore).flatMap((status) => {
      const { reason = '', message } = conditionOf(status, 'Ready') ?? {};
      return ['Transferring', 'Delivered'].includes(reason) ? [message] : [];
    });
    const named = `; not waited for: ${node.name} (cordoned)`;
    expect(messages.filter((message) => message?.endsWith(named) !== true)).toEqual([]);
    expect(messages).toContain(`${all - 1} of ${all - 1} nodes ready${named}`);
    const last = conditionOf(statuses.at(-1), 'Ready');
    expect(last?.message).toBe(`${all} of ${all} nodes ready`);
  });

  scenario('that is not ready, or has no agent, is named, and served when it is', async (on) => {
    const { cluster, sluice } = on;
    const off = await sparedNode(on);
    const [agentless, other] = othersThan(on, off);
    const file = await on.putFile('not-ready.bin', 2 * MIB);
    const taint = (suffix: string) =>
      cluster.kubectl(['taint', 'node', agentless!.name, `${TAINT}${suffix}`]);
    await switchOff(on, off);
    await taint('=true:NoSchedule');
    const untaint = on.undo(() => taint('-'));
    const { name } = await agentOn(on, agentless!);
    await cluster.kubectl(['delete', 'pod', name, '-n', NAMESPACE]);
    await on.distribute(file);

    const failed = await sluice.until('NoAgent', async () => {
      const { status } = await sluice.distribution(nameOf(file));
      const found = status?.failedNodes?.find((node) => node.name === agentless!.name);
      if (found !== undefined) return { ...found, said: conditionOf(status, 'Ready')?.message };
      throw new Error(JSON.stringify(status));
    });
    expect(failed.reason).toBe('NoAgent');
    expect(failed.message).toMatch(
      /; run `kubectl describe daemonset sluice-agent` in the operator's namespace$/,
    );
    // Until Kubernetes says that it is not ready, the node that is off is one without an agent, too.
    expect(failed.said).toMatch(new RegExp(`; NoAgent: no agent runs on [^;]*${agentless!.name}`));

    await sluice.until(
      'the node that is off is not waited for',
      async () => {
        const { status } = await sluice.distribution(nameOf(file));
        const { message } = conditionOf(status, 'Ready') ?? {};
        if (message?.includes(`; not waited for: ${off.name} (not ready)`)) return true;
        throw new Error(JSON.stringify(status));
      },
      NOT_READY_TIMEOUT_MS,
    );
    await untaint();
    const { status } = await sluice.untilReady(nameOf(file));
    expect(conditionOf(status, 'Ready')?.message).toBe(
      `2 of 2 nodes ready; not waited for: ${off.name} (not ready)`,
    );
    for (const node of [agentless!, other!]) {
      expect(await sha256OfFile(sluice.placed(node, nameOf(file), file.name))).toBe(file.sha256);
    }
    const watch = await watchStatus(on, file);
    await off.start();
    await untilNodes(on, file, cluster.nodes.length, cluster.nodes.length);
    await expectEverywhere(sluice, file);
    expectReadyThroughout(await watch.end());
  });

  scenario('whose file vanishes or rots has it brought back by the checks', async (on) => {
    const { cluster, sluice } = on;
    const file = await on.putFile('damaged.bin', 4 * MIB);
    const uid = await on.distribute(file);
    await untilEverywhere(sluice, file);
    const watch = await watchStatus(on, file);
    const taken = await takenFromOrigin(on);
    const [bare, rotten] = cluster.nodes;
    const placed = (node: ClusterNode) => sluice.placed(node, nameOf(file), file.name);

    await rm(await realpath(placed(bare!)));
    await rot(placed(rotten!), PIECE + 1);
    expect(await sha256OfFile(placed(rotten!))).not.toBe(file.sha256);
    for (const node of [bare!, rotten!]) {
      await sluice.until(`the file on ${node.name} is whole`, async () => {
        return (await sha256OfFile(placed(node))) === file.sha256 || undefined;
      });
    }
    expect(await damageTold(on, bare!, uid)).toEqual([`changed: ${file.name} is gone`]);
    expect(await damageTold(on, rotten!, uid)).toEqual([
      'rotten: piece 1 is not as it was written',
    ]);
    await untilNodes(on, file, cluster.nodes.length, cluster.nodes.length);
    expectReadyThroughout(await watch.end());
    expect(await takenFromOrigin(on), 'bytes from the origin').toBe(taken);
  });

  scenario('that leaves the selector keeps what is retained, and loses the rest', async (on) => {
    const { cluster, sluice } = on;
    const [leaver, stayer] = cluster.nodes;
    // Longer than it can be away by mistake; and as short as one can wait for.
    const [longSeconds, shortSeconds] = [600, 3];
    const files = await Promise.all(
      ['retained-on-leaver.bin', 'deleted-on-leaver.bin'].map((name) => on.putFile(name, MIB)),
    );
    const [retained, deleted] = files;
    const label = (node: ClusterNode, suffix: string) =>
      cluster.kubectl(['label', 'node', node.name, `${LABEL}${suffix}`, '--overwrite']);
    const shown = (file: OriginFile) => sluice.placed(leaver!, nameOf(file), file.name);
    for (const node of [leaver!, stayer!]) {
      on.undo(() => label(node, '-'));
      await label(node, '=target');
    }
    const distribute = (file: OriginFile, deletionGraceSeconds: number) => {
      const target = { path: nameOf(file), nodeSelector: { [LABEL]: 'target' } };
      const deletionPolicy = file === retained ? 'Retain' : 'Delete';
      return on.distribute(file, { spec: { target, deletionPolicy, deletionGraceSeconds } });
    };
    const uids: string[] = [];
    for (const file of files) uids.push(await distribute(file, longSeconds));
    for (const file of files) await untilNodes(on, file, 2, 2);
    const taken = await takenFromOrigin(on);
    const { ino } = await stat(shown(deleted!));

    // It matches again before the grace is over: nothing is lost, or fetched.
    await label(leaver!, '-');
    for (const file of files) await untilNodes(on, file, 1, 1);
    await label(leaver!, '=target');
    for (const file of files) await untilNodes(on, file, 2, 2);
    expect((await stat(shown(deleted!))).ino, 'the file as it was').toBe(ino);
    expect(await takenFromOrigin(on), 'bytes from the origin').toBe(taken);

    for (const file of files) {
      await distribute(file, shortSeconds);
      await sluice.untilObserved(nameOf(file));
    }
    const leftAtMs = performance.now();
    await label(leaver!, '-');
    await sluice.until('the files that are to go are gone', async () => {
      const isShown = await lstat(path.dirname(shown(deleted!))).catch(() => undefined);
      return isShown === undefined || undefined;
    });
    expect(performance.now() - leftAtMs, 'after the grace').toBeGreaterThan(shortSeconds * 1000);
    for (const uid of uids) await untilRowsOf(on, uid, [stayer!]);
    const left = await readdir(sluice.root(leaver!), { recursive: true });
    expect(left.filter((name) => name.includes(uids[1]!))).toEqual([]);
    expect(await sha256OfFile(shown(retained!))).toBe(retained!.sha256);
  });
});

/** One bit; the kernel notes a change, and a disk that rots does not: so the agent's record is newer. */
async function rot(file: string, position: number): Promise<void> {
  const whole = await realpath(file);
  const record = `${path.dirname(whole)}.state`;
  const { mode } = await stat(record);
  const handle = await open(whole, 'r+');
  try {
    const byte = Buffer.alloc(1);
    await handle.read(byte, 0, 1, position);
    await handle.write(Buffer.of(byte.readUInt8() ^ 1), 0, 1, position);
  } finally {
    await handle.close();
  }
  await chmod(record, mode);
}

/** What the agent of a node has found to be wrong of a distribution. */
async function damageTold(on: Scenario, node: ClusterNode, uid: string): Promise<string[]> {
  const { name } = await agentOn(on, node);
  const lines = (await on.cluster.kubectl(['logs', name, '-n', NAMESPACE])).split('\n');
  return lines.flatMap((line) => {
    if (!line.includes('a placed version is damaged') || !line.includes(uid)) return [];
    const { kind, what } = JSON.parse(line) as { kind: string; what: string };
    return [`${kind}: ${what}`];
  });
}
