/** What is left of a Distribution: on the disks of nodes and relays, and in the database. */
import { access, readdir } from 'node:fs/promises';
import path from 'node:path';
import {
  type Assignment,
  MongoAssignmentStore,
  rowsIn,
} from '@sluice/operator/store/assignments.ts';
import { type Db, MongoClient } from 'mongodb';
import type { Cluster, ClusterNode } from '../cluster/cluster.ts';
import { NAMESPACE, ROOT } from './sluice.ts';

const RELAY_CACHE = 'volumes/kubernetes.io~empty-dir/cache';
const DATABASE_TIMEOUT_MS = 10_000;

/** Of all nodes, `<node>:<path>`; a distribution's own folders have its uid as their name. */
export async function foldersOf(cluster: Cluster, uid: string): Promise<string[]> {
  const found: string[] = [];
  for (const node of cluster.nodes) {
    for (const root of await rootsOn(node)) {
      const names = await readdir(root, { recursive: true }).catch(() => []);
      const own = names.filter((name) => name.split('/').includes(uid));
      found.push(...own.map((name) => `${node.name}:${name}`));
    }
  }
  return found;
}

/** The agent's root, and the caches of the relays that run or ran there. */
async function rootsOn(node: ClusterNode): Promise<string[]> {
  return [node.hostPath(ROOT), ...(await relayCachesOn(node))];
}

/** Folders that are there for relays, whether they run or not. */
export async function relayCachesOn(node: ClusterNode): Promise<string[]> {
  const pods = node.hostPath('/var/lib/kubelet/pods');
  const caches = (await readdir(pods)).map((name) => path.join(pods, name, RELAY_CACHE));
  const found = await Promise.all(
    caches.map((cache) =>
      access(cache).then(
        () => true,
        () => false,
      ),
    ),
  );
  return caches.filter((_, at) => found[at]);
}

export async function withDatabase<T>(
  cluster: Cluster,
  use: (rows: DistributionRows, database: Db) => Promise<T>,
): Promise<T> {
  const pod = ['get', 'pod', 'sluice-mongodb-0', '-n', NAMESPACE];
  const address = await cluster.kubectl([...pod, '-o', 'jsonpath={.status.podIP}']);
  const { port, close } = await cluster.reach(address, 27017);
  const client = new MongoClient(`mongodb://127.0.0.1:${port}/sluice?directConnection=true`, {
    serverSelectionTimeoutMS: DATABASE_TIMEOUT_MS,
    socketTimeoutMS: DATABASE_TIMEOUT_MS,
  });
  try {
    return await use(new DistributionRows(client), client.db());
  } finally {
    await client.close();
    await close();
  }
}

interface SecretsRow {
  readonly _id: string;
  readonly feedSeed: string;
  readonly swarmSecret: string;
  readonly relayToken: string;
}

export class DistributionRows {
  readonly #client: MongoClient;

  constructor(client: MongoClient) {
    this.#client = client;
  }

  /** Keys and tokens of a distribution, which nobody but its processes may hear. */
  async secrets(uid: string): Promise<string[]> {
    const rows = this.#client.db().collection<SecretsRow>('distributions');
    const row = await rows.findOne({ _id: uid });
    const { feedSeed, swarmSecret, relayToken } = row ?? ({} as Partial<SecretsRow>);
    return [feedSeed, swarmSecret, relayToken].map((secret) => {
      if (!secret) throw new Error(`${uid} has no such secret`);
      return secret;
    });
  }

  /** What is kept of its nodes, by name. */
  async nodes(uid: string): Promise<Map<string, Assignment>> {
    const shards = await new MongoAssignmentStore(this.#client.db()).load(uid);
    return new Map(rowsIn(shards).map((row) => [row.node, row]));
  }

  /** The journal keeps what was taken from the origin: its limits outlive a Distribution. */
  async count(uid: string): Promise<{ distributions: number; assignments: number }> {
    const database = this.#client.db();
    const byId = database.collection<{ _id: string }>('distributions');
    return {
      distributions: await byId.countDocuments({ _id: uid }),
      assignments: await database.collection('assignments').countDocuments({ uid }),
    };
  }
}
