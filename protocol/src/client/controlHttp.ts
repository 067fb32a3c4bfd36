import type { Readable } from 'node:stream';
import { type Dispatcher, errors } from 'undici';
import { UNREACHABLE_HEADER } from '../messages.ts';
import { unlessAborted } from '../sleep.ts';
import { InvalidMessageError, type Parser, parseApiError } from '../validate.ts';
import { ControlError, type ControlErrorCode } from './controlError.ts';
import type { Trust } from './trust.ts';

export interface ControlHttpOptions {
  readonly controlUrl: URL;
  /** Until the whole answer is there. */
  readonly timeoutMs: number;
  /**
   * Until a stream's headers are there, or word that they will come; and of a request that waits
   * with all others for a handshake.
   */
  readonly openingTimeoutMs: number;
}

export interface ControlRequest {
  readonly method: 'GET' | 'POST';
  readonly path: string;
  readonly bearer: string;
  /** Sent as JSON. Without one, what is asked for is a stream, and whoever asks may be held. */
  readonly body?: unknown;
  /** Thousands may have the same to ask, at the same time. */
  readonly isPatient?: boolean;
  /** What goes up while the answer comes down, as NDJSON: for each server that is asked another one. */
  readonly lines?: () => Readable;
}

interface Attempt {
  readonly signal: AbortSignal;
  /** The origin of whoever was asked last. */
  asked: string;
  /** Called before each request, and when a standby that holds it says so: there is time again. */
  readonly asking: () => void;
}

/** Standby to leader, and once more when the leader changed meanwhile. */
const MAX_REDIRECTS = 3;
const MAX_RETRY_AFTER_MS = 60_000;
/** Answers are small; what comes by stream has a bound per line. */
const MAX_ANSWER_BYTES = 1024 * 1024;

/**
 * Requests to the control service: to its name first, and straight to the leader once it is named,
 * by a standby's 307 or by itself, until the leader fails. Then to who was to lead next, by the
 * leader's word, and if that one does not answer, to the name again.
 */
export class ControlHttp {
  readonly #options: ControlHttpOptions;
  readonly #trust: Trust;
  #leader: URL | undefined;
  /** For the next stream that is opened. */
  #nextLeader: URL | undefined;
  /** Who was named as the leader and did not answer: the next standby is not to send us there. */
  #unreachable: string | undefined;

  constructor(options: ControlHttpOptions, trust: Trust) {
    this.#options = options;
    this.#trust = trust;
  }

