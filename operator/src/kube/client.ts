/**
 * Requests to the Kubernetes API, by path: JSON in, JSON out, every answer bounded in time.
 *
 * The official client gives the configuration, TLS and credentials. Its own requests build a
 * connection pool each, and so a TLS handshake; here all share one pool.
 *
 * This folder is the edge to Kubernetes. It knows nothing of files, relays or limits.
 */

import type { RequestOptions } from 'node:https';
import type { KubeConfig } from '@kubernetes/client-node';
import { Agent, type Dispatcher, request } from 'undici';

/** A refusal of the API server, or no answer at all (`status` 0). */
export class KubeError extends Error {
  readonly code: KubeErrorCode;
  readonly status: number;
  /** The server asks for no other try before. */
  readonly retryAfterMs: number | undefined;

  constructor(
    code: KubeErrorCode,
    status: number,
    message: string,
    {
      retryAfterMs,
      ...options
    }: ErrorOptions & { readonly retryAfterMs?: number | undefined } = {},
  ) {
    super(message, options);
    this.name = 'KubeError';
    this.code = code;
    this.status = status;
    this.retryAfterMs = retryAfterMs;
  }
}

export type KubeErrorCode =
  | 'NotFound'
  | 'AlreadyExists'
  | 'Conflict'
  | 'Gone'
  | 'Invalid'
  | 'Forbidden'
  | 'Unauthorized'
  | 'TooManyRequests'
  | 'Refused'
  | 'ServerError'
  | 'Unreachable';

export function isKubeError(
  error: unknown,
  ...codes: readonly KubeErrorCode[]
): error is KubeError {
  return error instanceof KubeError && codes.includes(error.code);
}

export interface KubeRequest {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** Absolute path, such as /api/v1/nodes. */
  readonly path: string;
  readonly query?: Readonly<Record<string, string | number | boolean | undefined>>;
  readonly body?: unknown;
  readonly contentType?: string;
  readonly accept?: string;
  readonly signal?: AbortSignal;
}

export interface KubeClientOptions {
  /** For a whole request and its answer; a watch has its own. */
  readonly timeoutMs?: number;
}

const DEFAULT_TIMEOUT_MS = 15_000;
/** The API server asks for seconds; whoever stands before it must not stop us for hours. */
const MAX_RETRY_AFTER_MS = 300_000;
/** A page of 500 nodes with many images each is about 20 MB. */
const MAX_ANSWER_BYTES = 64 * 1024 * 1024;

export class KubeClient {
  readonly #config: KubeConfig;
  readonly #onRequest: (method: string, path: string) => void;
  readonly #timeoutMs: number;
  #agent: Promise<Agent> | undefined;

  constructor(
    options: KubeClientOptions,
    dependencies: {
      readonly config: KubeConfig;
      /** Before each request is sent. */
      onRequest?(method: string, path: string): void;
    },
  ) {
    this.#timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
    this.#config = dependencies.config;
    this.#onRequest = dependencies.onRequest ?? (() => {});
  }

