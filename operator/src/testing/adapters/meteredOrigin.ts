/** An origin on loopback that writes down what its sockets were given, when. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

export class MeteredOrigin {
  readonly written: { atMs: number; bytes: number }[] = [];
  mostConnections = 0;
  readonly #body: Buffer;
  readonly #latencyMs: number;
  readonly #server: Server;
  #connections = 0;

  constructor(body: Buffer, latencyMs: number) {
    this.#body = body;
    this.#latencyMs = latencyMs;
    this.#server = createServer((request, response) => void this.#answer(request, response));
    this.#server.on('connection', (socket) => this.#meter(socket));
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

  get totalBytes(): number {
    return this.written.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  bytesBetween(fromMs: number, toMs: number): number {
    return this.written
      .filter(({ atMs }) => atMs >= fromMs && atMs < toMs)
      .reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** The most bytes in any second. */
  largestSecond(): number {
    let largest = 0;
    let sum = 0;
    let from = 0;
    for (const { atMs, bytes } of this.written) {
      sum += bytes;
      while ((this.written[from]?.atMs ?? 0) <= atMs - 1000) {
        sum -= this.written[from]?.bytes ?? 0;
        from += 1;
      }
      largest = Math.max(largest, sum);
    }
    return largest;
  }

  #meter(socket: Socket): void {
    this.#connections += 1;
    this.mostConnections = Math.max(this.mostConnections, this.#connections);
    socket.once('close', () => {
      this.#connections -= 1;
    });
    const note = (bytes: number) => this.written.push({ atMs: performance.now(), bytes });
    const { _write, _writev } = socket;
    socket._write = function (chunk, encoding, done) {
      note(Buffer.byteLength(chunk, encoding));
      return _write.call(this, chunk, encoding, done);
    };
    if (_writev === undefined || _writev === null) return;
    socket._writev = function (chunks, done) {
      for (const { chunk, encoding } of chunks) note(Buffer.byteLength(chunk, encoding));
      return _writev.call(this, chunks, done);
    };
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
