import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface HealthOptions {
  readonly port: number;
}

export interface HealthDependencies {
  /** Whether this process can do its work; it need not have any. */
  readonly ready: () => boolean;
  readonly metrics: () => Promise<{ contentType: string; text: string }>;
}

/** `/healthz`: the event loop runs. `/readyz`: the process can work. `/metrics`: Prometheus. */
export class HealthServer {
  readonly #options: HealthOptions;
  readonly #server: Server;

  constructor(options: HealthOptions, { ready, metrics }: HealthDependencies) {
    this.#options = options;
    this.#server = createServer({ requestTimeout: 5_000 }, async (request, response) => {
      const answer = (status: number, text: string, contentType = 'text/plain') => {
        response.writeHead(status, { 'content-type': contentType }).end(text);
      };
      switch (new URL(request.url ?? '/', 'http://health').pathname) {
        case '/healthz':
          return answer(200, 'ok\n');
        case '/readyz':
          return ready() ? answer(200, 'ok\n') : answer(503, 'not ready\n');
        case '/metrics': {
          const { text, contentType } = await metrics().catch(() => ({
            text: 'metrics failed\n',
            contentType: '',
          }));
          return contentType === '' ? answer(500, text) : answer(200, text, contentType);
        }
        default:
          return answer(404, 'not found\n');
      }
    });
    this.#server.maxConnections = 64;
  }

  start(): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(this.#options.port, () => {
        this.#server.removeListener('error', reject);
        resolve((this.#server.address() as AddressInfo).port);
      });
    });
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
