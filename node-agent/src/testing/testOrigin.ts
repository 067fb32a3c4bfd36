import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';

/** Serves files with ranges, on loopback, and counts what it sent. */
export class TestOrigin {
  readonly sentBytes = new Map<string, number>();
  readonly files = new Map<string, Buffer>();
  #server!: Server;
  url = '';

  async start(): Promise<void> {
    this.#server = createServer((request, response) => {
      const file = this.files.get(request.url ?? '');
      if (file === undefined) {
        response.writeHead(404).end();
        return;
      }
      const [, first = '0', last = `${file.length - 1}`] =
        /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? [];
      const body = file.subarray(Number(first), Number(last) + 1);
      const sent = this.sentBytes.get(request.url ?? '') ?? 0;
      this.sentBytes.set(request.url ?? '', sent + body.length);
      response.writeHead(206, {
        etag: '"v1"',
        'content-length': body.length,
        'content-range': `bytes ${first}-${last}/${file.length}`,
      });
      response.end(body);
    });
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    this.url = `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