  /** One request, answered by JSON. Rejects with a ControlError. */
  async call<T>(request: ControlRequest, parse: Parser<T>, signal: AbortSignal): Promise<T> {
    const { timeoutMs, openingTimeoutMs } = this.#options;
    const limit = AbortSignal.timeout(request.isPatient ? openingTimeoutMs : timeoutMs);
    const attempt = this.#attempt(AbortSignal.any([signal, limit]));
    return this.#guarded(attempt, signal, async () => {
      const { body } = await this.#send(request, attempt);
      const text = await readBounded(body);
      try {
        return parse(JSON.parse(text));
      } catch (cause) {
        const why = cause instanceof InvalidMessageError ? cause.message : 'it is not JSON';
        throw new ControlError('InvalidAnswer', `the control server's answer: ${why}`, { cause });
      }
    });
  }

  /** Opens a stream; its chunks may fail with any error of undici (see asControlError). */
  async open(request: ControlRequest, signal: AbortSignal): Promise<AsyncIterable<Uint8Array>> {
    const opening = new AbortController();
    let limit: NodeJS.Timeout | undefined;
    const limited = () => {
      clearTimeout(limit);
      limit = setTimeout(
        () => opening.abort(new DOMException('no answer', 'TimeoutError')),
        this.#options.openingTimeoutMs,
      );
    };
    const attempt = this.#attempt(AbortSignal.any([signal, opening.signal]), limited);
    // Whatever else was asked meanwhile may have been told of the leader that is gone.
    const first = this.#nextLeader;
    this.#nextLeader = undefined;
    try {
      return await this.#guarded(attempt, signal, async () => {
        const { body } = await this.#send(request, attempt, first);
        return body;
      });
    } finally {
      clearTimeout(limit);
    }
  }

  /** As the leader has said it; undefined: it does not know. */
  set nextLeader(url: string | undefined) {
    const next = url === undefined ? null : URL.parse(url);
    this.#nextLeader = next !== null && isSafe(next) ? next : undefined;
  }

  /** The next request goes to the service, the next stream to who was to lead next. */
  forgetLeader(): void {
    this.#leader = undefined;
  }

  #attempt(signal: AbortSignal, asking: () => void = () => {}): Attempt {
    return { signal, asking, asked: this.#options.controlUrl.origin };
  }

  async #send(
    request: ControlRequest,
    attempt: Attempt,
    first = this.#leader,
  ): Promise<Dispatcher.ResponseData> {
    let url = new URL(request.path, first ?? this.#options.controlUrl);
    for (let redirects = 0; redirects <= MAX_REDIRECTS; redirects += 1) {
      attempt.asked = url.origin;
      attempt.asking();
      const answer = await this.#ask(url, request, attempt);
      if (answer.statusCode !== 307 && answer.statusCode !== 308) {
        await rejectUnlessOk(answer);
        const { 'content-location': location } = answer.headers;
        if (location !== undefined) this.#leader = new URL('/', httpsUrl(location, url));
        return answer;
      }
      await answer.body.dump();
      url = httpsUrl(answer.headers.location, url);
      this.#leader = new URL('/', url);
    }
    throw new ControlError('Unavailable', 'the control servers name each other as the leader');
  }

  async #ask(
    url: URL,
    { method, bearer, body, lines }: ControlRequest,
    { signal, asking }: Attempt,
  ): Promise<Dispatcher.ResponseData> {
    const { openingTimeoutMs } = this.#options;
    const dispatcher = await this.#trust.dispatcher();
    const unreachable = body === undefined ? this.#unreachable : undefined;
    const asked = dispatcher.request({
      origin: url.origin,
      path: url.pathname + url.search,
      method,
      headers: {
        authorization: `Bearer ${bearer}`,
        accept: 'application/json',
        ...(body !== undefined && { 'content-type': 'application/json' }),
        ...(lines !== undefined && { 'content-type': 'application/x-ndjson' }),
        ...(body === undefined && { prefer: `wait=${Math.floor(openingTimeoutMs / 1000)}` }),
        ...(unreachable !== undefined && { [UNREACHABLE_HEADER]: unreachable }),
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
      ...(lines !== undefined && { body: lines() }),
      signal,
      onInfo: asking,
      headersTimeout: 0,
      bodyTimeout: 0,
    });
    // undici looks at the signal when the connection is there.
    const answer = await unlessAborted(asked, signal);
    const isSaid = unreachable !== undefined;
    if (isSaid || url.origin === this.#unreachable) this.#unreachable = undefined;
    return answer;
  }

  async #guarded<T>(attempt: Attempt, callers: AbortSignal, act: () => Promise<T>): Promise<T> {
    try {
      return await act();
    } catch (cause) {
      const error = asControlError(cause, callers);
      const { asked } = attempt;
      const isLeaders = asked !== this.#options.controlUrl.origin;
      if (isLeaders && error.code !== 'Refused' && error.code !== 'Aborted') {
        const isSilent = error.code === 'Unreachable' || error.code === 'TimedOut';
        if (isSilent) this.#unreachable = asked;
        // It may be gone: ask the service again. Another one may have been named since.
        if (this.#leader?.origin === asked) this.#leader = undefined;
      }
      throw error;
    }
  }
}

/** Of the leader, as a control server names it. */
function httpsUrl(location: string | string[] | undefined, from: URL): URL {
  const url = typeof location === 'string' ? URL.parse(location, from.href) : null;
  if (url === null || !isSafe(url)) {
    throw new ControlError('InvalidAnswer', 'the control server redirects to no HTTPS address');
  }
  return url;
}

function isSafe({ protocol, username }: URL): boolean {
  return protocol === 'https:' && username === '';
}

/** `signal` is the caller's: aborting it is Aborted, every other abort is a time-out of ours. */
export function asControlError(cause: unknown, signal: AbortSignal): ControlError {
  if (cause instanceof ControlError) return cause;
  if (cause instanceof InvalidMessageError) {
    return new ControlError('InvalidAnswer', `the control server's answer: ${cause.message}`, {
      cause,
    });
  }
  if (signal.aborted) return new ControlError('Aborted', 'the request was aborted', { cause });
  const isTimeout =
    (cause instanceof DOMException && ['TimeoutError', 'AbortError'].includes(cause.name)) ||
    cause instanceof errors.ConnectTimeoutError;
  if (isTimeout) {
    return new ControlError('TimedOut', 'the control server did not answer in time', { cause });
  }
  const why = cause instanceof Error ? cause.message : String(cause);
  return new ControlError('Unreachable', `no connection to the control server: ${why}`, { cause });
}

async function rejectUnlessOk(answer: Dispatcher.ResponseData): Promise<void> {
  const { statusCode: status } = answer;
  if (status >= 200 && status < 300) return;
  const text = await readBounded(answer.body);
  let said = { code: 'Unknown', message: `the control server answers ${status}` };
  try {
    said = parseApiError(JSON.parse(text));
  } catch {
    // Not ours (a proxy's page): the status alone tells.
  }
  const code = said.code === 'UnknownVersion' ? 'UnknownVersion' : codeOf(status);
  const retryAfterMs = retryAfterOf(answer);
  throw new ControlError(code, said.message, { status, apiCode: said.code, retryAfterMs });
}

/** In seconds (RFC 9110, section 10.2.3); a date is no answer of ours. */
function retryAfterOf({ headers }: Dispatcher.ResponseData): number | undefined {
  const value = headers['retry-after'];
  if (typeof value !== 'string' || !/^\d{1,4}$/.test(value)) return undefined;
  return Math.min(MAX_RETRY_AFTER_MS, Number(value) * 1000);
}

function codeOf(status: number): ControlErrorCode {
  if (status === 401) return 'Unauthenticated';
  if (status >= 500 || status === 429 || status === 408) return 'Unavailable';
  return status >= 400 ? 'Refused' : 'InvalidAnswer';
}

async function readBounded(body: AsyncIterable<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = [];
  let sizeBytes = 0;
  for await (const chunk of body) {
    sizeBytes += chunk.byteLength;
    if (sizeBytes > MAX_ANSWER_BYTES) {
      throw new ControlError(
        'InvalidAnswer',
        `the answer is longer than ${MAX_ANSWER_BYTES} bytes`,
      );
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}
