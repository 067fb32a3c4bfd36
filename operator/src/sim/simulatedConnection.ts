/** How a holder asks the simulated origin: one socket after the other, as the product's own client. */
import {
  type HttpConnection,
  type HttpSource,
  HttpSourceError,
  type HttpSourceErrorCode,
  type RangeRequest,
  type RangeResult,
  type ResponseHead,
} from '@sluice/engine/ports/httpSource.ts';
import type { Machine } from './machine.ts';
import { CHUNK, HEAD_BYTES, type SimulatedOrigin, type Socket } from './simulatedOrigin.ts';

const SILENT_MS = 15_000;
const CLOSE_MS = 1_000;
const MAX_LEFT_BYTES = 65_536;

/** A socket at this end. */
interface Line {
  readonly socket: Socket;
  readonly closed: Promise<void>;
  readonly onClosed: () => void;
  isConnected: boolean;
  isEnding: boolean;
  isOver: boolean;
  /** The origin's end has come. */
  isProven: boolean;
  onConnected: () => void;
  onOver: () => void;
}

export function sourceAt(origin: SimulatedOrigin, machine: Machine): HttpSource {
  return { connection: (url) => new SimulatedConnection(url, machine, origin) };
}

class SimulatedConnection implements HttpConnection {
  unprovenEnds = 0;
  readonly unaskedBytes = 0;
  readonly #url: URL;
  readonly #machine: Machine;
  readonly #origin: SimulatedOrigin;
  #line: Line | undefined;
  #isBusy = false;
  #isClosing = false;

  constructor(url: URL, machine: Machine, origin: SimulatedOrigin) {
    this.#url = url;
    this.#machine = machine;
    this.#origin = origin;
  }

