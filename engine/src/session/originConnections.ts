import { type HttpConnection, type HttpSource, HttpSourceError } from '../ports/httpSource.ts';

export interface Slot {
  /** Scheme, host and port: a connection serves all files of a server. */
  origin: string;
  connection: HttpConnection;
  busy: boolean;
}

export interface OriginConnectionsDependencies {
  readonly http: HttpSource;
  /** So many have ended without the origin's word: it may have them open still. */
  readonly onLost: (connections: number) => void;
  /** One that was closing is closed; the origin has sent so much that was not asked for. */
  readonly onClosed: (unaskedBytes: number) => void;
}

/** The connections of one lease. Its places are the lease's: what is closing still has one. */
export class OriginConnections {
  readonly #dependencies: OriginConnectionsDependencies;
  readonly #slots = new Set<Slot>();
  readonly #closings = new Set<Promise<void>>();

  constructor(dependencies: OriginConnectionsDependencies) {
    this.#dependencies = dependencies;
  }

  get size(): number {
    return this.#slots.size;
  }

  /** That the origin may still see, besides those that are lost. */
  get open(): number {
    return this.#slots.size + this.#closings.size;
  }

  /** One that is free, to this server if there is one; a new one when none is. */
  take(url: URL): Slot {
    const { origin } = url;
    const free = [...this.#slots].filter((slot) => !slot.busy);
    const known = free.find((other) => other.origin === origin) ?? free[0];
    if (known !== undefined) {
      known.busy = true;
      return known;
    }
    const opened = { origin, connection: this.#dependencies.http.connection(url), busy: true };
    this.#slots.add(opened);
    return opened;
  }

  /** To this server, when it was connected to another one. */
  async turn(slot: Slot, url: URL): Promise<HttpConnection> {
    if (slot.origin === url.origin) return slot.connection;
    await slot.connection.close();
    if (slot.connection.unprovenEnds > 0) {
      const message = 'the connection before it may be open still';
      throw new HttpSourceError('Aborted', message, { wireBytes: 0, exact: true, stale: true });
    }
    slot.connection = this.#dependencies.http.connection(url);
    slot.origin = url.origin;
    return slot.connection;
  }

  /** The place of a connection that may be open at the origin still is nobody's under this lease. */
  retireLost(): void {
    for (const slot of this.#slots) {
      const { unprovenEnds } = slot.connection;
      if (slot.busy || unprovenEnds === 0) continue;
      this.#slots.delete(slot);
      this.#dependencies.onLost(unprovenEnds);
      this.#close(slot.connection, unprovenEnds);
    }
  }

  /** A renewed grant may have fewer. */
  trim(most: number): void {
    for (const slot of this.#slots) {
      if (this.#slots.size <= most) return;
      if (slot.busy) continue;
      this.#slots.delete(slot);
      this.#close(slot.connection);
    }
  }

  closeAll(): void {
    for (const { connection } of this.#slots) this.#close(connection);
    this.#slots.clear();
  }

  /** Resolves when all that are closing are closed. */
  async closed(): Promise<void> {
    await Promise.all(this.#closings);
  }

  /** `known`: so many of its ends were told as lost. One that is aborted may have ended just now. */
  #close(connection: HttpConnection, known = 0): void {
    const closing = connection.close().finally(() => {
      this.#closings.delete(closing);
      const lost = connection.unprovenEnds - known;
      if (lost > 0) this.#dependencies.onLost(lost);
      this.#dependencies.onClosed(connection.unaskedBytes);
    });
    this.#closings.add(closing);
  }
}
