import {
  type ClientRequest,
  Agent as HttpAgent,
  request as httpRequest,
  type IncomingMessage,
} from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { isIP, type LookupFunction, type Socket } from 'node:net';
import {
  type HttpConnection,
  type HttpSource,
  HttpSourceError,
  type HttpSourceErrorCode,
  type RangeRequest,
  type RangeResult,
  type ResponseHead,
} from '../../ports/httpSource.ts';

export interface NodeHttpSourceOptions {
  /** Until the socket is connected, TLS included. */
  readonly connectTimeoutMs: number;
  /** Longest silence while an answer is awaited or comes. */
  readonly idleTimeoutMs: number;
  /** How long the server's end is waited for, after ours, before the connection is reset. */
  readonly closeTimeoutMs: number;
  /** PEM; added to nothing: when given, only these are trusted. */
  readonly ca?: string;
  /** Instead of the system's resolver; where addresses are judged before they are used. */
  readonly lookup?: LookupFunction;
}

export const DEFAULT_HTTP_OPTIONS: NodeHttpSourceOptions = {
  connectTimeoutMs: 5_000,
  idleTimeoutMs: 15_000,
  closeTimeoutMs: 1_000,
};

/** Headers of an answer above this are refused: more than any CDN sends. So are interim answers. */
const MAX_HEADER_BYTES = 16_384;
/** What is left of an answer is read to see the server's end: of a page of an error so much. */
const MAX_LEFT_BYTES = 65_536;
/** The server has reset the connection, or was never connected: it has nothing open. */
const ENDED_THERE: ReadonlySet<string | undefined> = new Set([
  'ECONNRESET',
  'ECONNREFUSED',
  'EPIPE',
]);
/** Idle connections are kept alive by TCP, as Node's own agent does. */
const KEEP_ALIVE_MS = 1_000;
/** One address, one socket; the path is the request's, and of no local socket. */
const AGENT_OPTIONS = {
  keepAlive: true,
  maxSockets: 1,
  autoSelectFamily: false,
  noDelay: true,
  path: undefined,
};
/** Less than this in an idle time-out is as good as nothing: an answer could last for ever. */
const MIN_PROGRESS_BYTES = 4_096;

/**
 * HTTP/1.1 over node:http with each connection under our control: one socket at a time, no address
 * races, no redirects, no retries, and an end that is waited for. Origins count what we count.
 */
export class NodeHttpSource implements HttpSource {
  readonly #options: NodeHttpSourceOptions;

  constructor(options: NodeHttpSourceOptions = DEFAULT_HTTP_OPTIONS) {
    this.#options = options;
  }

  connection(url: URL): HttpConnection {
    return new NodeHttpConnection(url, this.#options);
  }
}

/** As http.request hands them to an agent: where to connect to, and how. */
type SocketOptions = Parameters<HttpAgent['createConnection']>[0];

class NodeHttpConnection implements HttpConnection {
  readonly #url: URL;
  readonly #options: NodeHttpSourceOptions;
  readonly #agent: HttpAgent;
  #socket: Socket | undefined;
  #socketClosed: Promise<void> = Promise.resolve();
  /** Our end was sent, or is due: no other request goes over this socket. */
  #isEnding = false;
  #unprovenEnds = 0;
  /** Of the socket, when its last answer was over. */
  #readBytes = 0;
  #busy = false;
  #closing = false;

  constructor(url: URL, options: NodeHttpSourceOptions) {
    this.#url = url;
    this.#options = options;
    this.#agent =
      url.protocol === 'https:' ? new HttpsAgent(AGENT_OPTIONS) : new HttpAgent(AGENT_OPTIONS);
    // The agent only makes sockets. What it does with idle ones is not ours: it destroys them when
    // anything comes, the server's end too, and heeds the time-out that a server names. The server
    // ends the connection itself, and we read that.
    Object.assign(this.#agent, { addRequest: this.#give });
  }

  /** The socket of before, while it is open, or a new one. */
  readonly #give = (outgoing: ClientRequest, options: SocketOptions): void => {
    const idle = this.#socket;
    if (idle !== undefined && !idle.destroyed && !this.#isEnding) {
      outgoing.reusedSocket = true;
      idle.ref();
      outgoing.onSocket(idle);
      return;
    }
    const { hostname } = this.#url;
    const servername = isIP(hostname.replace(/^\[|\]$/g, '')) === 0 ? hostname : '';
    const all = { servername, ...options, ...AGENT_OPTIONS };
    const socket = this.#agent.createConnection(all) as Socket;
    this.#adopt(socket);
    outgoing.onSocket(socket);
  };