  async request(request: RangeRequest, signal: AbortSignal): Promise<RangeResult> {
    this.#isBusy = true;
    try {
      const { unprovenEnds } = this;
      if (this.#line?.isEnding === true) await this.#line.closed;
      if (this.unprovenEnds > unprovenEnds) throw lost('ConnectionLost', 0, true, { stale: true });
      if (signal.aborted || this.#isClosing) throw lost('Aborted', 0, true);
      return await this.#exchange(request, signal);
    } finally {
      this.#isBusy = false;
    }
  }

  close(): Promise<void> {
    this.#isClosing = true;
    const line = this.#line;
    if (line === undefined) return Promise.resolve();
    // Of a request that was aborted the rest may still come.
    this.#end(line, this.#isBusy ? 0 : 1, () => {});
    return line.closed;
  }

  async #exchange(request: RangeRequest, signal: AbortSignal): Promise<RangeResult> {
    const { range = { start: 0, end: this.#origin.sizeBytes } } = request;
    const { promise, resolve, reject } = Promise.withResolvers<RangeResult>();
    const machine = this.#machine;
    const startedAtMs = machine.now();
    const isWhole = this.#origin.streams(request.url ?? this.#url);
    const asked = isWhole ? { start: 0, end: this.#origin.sizeBytes } : range;
    let wireBytes = 0;
    let bodyBytes = 0;
    let head: ResponseHead | undefined;
    let isSettled = false;
    const line = this.#line ?? this.#connect();
    const count = (part: number, isHead: boolean) => {
      wireBytes += part + (isHead ? HEAD_BYTES : 0);
    };
    const fail = (code: HttpSourceErrorCode, cause?: unknown) => {
      if (isSettled) return;
      isSettled = true;
      const left = asked.end - asked.start - bodyBytes;
      const isWorthIt = line.isConnected && (!isWhole || left <= MAX_LEFT_BYTES);
      this.#end(line, isWorthIt ? left + 1 : 0, count);
      line.closed.then(() => reject(lost(code, wireBytes, line.isProven, { cause })));
    };
    const abort = () => fail('Aborted');
    signal.addEventListener('abort', abort, { once: true });
    const silence = machine.setTimer(SILENT_MS, () => fail('TimedOut'));
    const reader = (part: number, isLast: boolean, isHead: boolean) => {
      this.#origin.clock.settleSoon();
      count(part, isHead);
      try {
        if (isHead) {
          silence.cancel();
          head = this.#headOf(asked, part, isLast, isWhole, machine.now() - startedAtMs);
          request.onHead(head);
        }
        bodyBytes += part;
        const pause = request.onChunk(CHUNK.subarray(0, part));
        if (pause === undefined) this.#origin.read(line.socket, part);
        else
          pause.then(
            () => this.#origin.read(line.socket, part),
            (cause) => fail('AnswerRefused', cause),
          );
      } catch (cause) {
        return fail('AnswerRefused', cause);
      }
      if (!isLast || head === undefined || isSettled) return;
      isSettled = true;
      resolve({ head, bodyBytes, wireBytes });
    };
    const send = () => {
      line.socket.reader = reader;
      this.#origin.ask(line.socket, asked.end - asked.start);
    };
    line.onOver = () => fail('ConnectionLost');
    if (line.isConnected) send();
    else line.onConnected = send;
    try {
      return await promise;
    } finally {
      silence.cancel();
      signal.removeEventListener('abort', abort);
      line.onOver = () => {};
      line.socket.reader = undefined;
    }
  }

  #connect(): Line {
    const { promise: closed, resolve: onClosed } = Promise.withResolvers<void>();
    const socket = this.#origin.connect(
      this.#machine,
      this.#url,
      () => {
        line.isConnected = true;
        if (!line.isEnding) line.onConnected();
      },
      () => this.#over(line, true),
    );
    const line: Line = {
      socket,
      closed,
      onClosed,
      isConnected: false,
      isEnding: false,
      isOver: false,
      isProven: false,
      onConnected: () => {},
      onOver: () => {},
    };
    this.#line = line;
    return line;
  }

  /** Our end, and so many bytes more at most until the origin's comes; zero: a reset, at once. */
  #end(line: Line, leftBytes: number, count: (part: number, isHead: boolean) => void): void {
    if (line.isEnding || line.isOver) return;
    line.isEnding = true;
    if (leftBytes === 0) {
      this.#reset(line);
      return;
    }
    let left = leftBytes;
    line.socket.reader = (part, _isLast, isHead) => {
      count(part, isHead);
      left -= part;
      if (left < 0) this.#reset(line);
      else this.#origin.read(line.socket, part);
    };
    this.#origin.end(line.socket);
    this.#machine.setTimer(CLOSE_MS, () => this.#reset(line));
  }

  #reset(line: Line): void {
    if (line.isOver) return;
    this.#origin.reset(line.socket);
    this.#over(line, false);
  }

  #over(line: Line, isProven: boolean): void {
    if (line.isOver) return;
    line.isOver = true;
    line.isProven = isProven;
    if (!isProven) {
      this.unprovenEnds += 1;
      this.#origin.endedUnproven(this.#machine);
    }
    if (this.#line === line) this.#line = undefined;
    this.#origin.clock.settleSoon();
    line.onOver();
    line.onClosed();
  }

  /** A short answer that is the last is an error's. */
  #headOf(
    asked: { start: number; end: number },
    part: number,
    isLast: boolean,
    isWhole: boolean,
    timeToHeadMs: number,
  ): ResponseHead {
    const isError = isLast && part < asked.end - asked.start;
    const length = isError ? part : asked.end - asked.start;
    const headers: Record<string, string> = { 'content-length': String(length) };
    if (!isError && !isWhole) {
      headers['content-range'] = `bytes ${asked.start}-${asked.end - 1}/${this.#origin.sizeBytes}`;
    }
    const status = isError ? 503 : isWhole ? 200 : 206;
    return { status, headers, headerBytes: HEAD_BYTES, timeToHeadMs };
  }
}

function lost(
  code: HttpSourceErrorCode,
  wireBytes: number,
  exact: boolean,
  details: { readonly stale?: boolean; readonly cause?: unknown } = {},
): HttpSourceError {
  return new HttpSourceError(code, code, { wireBytes, exact, ...details });
}
