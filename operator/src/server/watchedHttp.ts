import type { HttpConnection, HttpSource } from '@sluice/engine/ports/httpSource.ts';

/** The connections of one lease, remembered for how they ended. */
export class WatchedHttp implements HttpSource {
  readonly #http: HttpSource;
  readonly #connections: HttpConnection[] = [];

  constructor(http: HttpSource) {
    this.#http = http;
  }

  connection(url: URL): HttpConnection {
    const connection = this.#http.connection(url);
    this.#connections.push(connection);
    return connection;
  }

  /** Once all are closed. */
  get unprovenEnds(): number {
    return this.#connections.reduce((sum, { unprovenEnds }) => sum + unprovenEnds, 0);
  }
}