  get unprovenEnds(): number {
    return this.#unprovenEnds;
  }

  get unaskedBytes(): number {
    return (this.#socket?.bytesRead ?? 0) - this.#readBytes;
  }

  async request(request: RangeRequest, signal: AbortSignal): Promise<RangeResult> {
    if (this.#busy) throw new Error('a connection carries one request at a time');
    const { url = this.#url } = request;
    if (url.origin !== this.#url.origin) throw new Error(`it is no connection to ${url.origin}`);
    this.#busy = true;
    try {
      this.#socket?.removeListener('data', this.#onUnasked);
      const { unprovenEnds } = this;
      if (this.#isEnding || this.#socket?.destroyed === true) await this.#socketClosed;
      // Another one beside it is for the caller to decide.
      if (this.#unprovenEnds > unprovenEnds) throw this.#lostWhileIdle();
      if (signal.aborted || this.#closing) {
        throw failure('Aborted', { wireBytes: 0, exact: true, cause: signal.reason });
      }
      return await this.#exchange(request, signal);
    } finally {
      this.#busy = false;
    }
  }

  #lostWhileIdle(): HttpSourceError {
    const wireBytes = this.unaskedBytes;
    this.#readBytes += wireBytes;
    return failure('ConnectionLost', { wireBytes, exact: true, stale: true });
  }

  async close(): Promise<void> {
    this.#closing = true;
    const socket = this.#socket;
    // Of a request that was aborted the rest may still come; one that was not is over now.
    if (socket !== undefined) this.#end(socket, this.#busy ? 0 : MAX_HEADER_BYTES);
    await this.#socketClosed;
    this.#agent.destroy();
  }

  #exchange(request: RangeRequest, signal: AbortSignal): Promise<RangeResult> {
    return new Promise((resolve, reject) => {
      const sentAtMs = performance.now();
      let socket: Socket | undefined;
      let readBefore = 0;
      // Sent to a socket of before without having been asked for: counted with this answer.
      const { unaskedBytes } = this;
      let ended = false;
      let connected = false;
      let bodyBytes = 0;
      let interimBytes = 0;
      let progressBytes = 0;
      let head: ResponseHead | undefined;
      let timer: NodeJS.Timeout | undefined;

      this.#readBytes += unaskedBytes;
      const wireBytes = () =>
        unaskedBytes + (socket === undefined ? 0 : socket.bytesRead - readBefore);
      const onEnd = () => {
        ended = true;
      };
      const cleanUp = () => {
        clearTimeout(timer);
        signal.removeEventListener('abort', onAbort);
      };
      let settled = false;
      const fail = (code: HttpSourceErrorCode, cause?: unknown) => {
        if (settled) return;
        settled = true;
        cleanUp();
        const stale = code === 'ConnectionLost' && outgoing.reusedSocket && wireBytes() === 0;
        if (this.#socket !== undefined) this.#end(this.#socket, connected ? leftBytes() : 0);
        // The caller may open another connection the moment it hears of this: not before the end.
        this.#socketClosed.then(() => {
          outgoing.destroy();
          const details = { wireBytes: wireBytes(), exact: ended || !connected, stale, cause };
          this.#readBytes = this.#socket?.bytesRead ?? 0;
          reject(failure(code, details));
        });
      };
      // What may still come of the answer, if that is worth reading; zero: it is cut off.
      const leftBytes = () => {
        const { start, end } = request.range ?? { start: 0, end: 0 };
        const asked = end - start;
        const length = Number(head?.headers['content-length'] ?? asked);
        const left = Math.max(0, length - bodyBytes);
        return left > Math.max(asked, MAX_LEFT_BYTES) ? 0 : left + MAX_HEADER_BYTES;
      };
      const touch = () => {
        clearTimeout(timer);
        timer = setTimeout(() => fail('TimedOut'), this.#options.idleTimeoutMs);
      };
      const onAbort = () => fail('Aborted', signal.reason);

      const outgoing = this.#send(request);
      timer = setTimeout(() => fail('ConnectFailed'), this.#options.connectTimeoutMs);
      signal.addEventListener('abort', onAbort, { once: true });
      outgoing.on('error', (cause) => fail(codeOf(cause, connected), cause));
      outgoing.on('socket', (given) => {
        if (this.#closing) return fail('Aborted');
        socket = given;
        readBefore = given.bytesRead;
        given.once('end', onEnd);
        const onConnect = () => {
          connected = true;
          touch();
        };
        if (outgoing.reusedSocket) onConnect();
        else given.once(this.#url.protocol === 'https:' ? 'secureConnect' : 'connect', onConnect);
      });
      outgoing.on('information', (interim) => {
        interimBytes += headerBytesOf(interim);
        if (interimBytes <= MAX_HEADER_BYTES) return;
        fail('MalformedAnswer', new Error('interim answers without end'));
      });
      outgoing.on('upgrade', () => fail('MalformedAnswer', new Error('another protocol')));
      outgoing.on('close', () => {
        if (head === undefined) fail('ConnectionLost');
      });
      outgoing.on('response', (incoming) => {
        touch();
        head = headOf(incoming, performance.now() - sentAtMs);
        try {
          request.onHead(head);
        } catch (cause) {
          return fail('AnswerRefused', cause);
        }
        incoming.on('data', (chunk: Buffer) => {
          if (settled) return;
          bodyBytes += chunk.length;
          progressBytes += chunk.length;
          if (progressBytes >= MIN_PROGRESS_BYTES) {
            progressBytes = 0;
            touch();
          }
          try {
            const pause = request.onChunk(chunk);
            if (pause === undefined) return;
            incoming.pause();
            clearTimeout(timer);
            pause.then(
              () => {
                if (settled) return;
                touch();
                incoming.resume();
              },
              (cause) => fail('AnswerRefused', cause),
            );
          } catch (cause) {
            fail('AnswerRefused', cause);
          }
        });
        incoming.on('error', (cause) => fail('ConnectionLost', cause));
        incoming.on('end', () => {
          if (settled || head === undefined) return;
          if (!incoming.complete) return fail('ConnectionLost');
          settled = true;
          cleanUp();
          socket?.removeListener('end', onEnd);
          this.#readBytes = socket?.bytesRead ?? 0;
          socket?.on('data', this.#onUnasked);
          socket?.unref();
          resolve({ head, bodyBytes, wireBytes: wireBytes() });
        });
        incoming.on('close', () => fail('ConnectionLost'));
      });
    });
  }

  #send(request: RangeRequest): ClientRequest {
    const { range } = request;
    const send: typeof httpRequest = this.#url.protocol === 'https:' ? httpsRequest : httpRequest;
    const outgoing = send(request.url ?? this.#url, {
      agent: this.#agent,
      method: request.method ?? 'GET',
      headers: {
        'accept-encoding': 'identity',
        ...request.headers,
        ...(range === undefined ? {} : { range: `bytes=${range.start}-${range.end - 1}` }),
      },
      maxHeaderSize: MAX_HEADER_BYTES,
      ...(this.#options.ca === undefined ? {} : { ca: this.#options.ca }),
      ...(this.#options.lookup === undefined ? {} : { lookup: this.#options.lookup }),
    });
    outgoing.setNoDelay(true);
    outgoing.end(request.body);
    return outgoing;
  }

  /** Between two requests a server has nothing to say. */
  readonly #onUnasked = (): void => {
    if (this.#socket !== undefined) this.#end(this.#socket, MAX_HEADER_BYTES);
  };

  #adopt(socket: Socket): void {
    this.#socket = socket;
    this.#readBytes = 0;
    this.#isEnding = false;
    // The client destroys a socket after an answer with `Connection: close`, whether or not the
    // server has ended it.
    socket.destroySoon = () => this.#end(socket, MAX_HEADER_BYTES);
    let isTried = false;
    let isProven = false;
    socket.once('connectionAttempt', () => {
      isTried = true;
    });
    socket.once('end', () => {
      isProven = true;
    });
    socket.setKeepAlive(true, KEEP_ALIVE_MS);
    socket.on('error', ({ code }: NodeJS.ErrnoException) => {
      isProven ||= ENDED_THERE.has(code);
    });
    this.#socketClosed = new Promise((resolve) => {
      socket.once('close', () => {
        if (isTried && !isProven) this.#unprovenEnds += 1;
        resolve();
      });
    });
  }

  /**
   * Sends our end and reads on, so many bytes at most, until the server's end comes: then it has
   * nothing open. Whoever sends more, or is late, is cut off, and may never hear of it.
   */
  #end(socket: Socket, leftBytes: number): void {
    if (socket.destroyed || this.#isEnding) return;
    this.#isEnding = true;
    if (leftBytes === 0) {
      reset(socket);
      return;
    }
    let left = leftBytes;
    // The parser has heard enough.
    socket.removeAllListeners('data');
    socket.on('data', (chunk: Buffer) => {
      left -= chunk.length;
      if (left < 0) reset(socket);
    });
    socket.resume();
    socket.end();
    const timer = setTimeout(() => reset(socket), this.#options.closeTimeoutMs);
    socket.once('close', () => clearTimeout(timer));
  }
}

/**
 * Tells the server's kernel at once. A TLS socket has no reset, and one whose end was sent cannot be
 * reset any more: they are destroyed, and the kernel resets them when something else comes.
 */
function reset(socket: Socket & { readonly encrypted?: boolean }): void {
  if (socket.destroyed) return;
  // A reset goes by way of destroySoon: by the socket's own.
  Reflect.deleteProperty(socket, 'destroySoon');
  const isPlain = socket.encrypted !== true && !socket.connecting && !socket.writableEnded;
  if (isPlain) socket.resetAndDestroy();
  else socket.destroy();
}

/** "HTTP/1.1 200 " + text + CRLF, "name: value" + CRLF each, and the empty line. */
function headerBytesOf({
  rawHeaders,
  statusMessage,
}: Pick<IncomingMessage, 'rawHeaders' | 'statusMessage'>): number {
  let bytes = 13 + Buffer.byteLength(statusMessage ?? '') + 2 + 2;
  for (const text of rawHeaders) bytes += Buffer.byteLength(text, 'latin1') + 2;
  return bytes;
}

function headOf(incoming: IncomingMessage, timeToHeadMs: number): ResponseHead {
  const { statusCode = 0 } = incoming;
  const headerBytes = headerBytesOf(incoming);
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(incoming.headers)) {
    if (value !== undefined) headers[name] = Array.isArray(value) ? value.join(', ') : value;
  }
  return { status: statusCode, headers, headerBytes, timeToHeadMs };
}

function codeOf(cause: Error & { code?: string }, connected: boolean): HttpSourceErrorCode {
  if (cause.code?.startsWith('HPE_') === true) return 'MalformedAnswer';
  return connected ? 'ConnectionLost' : 'ConnectFailed';
}

const MESSAGES: Readonly<Record<HttpSourceErrorCode, string>> = {
  ConnectFailed: 'no connection to the server',
  ConnectionLost: 'the connection ended before the answer did',
  TimedOut: 'the server went silent',
  MalformedAnswer: 'the server does not speak HTTP/1.1 within its bounds',
  AnswerRefused: 'the answer was refused',
  Aborted: 'the request was aborted',
};

function failure(
  code: HttpSourceErrorCode,
  details: { wireBytes: number; exact: boolean; stale?: boolean; cause?: unknown },
): HttpSourceError {
  const why = details.cause instanceof Error ? `: ${details.cause.message}` : '';
  return new HttpSourceError(code, `${MESSAGES[code]}${why}`, details);
}
