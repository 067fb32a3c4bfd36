/** One HTTP/1.1 connection to an origin or relay at a time; no redirects, no retries. */
export interface HttpSource {
  /** Opens lazily at the first request; counts as one connection until closed() resolves. */
  connection(url: URL): HttpConnection;
}

export interface HttpConnection {
  /** One request; resolves at the end of the body. Rejects with an HttpSourceError. */
  request(request: RangeRequest, signal: AbortSignal): Promise<RangeResult>;
  /** Ends it; resolves when the socket's end was read (the kernel has closed it). */
  close(): Promise<void>;
}

export interface RangeRequest {
  readonly headers: Readonly<Record<string, string>>;
  /** Bytes [start, end); absent: the whole resource. */
  readonly range?: { readonly start: number; readonly end: number };
  /** Called once before any chunk; throwing refuses the answer and closes the connection. */
  onHead(head: ResponseHead): void;
  /** Valid during the call only. */
  onChunk(chunk: Uint8Array): void;
}

export interface ResponseHead {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  /** Bytes of status line and headers as on the wire, or an upper bound of them. */
  readonly headerBytes: number;
}

export interface RangeResult {
  readonly head: ResponseHead;
  readonly bodyBytes: number;
}
