/** The read side of the control API, as an administrator's tool would use it from outside. */
import { readFile } from 'node:fs/promises';
import { Agent, request } from 'node:https';
import { parse } from 'yaml';
import type { Cluster } from '../cluster/cluster.ts';

export interface Received {
  readonly fromPeers: number;
  readonly fromRelays: number;
  readonly fromRelayHttp: number;
  readonly fromOrigin: number;
}

export interface NodeView {
  readonly name: string;
  readonly state: string;
  readonly connected: boolean;
  readonly verifiedBytes: number;
  readonly rateBytesPerSecond: number;
  readonly received: Received;
  readonly uploadedBytes: number;
  /** Milliseconds since the Unix epoch. */
  readonly firstByteAtMs?: number;
  readonly error?: { readonly reason: string; readonly message: string };
}

export interface RelayView extends Omit<NodeView, 'connected' | 'error'> {
  readonly domain: string;
}

export interface DistributionView {
  readonly epoch: number;
  readonly sizeBytes: number;
  readonly originBytes: number;
  readonly relays: readonly RelayView[];
}

const TIMEOUT_MS = 10_000;

/** A way from this process to an address inside the cluster. */
interface Way {
  readonly port: number;
  readonly close: () => Promise<void>;
}

export class ReadClient {
  readonly #cluster: Cluster;
  readonly #agent: Agent;
  readonly #token: string;
  readonly #service: Way;
  /** To the pods of leaders, by their address. */
  readonly #leaders = new Map<string, Promise<Way>>();

  private constructor(cluster: Cluster, agent: Agent, token: string, service: Way) {
    this.#cluster = cluster;
    this.#agent = agent;
    this.#token = token;
    this.#service = service;
  }

  static async open(cluster: Cluster, namespace: string): Promise<ReadClient> {
    const path = 'jsonpath={.data.ca\\.crt}';
    const ca = await cluster.kubectl(['get', 'cm', 'sluice-ca', '-n', namespace, '-o', path]);
    const { users } = parse(await readFile(cluster.kubeconfigPath, 'utf8')) as {
      users: { user: { token: string } }[];
    };
    const service = await cluster.reach(`sluice-control.${namespace}`, 8443);
    const servername = `sluice-control.${namespace}.svc`;
    const agent = new Agent({ ca, servername, keepAlive: true, maxSockets: 2 });
    return new ReadClient(cluster, agent, users[0]?.user.token ?? '', service);
  }

  distribution(uid: string): Promise<DistributionView> {
    return this.#get(`/v1/distributions/${uid}`);
  }

  async assignments(uid: string): Promise<NodeView[]> {
    const { items } = await this.#get<{ items: NodeView[] }>(
      `/v1/distributions/${uid}/assignments`,
    );
    return items;
  }

  /** Of the finished set; undefined: not yet. */
  async torrent(uid: string): Promise<Buffer | undefined> {
    const path = `/v1/distributions/${uid}/torrent`;
    const { status, body } = await this.#answer(path);
    if (status === 503) return undefined;
    if (status === 200) return body;
    throw new Error(`control API: GET ${path}: ${status} ${body}`);
  }

  async close(): Promise<void> {
    this.#agent.destroy();
    await this.#service.close();
    for (const way of this.#leaders.values()) await (await way).close();
  }

  async #get<T>(path: string): Promise<T> {
    const { status, body } = await this.#answer(path);
    if (status === 200) return JSON.parse(body.toString()) as T;
    throw new Error(`control API: GET ${path}: ${status} ${body}`);
  }

  /** The Service may lead to a standby, which names the leader's pod. */
  async #answer(path: string): Promise<Answer> {
    const first = await this.#ask(this.#service, path);
    return first.location === undefined ? first : this.#askLeader(first.location, path);
  }

  async #askLeader(location: string, path: string): Promise<Answer> {
    const { hostname, port } = new URL(location);
    let way = this.#leaders.get(hostname);
    if (way === undefined) {
      way = this.#cluster.reach(hostname, Number(port));
      this.#leaders.set(hostname, way);
    }
    return this.#ask(await way, path);
  }

  #ask({ port }: Way, path: string): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const call = request(
        {
          host: '127.0.0.1',
          port,
          path,
          agent: this.#agent,
          timeout: TIMEOUT_MS,
          headers: { authorization: `Bearer ${this.#token}` },
        },
        (response) => {
          const chunks: Buffer[] = [];
          response.on('data', (chunk: Buffer) => chunks.push(chunk));
          response.on('error', reject);
          response.on('end', () => {
            const { statusCode: status, headers } = response;
            const body = Buffer.concat(chunks);
            resolve({ status, body, location: status === 307 ? headers.location : undefined });
          });
        },
      );
      call.on('timeout', () => call.destroy(new Error(`control API: ${path} is not answered`)));
      call.on('error', reject);
      call.end();
    });
  }
}

interface Answer {
  readonly status: number | undefined;
  readonly body: Buffer;
  readonly location: string | undefined;
}
