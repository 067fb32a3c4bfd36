/** One HTTP/1.1 connection to an origin or relay at a time; no redirects, no retries. */
export interface HttpSource {
  /** Opens lazily at the first request; counts as one connection until closed() resolves. */
  connection(url: URL): HttpConnection;
}

export interface HttpConnection {
  /** One request; resolves at the end of the body. Rejects with an HttpSourceError. */
  request(request: RangeRequest, signal: AbortSignal): Promise<RangeResult>;
  /** Ends it; resolves when the kernel has closed the socket. */
  close(): Promise<void>;
  /**
   * How many sockets of it have ended without the server's word: neither its end was read nor a
   * reset of its own, so it may have them open still. Every other end is proven. Grows only, and
   * is up to date when a request or close() is over.
   */
  readonly unprovenEnds: number;
  /** After close(): what was read that belongs to no answer, since the last one was over. */
  readonly unaskedBytes: number;
}

export interface RangeRequest {
  /** GET when absent. */
  readonly method?: 'GET' | 'POST';
  /** Of a POST. */
  readonly body?: Uint8Array;
  readonly headers: Readonly<Record<string, string>>;
  /** Another resource of the connection's server; absent: the one that it was opened for. */
  readonly url?: URL;
  /** Bytes [start, end); absent: the whole resource. */
  readonly range?: { readonly start: number; readonly end: number };
  /** Called once before any chunk; throwing refuses the answer and closes the connection. */
  onHead(head: ResponseHead): void;
  /** Valid during the call only. A promise stops reading from the socket until it resolves. */
  onChunk(chunk: Uint8Array): void | Promise<void>;
}

export interface ResponseHead {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  /** Bytes of status line and headers as on the wire, or an upper bound of them. */
  readonly headerBytes: number;
  /** Milliseconds from the request, a new connection included, to the end of the headers. */
  readonly timeToHeadMs: number;
}

export interface RangeResult {
  readonly head: ResponseHead;
  readonly bodyBytes: number;
  /** All that was read for this answer: status line, headers, framing and body; no TLS framing. */
  readonly wireBytes: number;
}

export type HttpSourceErrorCode =
  /** Not connected: refused, unreachable, unknown name, bad certificate, too slow. */
  | 'ConnectFailed'
  /** The connection broke, or its end came before the end of the answer. */
  | 'ConnectionLost'
  /** Nothing, or next to nothing, came for too long. */
  | 'TimedOut'
  /** Not HTTP/1.1 within its bounds. */
  | 'MalformedAnswer'
  /** onHead or onChunk threw; that is the cause. */
  | 'AnswerRefused'
  | 'Aborted';

/** After it the connection is closed; the next request opens a new one. */
export class HttpSourceError extends Error {
  readonly code: HttpSourceErrorCode;
  /** What was read of this answer, headers included. */
  readonly wireBytes: number;
  /** Nothing beyond wireBytes was written for us: never asked for, or the server's end was read. */
  readonly exact: boolean;
  /** The connection was kept from an earlier answer and had ended before this one began. */
  readonly stale: boolean;

  constructor(
    code: HttpSourceErrorCode,
    message: string,
    details: { wireBytes: number; exact: boolean; stale?: boolean; cause?: unknown },
  ) {
    super(message, { cause: details.cause });
    this.name = 'HttpSourceError';
    this.code = code;
    this.wireBytes = details.wireBytes;
    this.exact = details.exact;
    this.stale = details.stale ?? false;
  }
}
