/** An origin on loopback that writes down what its sockets were given, when. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { systemClock } from '@sluice/engine/adapters/systemClock.ts';
import { OriginMeter } from '@sluice/engine/testing/originMeter.ts';

export class MeteredOrigin {
  readonly meter = new OriginMeter(systemClock);
  readonly #body: Buffer;
  readonly #latencyMs: number;
  readonly #server: Server;

  constructor(body: Buffer, latencyMs: number) {
    this.#body = body;
    this.#latencyMs = latencyMs;
    this.#server = createServer((request, response) => void this.#answer(request, response));
    this.#server.on('connection', (socket) => this.meter.watch(socket));
  }

  /** Its one file. */
  async start(): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/file.bin`;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    await sleep(this.#latencyMs);
    const size = this.#body.length;
    const match = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '');
    const [start, end] = match === null ? [0, size] : [Number(match[1]), Number(match[2]) + 1];
    const body = this.#body.subarray(start, end);
    response.writeHead(match === null ? 200 : 206, {
      etag: '"one"',
      'content-length': body.length,
      ...(match !== null && { 'content-range': `bytes ${start}-${end - 1}/${size}` }),
    });
    response.end(body);
  }
}
