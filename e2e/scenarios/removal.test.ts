/** Distributions that are deleted while somebody whose word counts is away, and a lost database. */
import { readdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { describe, expect } from 'vitest';
import type { Cluster } from '../cluster/cluster.ts';
import { foldersOf, withDatabase } from '../install/remains.ts';
import { NAMESPACE } from '../install/sluice.ts';
import {
  expectEverywhere,
  MIB,
  nameOf,
  type Scenario,
  scaleOperator,
  scenario,
  sparedNode,
  switchOff,
  takenFromOrigin,
  untilEverywhere,
} from './scenario.ts';

/** The object waits for a minute at most, and for who looks at it then. */
const GONE_WITHIN_MS = 90_000;
const DATABASE_TIMEOUT_MS = 300_000;
const DATABASE = 'sluice-mongodb';

async function scaleDatabase(cluster: Cluster, replicas: 0 | 1): Promise<void> {
  const scale = ['scale', `statefulset/${DATABASE}`, '-n', NAMESPACE, `--replicas=${replicas}`];
  await cluster.kubectl(scale);
  const pod = ['wait', `pod/${DATABASE}-0`, '-n', NAMESPACE, '--timeout=60s'];
  if (replicas === 0) await cluster.kubectl([...pod, '--for=delete']);
  else {
    await cluster.kubectl([...pod, '--for=create']);
    await cluster.kubectl([...pod, '--for=condition=Ready']);
  }
}

/** What a disk that was lost leaves; the database does not run. */
async function emptyDatabase(cluster: Cluster): Promise<void> {
  const jsonpath = async (of: readonly string[], what: string) =>
    cluster.kubectl(['get', ...of, '-o', `jsonpath=${what}`]);
  const claim = ['persistentvolumeclaim', `data-${DATABASE}-0`, '-n', NAMESPACE];
  const volume = ['persistentvolume', await jsonpath(claim, '{.spec.volumeName}')];
  const host = '.spec.nodeAffinity.required.nodeSelectorTerms[0].matchExpressions[0].values[0]';
  const name = await jsonpath(volume, `{${host}}`);
  const node = cluster.nodes.find((each) => each.name === name);
  const folder = node!.hostPath(await jsonpath(volume, '{.spec.hostPath.path}'));
  const files = await readdir(folder);
  expect(files, 'files of the database').not.toEqual([]);
  for (const file of files) await rm(path.join(folder, file), { recursive: true });
}

async function rowsOf({ cluster }: Scenario, uid: string): Promise<number> {
  const rows = await withDatabase(cluster, (database) => database.count(uid));
  return rows.distributions + rows.assignments;
}

describe('a Distribution that is deleted', () => {
  scenario('while a node is away goes, and the files there when it is back', async (on) => {
    const { sluice, cluster } = on;
    const file = await on.putFile('node-away.bin', 2 * MIB);
    const uid = await on.distribute(file, { spec: { deletionGraceSeconds: 2 } });
    await untilEverywhere(sluice, file);
    const node = await sparedNode(on);
    const isThere = (folder: string) => folder.startsWith(`${node.name}:`);
    const switchOn = await switchOff(on, node);
    await sluice.remove(nameOf(file), GONE_WITHIN_MS);
    await sluice.until('files are gone but where nobody is', async () => {
      const folders = await foldersOf(cluster, uid);
      return folders.every(isThere) ? true : undefined;
    });
    expect(await foldersOf(cluster, uid), 'files of the node').not.toEqual([]);
    expect(await rowsOf(on, uid), 'rows that remember them').toBeGreaterThan(0);
    await switchOn();
    await sluice.until('the files of the node are gone', async () => {
      return (await foldersOf(cluster, uid)).length === 0 ? true : undefined;
    });
    await sluice.until('the rows are gone', async () => {
      return (await rowsOf(on, uid)) === 0 ? true : undefined;
    });
  });

  scenario(
    'while the database is away keeps its files, and so do all when it comes back empty',
    async (on) => {
      const { sluice, cluster } = on;
      const gone = await on.putFile('database-away.bin', 2 * MIB);
      const kept = await on.putFile('database-lost.bin', 8 * MIB);
      const goneUid = await on.distribute(gone, { spec: { deletionGraceSeconds: 2 } });
      await on.distribute(kept);
      for (const file of [gone, kept]) await untilEverywhere(sluice, file);
      const before = await takenFromOrigin(on);
      on.undo(async () => {
        for (const node of cluster.nodes) {
          for (const folder of [`.sluice/${goneUid}`, nameOf(gone)]) {
            const file = path.join(sluice.root(node), 'default', folder);
            await rm(file, { recursive: true, force: true });
          }
        }
      });
      // Undone in the other order: an operator is not ready before its database is.
      const startOperator = on.undo(() => scaleOperator(1));
      const startDatabase = on.undo(() => scaleDatabase(cluster, 1));
      await scaleDatabase(cluster, 0);
      await sluice.remove(nameOf(gone), GONE_WITHIN_MS);
      for (const file of [gone, kept]) await expectEverywhere(sluice, file);
      // A database is restored while the operator is stopped: docs/operations.md.
      await scaleOperator(0);
      await sluice.until('no operator runs', async () => {
        return (await sluice.pods('operator')).length === 0 || undefined;
      });
      await emptyDatabase(cluster);
      await startDatabase();
      await startOperator();
      await sluice.untilEpoch(nameOf(kept), 2);
      for (const file of [gone, kept]) await expectEverywhere(sluice, file);
      const taken = (await takenFromOrigin(on)) - before;
      // The origin was asked what it has.
      expect(taken, 'bytes of the origin').toBeLessThan(MIB / 16);
      expect(await rowsOf(on, goneUid), 'rows of what nobody knows').toBe(0);
    },
    { timeoutMs: DATABASE_TIMEOUT_MS },
  );
});
