/**
 * Several listening sockets on one port. libuv accepts one connection of each every time the event
 * loop comes round: where that takes a tenth of a second, one socket would let ten in a second, and
 * thousands come when a leader is gone. The kernel deals them out (SO_REUSEPORT, Linux).
 */
import type { Server as HttpsServer } from 'node:https';
import { type AddressInfo, createServer, type Server } from 'node:net';

export interface WideListeningOptions {
  readonly port: number;
  readonly host?: string;
  /** Connections that wait to be accepted, of each socket. */
  readonly backlog: number;
  readonly sockets?: number;
}

const SOCKETS = 16;

export class WideListening {
  readonly #server: HttpsServer;
  #more: readonly Server[] = [];

  constructor(server: HttpsServer) {
    this.#server = server;
  }

  /** Rejects when the port is taken. */
  async listen({ sockets = SOCKETS, ...options }: WideListeningOptions): Promise<void> {
    if (process.platform !== 'linux') return listening(this.#server, options);
    await listening(this.#server, { ...options, reusePort: true });
    const { port } = this.#server.address() as AddressInfo;
    const more = Array.from({ length: sockets - 1 }, () => {
      // As an HTTP server does by itself.
      return createServer({ noDelay: true }, (socket) => this.#server.emit('connection', socket));
    });
    this.#more = more;
    await Promise.all(more.map((each) => listening(each, { ...options, port, reusePort: true })));
  }

  /** Resolves when the last connection is closed. */
  async close(): Promise<void> {
    await Promise.all([this.#server, ...this.#more].map(closed));
  }
}

function listening(
  server: Server,
  options: { port: number; host?: string; backlog: number; reusePort?: boolean },
): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once('error', reject);
  server.listen(options, () => {
    server.off('error', reject);
    resolve();
  });
  return promise;
}

function closed(server: Server): Promise<void> {
  return new Promise((resolve) => server.close(() => resolve()));
}
