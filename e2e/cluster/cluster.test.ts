import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { access, mkdtemp, readdir, readFile, readlink, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { OriginFile } from '../origin/origin.ts';
import { ask } from '../origin/testing.ts';
import { clustersWithGroups } from './cgroups.ts';
import { type Cluster, type ClusterNode, startCluster } from './cluster.ts';
import { sluiceImages } from './images.ts';
import { clustersFolder } from './paths.ts';
import { removeStaleClusters } from './registrations.ts';
import { createPod, createService, eventually, untilPod } from './testing.ts';

const MIB = 1024 * 1024;
const MBIT = 1_000_000;

let cluster: Cluster;
let image: string;
let file: OriginFile;

beforeAll(async () => {
  const images = await sluiceImages();
  image = images.relay.name;
  const archives = Object.values(images).map(({ archive }) => archive);
  cluster = await startCluster({ nodes: 3, zones: 2, images: archives });
  file = await cluster.origin.putFile('file.bin', { sizeBytes: 6 * MIB, seed: 1 });
});
afterAll(() => cluster?.stop());

function node(index: number): ClusterNode {
  const found = cluster.nodes[index - 1];
  if (found === undefined) throw new Error(`there is no node ${index}`);
  return found;
}

/** Answers with the seconds that it has run. */
const SERVER = `
  import { createServer } from 'node:http';
  createServer((_, answer) => answer.end(String(process.uptime()))).listen(8080);`;

async function startServer(name: string, on: ClusterNode): Promise<() => Promise<number>> {
  await createPod(cluster, { name, node: on.name, image, script: SERVER });
  await createService(cluster, name, 8080);
  await untilPod(cluster, name, 'Ready');
  const { port } = await cluster.reach(`${name}.default`, 80);
  const uptimeSeconds = async () => {
    const { body, status } = await ask(`http://127.0.0.1:${port}/`, { idleMs: 1_000 });
    if (status !== 200) throw new Error(`status ${status}`);
    return Number(body);
  };
  await eventually(uptimeSeconds);
  return uptimeSeconds;
}

describe('the test cluster', () => {
  it('has as many nodes as asked for, in turns in its zones', async () => {
    const template =
      '{range .items[*]}{.metadata.name} {.metadata.labels.topology\\.kubernetes\\.io/zone} ' +
      '{.status.conditions[?(@.type=="Ready")].status}{"\\n"}{end}';
    const said = await cluster.kubectl(['get', 'nodes', '-o', `jsonpath=${template}`]);
    expect(said.trim().split('\n')).toEqual([
      'node-1 zone-a True',
      'node-2 zone-b True',
      'node-3 zone-a True',
    ]);
  });

  it('resolves names and routes Services from pods of other nodes', async () => {
    await startServer('far', node(2));
    const script = `
      const far = await fetch('http://far.default.svc.cluster.local/');
      const origin = await fetch('${file.url}');
      console.log(far.status, origin.status, (await origin.arrayBuffer()).byteLength);`;
    await createPod(cluster, {
      ...{ name: 'client', node: node(3).name, image, script, restartPolicy: 'Never' },
    });
    await untilPod(cluster, 'client', 'Succeeded');
    expect(await cluster.kubectl(['logs', 'client'])).toBe(`200 200 ${file.sizeBytes}\n`);
    // The pod's own address, not a node's: what the origin sees is who asked.
    const [request] = (await cluster.origin.stats()).requests;
    expect(request?.client).toMatch(/^10\.244\.3\./);
  });

  it('runs commands in pods and fails with what kubectl said', async () => {
    const hello = ['exec', 'far', '--', 'node', '-p', '1 + 1'];
    expect(await cluster.kubectl(hello)).toBe('2\n');
    await expect(cluster.kubectl(['get', 'pod', 'nobody'])).rejects.toThrow('"nobody" not found');
  });

  it('has an API server that can be away for a while', async () => {
    const nodes = ['get', 'nodes', '-o', 'name'];
    await cluster.freezeApiServer();
    try {
      await expect(cluster.kubectl(nodes, { timeoutMs: 2_000 })).rejects.toThrow();
    } finally {
      await cluster.thawApiServer();
    }
    expect(await cluster.kubectl(nodes)).toContain('node/node-1');
  });

  it('writes down its whole state', async () => {
    const folder = await mkdtemp(path.join(tmpdir(), 'sluice-dump-'));
    try {
      await cluster.dumpState(folder);
      expect(await readFile(path.join(folder, 'pods.txt'), 'utf8')).toContain('far');
      expect(await readdir(path.join(folder, 'pods/node-3'))).toHaveLength(1);
      expect(await readdir(path.join(folder, 'cluster'))).toContain('kube-apiserver.log');
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });
});

describe('links', () => {
  const bytesPerSecond = async (on: ClusterNode) => {
    const format = ['-s', '-o', '/dev/null', '-w', '%{speed_download}'];
    const url = `http://${cluster.origin.address}/${file.name}`;
    return Number(await on.run('curl', [...format, '--max-time', '60', url]));
  };

  it('have the rate of their node, in the direction it is set for', async () => {
    const free = await bytesPerSecond(node(1));
    await node(1).setLinkRate({ downBitsPerSecond: 40 * MBIT });
    const fast = await bytesPerSecond(node(1));
    await node(1).setLinkRate({ downBitsPerSecond: 20 * MBIT });
    const slow = await bytesPerSecond(node(1));
    const other = await bytesPerSecond(node(2));
    await node(1).setLinkRate({ upBitsPerSecond: 20 * MBIT });
    const upload = await bytesPerSecond(node(1));
    await node(1).setLinkRate({});
    expect(fast / slow).toBeGreaterThan(1.7);
    expect(fast / slow).toBeLessThan(2.3);
    for (const unshaped of [free, other, upload]) expect(unshaped / fast).toBeGreaterThan(2);
  });

  it('of the origin bound all nodes together', async () => {
    await cluster.origin.setLinkRate({ upBitsPerSecond: 40 * MBIT });
    const seconds = async (on: readonly ClusterNode[]) => {
      const startedAt = performance.now();
      await Promise.all(on.map(bytesPerSecond));
      return (performance.now() - startedAt) / 1000;
    };
    const alone = await seconds([node(1)]);
    const both = await seconds([node(1), node(2)]);
    await cluster.origin.setLinkRate({});
    expect(both / alone).toBeGreaterThan(1.6);
    expect(both / alone).toBeLessThan(2.4);
  });
});

describe('a node', () => {
  it('keeps its disk when it is switched off, and its pods start again with it', async () => {
    const uptimeSeconds = await startServer('switched', node(2));
    await writeFile(node(2).hostPath('/var/lib/sluice/kept'), 'kept');
    await node(2).stop();
    expect(node(2).process).toBeUndefined();
    await expect(uptimeSeconds()).rejects.toThrow();
    await expect(node(2).run('true', [])).rejects.toThrow('node-2 is powered off');
    const offAt = performance.now();
    await node(2).start();
    const uptime = await eventually(uptimeSeconds, 60_000);
    expect(uptime).toBeLessThan((performance.now() - offAt) / 1000);
    expect(await node(2).run('cat', ['/var/lib/sluice/kept'])).toBe('kept');
  });

  it('stands still while it is frozen, and goes on where it was', async () => {
    const uptimeSeconds = await startServer('frozen', node(3));
    const before = await uptimeSeconds();
    await node(3).freeze();
    await expect(uptimeSeconds()).rejects.toThrow();
    await node(3).thaw();
    expect(await eventually(uptimeSeconds)).toBeGreaterThan(before);
  });

  it('is out of reach while it is cut off, and its processes go on', async () => {
    const uptimeSeconds = await startServer('cut', node(3));
    const before = await uptimeSeconds();
    await node(3).cutOff();
    await expect(uptimeSeconds()).rejects.toThrow();
    await sleep(500);
    await node(3).reconnect();
    expect(await eventually(uptimeSeconds)).toBeGreaterThan(before + 1);
  });
});

describe('the end of a cluster', () => {
  it('leaves no process, mount, control group, folder or namespace, frozen or not', async () => {
    await node(1).freeze();
    const remains = await remainsOf(cluster);
    await cluster.stop();
    await remains();
  });

  it('comes with the death of the process that started it', async () => {
    const script = `
      const { startCluster } = await import(${JSON.stringify(path.join(import.meta.dirname, 'cluster.ts'))});
      const { name, stateFolder } = await startCluster({ nodes: 1, zones: 1, log() {} });
      console.log(JSON.stringify({ name, stateFolder }));
      setInterval(() => {}, 1000);`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [line] = await once(child.stdout, 'data');
    const started = JSON.parse(String(line)) as { name: string; stateFolder: string };
    const remains = await remainsOf(started);
    child.kill('SIGKILL');
    await once(child, 'exit');
    await eventually(async () => {
      await removeStaleClusters();
      await remains();
    });
  });
});

/** Throws when anything of the cluster is there; to be called after its end. */
async function remainsOf(of: { name: string; stateFolder: string }): Promise<() => Promise<void>> {
  const registration = path.join(clustersFolder(), `${of.name}.json`);
  const { init } = JSON.parse(await readFile(registration, 'utf8'));
  const namespaces = await Promise.all(
    ['pid', 'mnt', 'net'].map((kind) => readlink(`/proc/${init.pid}/ns/${kind}`)),
  );
  expect(namespaces).not.toContain(await readlink('/proc/self/ns/net'));
  return async () => {
    for (const pid of await readdir('/proc')) {
      if (!/^\d+$/.test(pid)) continue;
      for (const kind of ['pid', 'mnt', 'net']) {
        const namespace = await readlink(`/proc/${pid}/ns/${kind}`).catch(() => '');
        expect(namespaces, `process ${pid}`).not.toContain(namespace);
      }
    }
    expect(await readFile('/proc/self/mountinfo', 'utf8')).not.toContain(of.name);
    expect(await clustersWithGroups(of.name)).toEqual([]);
    for (const gone of [of.stateFolder, registration]) {
      await expect(access(gone)).rejects.toThrow('ENOENT');
    }
  };
}
