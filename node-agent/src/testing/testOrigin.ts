import { createHash } from 'node:crypto';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';

interface OriginFile {
  readonly body: Buffer;
  readonly etag: string;
}

/** Serves files with ranges, on loopback, each under its own ETag, and counts what it sent. */
export class TestOrigin {
  /** By the path of the URL. */
  readonly sentBytes = new Map<string, number>();
  /** Requests that named no validator, or another file's. */
  unguarded = 0;
  connections = 0;
  readonly #files = new Map<string, OriginFile>();
  #server!: Server;
  url = '';

  /** Answers its ETag. */
  put(path: string, body: Buffer): string {
    const etag = `"${createHash('sha256').update(body).digest('hex').slice(0, 16)}"`;
    this.#files.set(path, { body, etag });
    return etag;
  }

  async start(): Promise<void> {
    this.#server = createServer((request, response) => {
      const path = decodeURI(request.url ?? '');
      const file = this.#files.get(path);
      if (file === undefined) {
        response.writeHead(404).end();
        return;
      }
      if (request.headers['if-match'] !== file.etag) {
        this.unguarded += 1;
        response.writeHead(412, { 'content-length': 0 }).end();
        return;
      }
      const { length } = file.body;
      const [, first = '0', last = `${length - 1}`] =
        /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? [];
      const body = file.body.subarray(Number(first), Number(last) + 1);
      this.sentBytes.set(path, (this.sentBytes.get(path) ?? 0) + body.length);
      response.writeHead(206, {
        etag: file.etag,
        'content-length': body.length,
        'content-range': `bytes ${first}-${last}/${length}`,
      });
      response.end(body);
    });
    this.#server.on('connection', () => {
      this.connections += 1;
    });
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    this.url = `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