  async request<T>(call: KubeRequest): Promise<T> {
    const signal = withTimeout(this.#timeoutMs, call.signal);
    try {
      const response = await this.#send(call, signal);
      const text = await readBounded(response.body);
      if (response.statusCode >= 300) throw errorOf(call, response, text);
      return (text === '' ? undefined : JSON.parse(text)) as T;
    } catch (error) {
      throw asKubeError(call, error);
    }
  }

  /**
   * The lines of an answer as they come; ends when the server ends it (a last line without its end
   * is dropped), throws when the connection breaks or nothing comes for idleTimeoutMs.
   */
  async *lines(call: KubeRequest & { readonly idleTimeoutMs: number }): AsyncGenerator<string> {
    const idle = new AbortController();
    const signal = call.signal ? AbortSignal.any([call.signal, idle.signal]) : idle.signal;
    const late = () => idle.abort(new Error(`no line for ${call.idleTimeoutMs} ms`));
    let timer = setTimeout(late, call.idleTimeoutMs);
    let body: Dispatcher.ResponseData['body'] | undefined;
    try {
      const response = await this.#send(call, signal);
      body = response.body;
      if (response.statusCode >= 300) {
        throw errorOf(call, response, await readBounded(response.body));
      }
      const decoder = new TextDecoder();
      let rest = '';
      for await (const chunk of response.body) {
        clearTimeout(timer);
        timer = setTimeout(late, call.idleTimeoutMs);
        const lines = (rest + decoder.decode(chunk as Buffer, { stream: true })).split('\n');
        rest = lines.pop()!;
        if (rest.length > MAX_ANSWER_BYTES) throw new Error('a line is too long');
        for (const line of lines) if (line !== '') yield line;
      }
    } catch (error) {
      throw asKubeError(call, error);
    } finally {
      clearTimeout(timer);
      idle.abort();
      body?.on('error', () => {}).destroy();
    }
  }

  async close(): Promise<void> {
    await (await this.#agent)?.destroy();
  }

  async #send(call: KubeRequest, signal: AbortSignal): Promise<Dispatcher.ResponseData> {
    this.#onRequest(call.method, call.path);
    const cluster = this.#config.getCurrentCluster();
    if (cluster === null) throw new Error('the kubeconfig has no current cluster');
    const options: RequestOptions = {};
    // Reads a rotated token again, at most once a minute.
    await this.#config.applyToHTTPSOptions(options);
    this.#agent ??= Promise.resolve(newAgent(options));
    const url = new URL(cluster.server.replace(/\/$/, '') + call.path);
    for (const [name, value] of Object.entries(call.query ?? {})) {
      if (value !== undefined) url.searchParams.set(name, String(value));
    }
    return request(url, {
      method: call.method,
      dispatcher: await this.#agent,
      headers: {
        ...(options.headers as Record<string, string> | undefined),
        accept: call.accept ?? 'application/json',
        'user-agent': 'sluice-operator',
        ...(call.body === undefined
          ? {}
          : { 'content-type': call.contentType ?? 'application/json' }),
      },
      body: call.body === undefined ? null : JSON.stringify(call.body),
      signal,
    });
  }
}

function newAgent(options: RequestOptions): Agent {
  const { ca, cert, key, servername, rejectUnauthorized } = options;
  return new Agent({
    // A watch is silent between bookmarks; `lines` and `request` have time limits of their own.
    bodyTimeout: 0,
    headersTimeout: 0,
    allowH2: false,
    connections: 32,
    connect: {
      keepAlive: true,
      timeout: 5_000,
      ...(ca !== undefined && { ca }),
      ...(cert !== undefined && { cert }),
      ...(key !== undefined && { key }),
      ...(servername !== undefined && { servername }),
      ...(rejectUnauthorized !== undefined && { rejectUnauthorized }),
    } as NonNullable<ConstructorParameters<typeof Agent>[0]>['connect'] & object,
  });
}

function withTimeout(timeoutMs: number, signal: AbortSignal | undefined): AbortSignal {
  const timeout = AbortSignal.timeout(timeoutMs);
  return signal ? AbortSignal.any([signal, timeout]) : timeout;
}

async function readBounded(body: AsyncIterable<Buffer>): Promise<string> {
  const chunks: Buffer[] = [];
  let sizeBytes = 0;
  for await (const chunk of body) {
    sizeBytes += chunk.length;
    if (sizeBytes > MAX_ANSWER_BYTES)
      throw new Error(`the answer is over ${MAX_ANSWER_BYTES} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** What the API server says of a failure. */
export interface StatusObject {
  readonly reason?: string;
  readonly message?: string;
  readonly details?: {
    readonly causes?: readonly { readonly field?: string; readonly reason?: string }[];
  };
}

/** What the API server says in a Status object. */
function errorOf(
  call: KubeRequest,
  { statusCode: status, headers }: Pick<Dispatcher.ResponseData, 'statusCode' | 'headers'>,
  text: string,
): KubeError {
  const said = parseStatus(text);
  const message = `${call.method} ${call.path}: ${said.message ?? text.slice(0, 2048)}`;
  const retryAfterMs = retryAfter(headers['retry-after']);
  return new KubeError(codeOf(status, said), status, message, { retryAfterMs });
}

/** In seconds, as the API server writes it; a date is nothing that it would say. */
function retryAfter(header: string | string[] | undefined): number | undefined {
  if (typeof header !== 'string' || !/^[0-9]{1,9}$/.test(header)) return undefined;
  return Math.min(Number(header) * 1000, MAX_RETRY_AFTER_MS);
}

function parseStatus(text: string): StatusObject {
  try {
    return JSON.parse(text) as StatusObject;
  } catch {
    // A proxy's answer, or one cut off: its text has to do.
    return {};
  }
}

const CODES: Readonly<Record<number, KubeErrorCode>> = {
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'NotFound',
  409: 'Conflict',
  410: 'Gone',
  422: 'Invalid',
  429: 'TooManyRequests',
};

export function codeOf(status: number, { reason, details }: StatusObject): KubeErrorCode {
  if (reason === 'AlreadyExists') return 'AlreadyExists';
  if (reason === 'Expired') return 'Gone';
  // It has not come so far, and may never: its etcd was restored from a backup.
  if (details?.causes?.some((cause) => cause.reason === 'ResourceVersionTooLarge')) return 'Gone';
  // Answered as invalid: the object that was meant has gone, and another one has its name.
  if (details?.causes?.some((cause) => cause.field === 'metadata.uid')) return 'Conflict';
  return status >= 500 ? 'ServerError' : (CODES[status] ?? 'Refused');
}

function asKubeError(call: KubeRequest, cause: unknown): KubeError {
  if (cause instanceof KubeError) return cause;
  const message = cause instanceof Error ? cause.message : String(cause);
  return new KubeError('Unreachable', 0, `${call.method} ${call.path}: ${message}`, { cause });
}
