import { readFile } from 'node:fs/promises';
import { connect as connectTcp, isIP, type Socket } from 'node:net';
import { createSecureContext, type TLSSocket } from 'node:tls';
import { Agent, buildConnector, type Dispatcher, errors } from 'undici';
import { ControlError } from './controlError.ts';

export interface TrustOptions {
  readonly caFile: string;
  /**
   * The control service. Its host is what every certificate must name, also the leader's when a
   * standby sent us on to its pod's address: a redirect cannot lead out of the service's trust.
   */
  readonly controlUrl: URL;
  /** From when the connection is there. */
  readonly handshakeTimeoutMs: number;
}

/** For an address that nobody has any more. */
const CONNECT_TIMEOUT_MS = 5_000;

/**
 * HTTPS connections that trust the CA in a file, and nothing else. The file is read again before
 * each request (a mounted ConfigMap, a few kilobytes); a changed one gets connections of its own,
 * while requests under way go on over theirs.
 */
export class Trust {
  readonly #options: TrustOptions;
  #ca = '';
  #agent: Agent | undefined;

  constructor(options: TrustOptions) {
    this.#options = options;
  }

  async dispatcher(): Promise<Dispatcher> {
    const ca = await readCredential(this.#options.caFile, 'CA');
    if (this.#agent !== undefined && ca === this.#ca) return this.#agent;
    this.#closeAgent();
    const host = this.#options.controlUrl.hostname.replace(/^\[|\]$/g, '');
    this.#ca = ca;
    this.#agent = new Agent({
      // One protocol version on the wire is enough to reason about.
      allowH2: false,
      connect: resuming({
        secureContext: createSecureContext({ ca }),
        timeout: this.#options.handshakeTimeoutMs,
        allowH2: false,
        ...(isIP(host) === 0 && { servername: host }),
      }),
    });
    return this.#agent;
  }

  close(): void {
    this.#closeAgent();
    this.#agent = undefined;
  }

  #closeAgent(): void {
    // Resolves when the last request over it has ended; nothing waits for that.
    this.#agent?.close().catch(() => {});
  }
}

/**
 * Resumes the newest session, whichever replica gave it: they share the keys of the tickets. undici
 * keeps sessions by itself, but for each address apart, and until memory is collected.
 */
function resuming(options: buildConnector.BuildOptions): buildConnector.connector {
  let session: Buffer | undefined;
  return (target, callback) => {
    reach(target, (error, httpSocket) => {
      if (error !== null) return callback(error, null);
      const connect = buildConnector({ ...options, ...(session !== undefined && { session }) });
      connect({ ...target, httpSocket }, (...outcome) => {
        const [, socket] = outcome;
        (socket as TLSSocket | null)?.on('session', (newest: Buffer) => {
          session = newest;
        });
        callback(...outcome);
      });
    });
  };
}

/** Calls back once, with a connection on which nothing is said yet. */
function reach(
  { hostname, port }: buildConnector.Options,
  callback: (...outcome: [Error, null] | [null, Socket]) => void,
): void {
  const socket = connectTcp({ host: hostname, port: Number(port || 443) });
  const fail = (error: Error) => {
    clearTimeout(limit);
    // Of a name with several addresses.
    callback(error instanceof AggregateError ? error.errors[0] : error, null);
  };
  const limit = setTimeout(() => {
    socket.destroy(new errors.ConnectTimeoutError(`${hostname}:${port} does not answer`));
  }, CONNECT_TIMEOUT_MS);
  socket.once('error', fail);
  socket.once('connect', () => {
    clearTimeout(limit);
    // What fails from here on is told by the TLS socket around it.
    socket.off('error', fail).on('error', () => {});
    callback(null, socket);
  });
}

/** The text of a mounted credential; never part of an error. */
export async function readCredential(file: string, what: string): Promise<string> {
  let text: string;
  try {
    text = (await readFile(file, 'utf8')).trim();
  } catch (cause) {
    throw new ControlError('CredentialsMissing', `the ${what} file ${file} cannot be read`, {
      cause,
    });
  }
  if (text === '')
    throw new ControlError('CredentialsMissing', `the ${what} file ${file} is empty`);
  return text;
}
