/**
 * A way to the API server that notes when it is asked to review tokens. Its own counters tell how
 * many there were; only their moments tell how many came in any one second.
 */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { Agent, request as httpsRequest } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { TestApiServer } from '@sluice/operator/testing/adapters/apiServer.ts';
import { sumOf } from './metricsText.ts';

const REVIEWS = '/apis/authentication.k8s.io/v1/tokenreviews';

export class ApiDoor {
  /** In milliseconds since the Unix epoch, ascending. */
  readonly reviewedMs: number[] = [];
  readonly #api: TestApiServer;
  readonly #agent = new Agent({ keepAlive: true, rejectUnauthorized: false });
  readonly #server: Server;
  readonly #behind: string;

  constructor(api: TestApiServer) {
    this.#api = api;
    this.#behind = api.operatorConfig.getCurrentCluster()?.server ?? '';
    this.#server = createServer((request, response) => this.#pass(request, response));
  }

  async open(address: string): Promise<void> {
    this.#server.listen(0, address);
    await once(this.#server, 'listening');
  }

  /** The operator's, as text. */
  get kubeConfig(): string {
    const { address, port } = this.#server.address() as AddressInfo;
    const text = this.#api.operatorConfig.exportConfig();
    return text.replaceAll(this.#behind, `http://${address}:${port}`);
  }

  /** As the API server counts them. */
  async reviewsCounted(): Promise<number> {
    let text = '';
    const call = { method: 'GET', path: '/metrics', idleTimeoutMs: 10_000 } as const;
    for await (const line of this.#api.admin.lines(call)) text += `${line}\n`;
    return sumOf(text, 'apiserver_request_total', { resource: 'tokenreviews' });
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
    this.#agent.destroy();
  }

  #pass(request: IncomingMessage, response: ServerResponse): void {
    const { method, url = '/', headers } = request;
    if (method === 'POST' && url === REVIEWS) this.reviewedMs.push(Date.now());
    const to = { method, headers, agent: this.#agent };
    const onward = httpsRequest(new URL(url, this.#behind), to, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      // The headers of a watch come long before its first line.
      response.flushHeaders();
      answer.once('error', () => response.destroy());
      answer.pipe(response);
    });
    onward.once('error', () => response.destroy());
    response.once('close', () => onward.destroy());
    request.pipe(onward);
  }
}
