/** A plain HTTP client for tests of the origin, which says how an answer ended. */
import { Agent, type IncomingHttpHeaders, type OutgoingHttpHeaders, request } from 'node:http';

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
  /** False when the connection ended first. */
  readonly complete: boolean;
  /** All that the connection has received so far, heads of answers included. */
  readonly connectionBytes: number;
}

export interface Ask {
  readonly method?: string;
  readonly headers?: OutgoingHttpHeaders;
  /** Connections to use again; without it, one for this request alone. */
  readonly agent?: Agent;
  /** Gives up, and closes, when nothing comes for so long. */
  readonly idleMs?: number;
}

/** One connection, kept open between requests. */
export function oneConnection(): Agent {
  return new Agent({ keepAlive: true, maxSockets: 1 });
}

/** Rejects only when there is no answer at all. */
export function ask(url: string, options: Ask = {}): Promise<Answer> {
  const { method = 'GET', headers = {}, agent, idleMs = 5_000 } = options;
  return new Promise((resolve, reject) => {
    const call = request(url, { method, headers, agent: agent ?? false });
    call.setTimeout(idleMs, () => call.destroy(new Error('nothing came in time')));
    let answered = false;
    call.on('error', (error) => {
      if (!answered) reject(error);
    });
    call.on('response', (response) => {
      answered = true;
      const { socket } = response;
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      // What ends early is an answer, too.
      response.on('error', () => {});
      response.on('close', () =>
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          body: Buffer.concat(chunks),
          complete: response.complete,
          connectionBytes: socket.bytesRead,
        }),
      );
    });
    call.end();
  });
}
