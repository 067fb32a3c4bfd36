import { mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Logger } from 'winston';
import { AgentMetrics } from './metrics.ts';
import { bytesInWords, namedIn, namesInWords, Orphans } from './orphans.ts';

let root: string;
let named: Set<string>;
let logged: unknown[];
let orphans: Orphans;

beforeEach(async () => {
  root = await mkdtemp(path.join(tmpdir(), 'sluice-orphans-'));
  named = new Set();
  logged = [];
  const info = (_message: string, { uid }: { readonly uid: string }) => logged.push(uid);
  const logger = { info } as unknown as Logger;
  orphans = new Orphans({ root, named: () => named }, { logger });
});

afterEach(() => rm(root, { recursive: true, force: true }));

/** As an earlier run of the agent has left it. */
async function leave(namespace: string, uid: string, epoch: number, sizeBytes: number) {
  const folder = path.join(root, namespace, '.sluice', uid);
  await mkdir(path.join(folder, String(epoch)), { recursive: true });
  const files = [{ path: 'a', sizeBytes }];
  await writeFile(
    path.join(folder, `${epoch}.files`),
    JSON.stringify({ pieceLengthBytes: 1, files }),
  );
  await writeFile(path.join(folder, 'link'), `models/${uid}`);
}

describe('orphans', () => {
  it("count, too, where the namespace's folder is a link", async () => {
    await mkdir(path.join(root, 'disk/of-it'), { recursive: true });
    await symlink('disk/of-it', path.join(root, 'team'));
    await leave('team', 'u', 1, 10);
    await orphans.synced();
    const found = { namespace: 'team', uid: 'u', path: 'models/u', sizeBytes: 10 };
    expect(await orphans.list('team')).toEqual([found]);
  });

  it('are what no task names, the largest first, and each is logged once', async () => {
    await leave('team', 'small', 1, 10);
    await leave('team', 'large', 1, 100);
    await leave('team', 'large', 2, 200);
    await leave('team', 'named', 1, 4_000);
    await leave('other', 'theirs', 7, 50);
    named.add('named');
    await orphans.synced();
    const large = { namespace: 'team', uid: 'large', path: 'models/large', sizeBytes: 300 };
    const small = { namespace: 'team', uid: 'small', path: 'models/small', sizeBytes: 10 };
    const theirs = { namespace: 'other', uid: 'theirs', path: 'models/theirs', sizeBytes: 50 };
    expect(await orphans.list()).toEqual([large, theirs, small]);
    expect(await orphans.list('team')).toEqual([large, small]);
    expect(logged.sort()).toEqual(['large', 'small', 'theirs']);
    const before = await readdir(root, { recursive: true });
    named.add('large');
    expect(await orphans.list('team')).toEqual([small]);
    named.delete('large');
    await orphans.list();
    expect(logged.filter((uid) => uid === 'large')).toHaveLength(2);
    named.add('large');
    // Nothing that is only not named goes.
    expect(await readdir(root, { recursive: true })).toEqual(before);
  });

  it("are read again when they were gone, or were somebody's, meanwhile", async () => {
    await leave('team', 'a', 1, 10);
    await leave('team', 'b', 1, 10);
    await orphans.synced();
    named.add('a');
    await rm(path.join(root, 'team/.sluice/b'), { recursive: true });
    expect(await orphans.list()).toEqual([]);
    named.clear();
    await leave('team', 'a', 1, 20);
    await leave('team', 'b', 1, 30);
    expect(await orphans.list()).toMatchObject([{ sizeBytes: 30 }, { sizeBytes: 20 }]);
    expect(logged.sort()).toEqual(['a', 'a', 'b', 'b']);
  });

  it('are not known before the control server has said everything', async () => {
    await leave('team', 'late', 1, 10);
    expect(await orphans.list()).toBeUndefined();
    expect(logged).toEqual([]);
    await orphans.synced();
    expect(await orphans.list()).toHaveLength(1);
  });

  it('are none of what lives and has no task now', async () => {
    await leave('team', 'suspended', 1, 10);
    await orphans.synced(['suspended']);
    expect(await orphans.list()).toEqual([]);
    expect(logged).toEqual([]);
    await orphans.synced([]);
    expect(await orphans.list()).toMatchObject([{ uid: 'suspended' }]);
    expect(logged).toEqual(['suspended']);
  });

  it('are also those without a list or a note, which count nothing', async () => {
    await mkdir(path.join(root, 'team/.sluice/bare/3'), { recursive: true });
    await mkdir(path.join(root, 'team/.sluice/empty'), { recursive: true });
    await orphans.synced();
    const bare = { namespace: 'team', uid: 'bare', path: undefined, sizeBytes: 0 };
    expect(await orphans.list()).toEqual([bare]);
  });

  it('are none of the tasks that are there, and are those that were removed', () => {
    const reports = [
      { uid: 'a', state: 'failed' as const },
      { uid: 'b', state: 'removed' as const },
    ];
    expect([...namedIn(reports)]).toEqual(['a']);
  });
});

describe('the words for orphans', () => {
  const orphan = (uid: string, sizeBytes: number) => ({
    namespace: 'team',
    uid,
    path: 'x'.repeat(150),
    sizeBytes,
  });

  it('are as few as a message has room for', () => {
    const many = ['a', 'b', 'c', 'd'].map((uid) => orphan(uid, 2 ** 30));
    expect(bytesInWords(many)).toBe('4.00 GiB that no Distribution names');
    expect(namesInWords(many)).toMatch(/^x{150} \(a\), x{150} \(b\), 2 more$/);
    expect(bytesInWords([orphan('a', 0)])).toBeUndefined();
  });
});

describe('the metrics', () => {
  let looks = 0;
  const textOf = async (): Promise<string> => {
    const metrics = new AgentMetrics({
      reports: () => [],
      controlConnected: () => true,
      protocolVersion: () => 2,
      closedConnections: () => new Map(),
      newerBatches: () => 0,
      bannedPeers: () => 0,
      orphans: () => {
        looks += 1;
        return orphans.list();
      },
    });
    return (await metrics.text()).text;
  };

  it('count orphans once they are known', async () => {
    await leave('team', 'a', 1, 10);
    await leave('team', 'b', 1, 20);
    expect(await textOf()).not.toMatch(/^sluice_agent_orphaned_\w+ /m);
    await orphans.synced();
    looks = 0;
    const text = await textOf();
    expect(looks, 'one for both').toBe(1);
    expect(text).toContain('\nsluice_agent_orphaned_bytes 30\n');
    expect(text).toContain('\nsluice_agent_orphaned_distributions 2\n');
  });
});
