import type { Socket } from 'node:net';
import type { Clock } from '../ports/clock.ts';

/** An origin's own books: what its sockets were given, when, and over how many connections. */
export class OriginMeter {
  openConnections = 0;
  mostConnections = 0;
  readonly #clock: Clock;
  readonly #written: { atMs: number; bytes: number }[] = [];

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  add(bytes: number): void {
    this.#written.push({ atMs: this.#clock.now(), bytes });
  }

  /** To be called once that connection is over; again does nothing. */
  connectionOpened(): () => void {
    this.openConnections += 1;
    this.mostConnections = Math.max(this.mostConnections, this.openConnections);
    let isOpen = true;
    return () => {
      if (isOpen) this.openConnections -= 1;
      isOpen = false;
    };
  }

  /** Counts a connection of an HTTP server, and every byte that the server gives its socket. */
  watch(socket: Socket): void {
    socket.once('close', this.connectionOpened());
    const note = (bytes: number) => this.add(bytes);
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

  get totalBytes(): number {
    return sumOf(this.#written);
  }

  bytesBetween(fromMs: number, untilMs: number): number {
    return sumOf(this.#written.filter(({ atMs }) => atMs >= fromMs && atMs < untilMs));
  }

  /** The most bytes in any window of this length. */
  largestWindow(windowMs: number): number {
    let largest = 0;
    let sum = 0;
    let from = 0;
    for (const { atMs, bytes } of this.#written) {
      sum += bytes;
      while ((this.#written[from]?.atMs ?? 0) <= atMs - windowMs) {
        sum -= this.#written[from]?.bytes ?? 0;
        from += 1;
      }
      largest = Math.max(largest, sum);
    }
    return largest;
  }
}

function sumOf(written: readonly { readonly bytes: number }[]): number {
  return written.reduce((sum, { bytes }) => sum + bytes, 0);
}
