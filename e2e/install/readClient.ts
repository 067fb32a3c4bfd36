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

export class ReadClient {
  readonly #agent: Agent;
  readonly #port: number;
  readonly #token: string;
  readonly #close: () => Promise<void>;

  private constructor(agent: Agent, port: number, token: string, close: () => Promise<void>) {
    this.#agent = agent;
    this.#port = port;
    this.#token = token;
    this.#close = close;
  }

  static async open(cluster: Cluster, namespace: string): Promise<ReadClient> {
    const path = 'jsonpath={.data.ca\\.crt}';
    const ca = await cluster.kubectl(['get', 'cm', 'sluice-ca', '-n', namespace, '-o', path]);
    const { users } = parse(await readFile(cluster.kubeconfigPath, 'utf8')) as {
      users: { user: { token: string } }[];
    };
    const { port, close } = await cluster.reach(`sluice-control.${namespace}`, 8443);
    const servername = `sluice-control.${namespace}.svc`;
    const agent = new Agent({ ca, servername, keepAlive: true, maxSockets: 2 });
    return new ReadClient(agent, port, users[0]?.user.token ?? '', close);
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

  async close(): Promise<void> {
    this.#agent.destroy();
    await this.#close();
  }

  #get<T>(path: string): Promise<T> {
    return new Promise((resolve, reject) => {
      const call = request(
        {
          host: '127.0.0.1',
          port: this.#port,
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
            const text = Buffer.concat(chunks).toString('utf8');
            if (response.statusCode === 200) resolve(JSON.parse(text) as T);
            else reject(new Error(`control API: GET ${path}: ${response.statusCode} ${text}`));
          });
        },
      );
      call.on('timeout', () => call.destroy(new Error(`control API: ${path} is not answered`)));
      call.on('error', reject);
      call.end();
    });
  }
}
