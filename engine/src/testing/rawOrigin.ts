import type { AddressInfo } from 'node:net';
import { createServer, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import type { Clock } from '../ports/clock.ts';
import { OriginMeter } from './originMeter.ts';

/** What was asked for. */
export interface RawRequest {
  /** From 1 on, over all connections. */
  readonly count: number;
  /** From 1 on, over this one. */
  readonly countHere: number;
  /** [start, end); the whole file without a Range. */
  readonly start: number;
  readonly end: number;
  readonly headers: Readonly<Record<string, string>>;
}

/** One answer, byte by byte. Ends with the connection when it likes. */
export type Script = (request: RawRequest, wire: RawWire, body: Buffer) => Promise<void>;

/** A write is not longer, so that no more than this is counted that the kernel did not take. */
export const CHUNK_BYTES = 16_384;

/** The socket's side of an answer. Everything that is sent is in the origin's books. */
export class RawWire {
  readonly #socket: Socket;
  readonly #note: (bytes: number) => void;

  constructor(socket: Socket, note: (bytes: number) => void) {
    this.#socket = socket;
    this.#note = note;
  }

  get isOpen(): boolean {
    return this.#socket.writable;
  }

  /** Resolves when the kernel has all of it, or the connection is gone. */
  async send(data: string | Uint8Array): Promise<void> {
    const bytes = Buffer.from(data);
    for (let at = 0; at < bytes.length && this.isOpen; at += CHUNK_BYTES) {
      const chunk = bytes.subarray(at, at + CHUNK_BYTES);
      this.#note(chunk.length);
      await new Promise<void>((resolve) => {
        this.#socket.write(chunk, () => resolve());
      });
    }
  }

  end(): void {
    this.#socket.end();
  }

  reset(): void {
    this.#socket.resetAndDestroy();
  }
}

export interface RawOriginOptions {
  readonly body: Buffer;
  readonly script: Script;
  readonly clock: Clock;
  readonly tls?: { readonly key: string; readonly cert: string };
}

/**
 * An origin on a bare socket that says what its script says, right or wrong, and writes down what
 * its socket was given and when: it shares no HTTP code with whoever is tested.
 */
export class RawOrigin {
  readonly meter: OriginMeter;
  requests = 0;
  connections = 0;
  readonly #options: RawOriginOptions;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  constructor(options: RawOriginOptions) {
    this.#options = options;
    this.meter = new OriginMeter(options.clock);
    const serve = (socket: Socket) => this.#serve(socket);
    this.#server =
      options.tls === undefined ? createServer(serve) : createTlsServer(options.tls, serve);
    this.#server.on('connection', (socket: Socket) => {
      this.connections += 1;
      // Until the other side's end was read; the events after it come a turn of the loop later.
      const over = this.meter.connectionOpened();
      socket.once('end', over);
      socket.once('close', over);
    });
  }

  /** Resolves with the port, on 127.0.0.1. */
  async start(): Promise<number> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    return (this.#server.address() as AddressInfo).port;
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #serve(socket: Socket): void {
    this.#sockets.add(socket);
    socket.once('close', () => this.#sockets.delete(socket));
    socket.on('error', () => {});
    const wire = new RawWire(socket, (bytes) => this.meter.add(bytes));
    let text = '';
    let countHere = 0;
    let answering = Promise.resolve();
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1');
      for (let end = text.indexOf('\r\n\r\n'); end >= 0; end = text.indexOf('\r\n\r\n')) {
        const head = text.slice(0, end);
        text = text.slice(end + 4);
        this.requests += 1;
        countHere += 1;
        const request = this.#parse(head, countHere);
        answering = answering.then(() => this.#options.script(request, wire, this.#options.body));
      }
    });
  }

  #parse(head: string, countHere: number): RawRequest {
    const lines = head.split('\r\n').slice(1);
    const headers = Object.fromEntries(
      lines.map((line) => {
        const colon = line.indexOf(':');
        return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
      }),
    );
    const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(headers.range ?? '') ?? [];
    const start = Number(first ?? 0);
    const end = last === undefined ? this.#options.body.length : Number(last) + 1;
    return { count: this.requests, countHere, start, end, headers };
  }
}
