import {
  type HttpConnection,
  type HttpSource,
  HttpSourceError,
  type HttpSourceErrorCode,
  type RangeRequest,
  type RangeResult,
  type ResponseHead,
} from '../ports/httpSource.ts';
import type { Flow, SimulatedHost, SimulatedNetwork } from './network.ts';
import type { Tamper } from './simulatedTransport.ts';
import type { VirtualClock } from './virtualClock.ts';

export interface HttpAsked {
  /** The host that asks. */
  readonly from: string;
  readonly path: string;
  readonly range: RangeRequest['range'];
  readonly body: Uint8Array;
}

export interface HttpAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
}

/** Answers, or never does. */
export type HttpServer = (asked: HttpAsked) => HttpAnswer | undefined;

/** Of a connection, while it is open: there, and back. Requests follow each other over it. */
interface Line {
  flows: readonly [Flow, Flow] | undefined;
}

const HEAD_BYTES = 300;
/** Of an answer's body that its server has written and the network has not taken. */
const MAX_QUEUED_BYTES = 262_144;

/** As the product's own client: nothing for so long, and the request is over. */
const SILENT_MS = 15_000;

/** Servers by `host:port`, for all hosts of a network. */
export class SimulatedHttp {
  readonly #network: SimulatedNetwork;
  readonly #clock: VirtualClock;
  /** What a server's body becomes on the way. Absent: what it is. */
  tamper: Tamper | undefined;
  readonly #servers = new Map<string, HttpServer>();

  constructor(network: SimulatedNetwork, clock: VirtualClock) {
    this.#network = network;
    this.#clock = clock;
  }

  serve(host: SimulatedHost, port: number, server: HttpServer): void {
    this.#servers.set(`${host.name}:${port}`, server);
  }

  sourceOf(host: SimulatedHost): HttpSource {
    return { connection: (url) => this.#connection(host, url) };
  }

  #connection(from: SimulatedHost, url: URL): HttpConnection {
    const line: Line = { flows: undefined };
    return {
      request: (request, signal) => this.#request(from, request.url ?? url, request, signal, line),
      close: async () => this.#hangUp(line),
      unprovenEnds: 0,
      unaskedBytes: 0,
    };
  }

  #hangUp(line: Line): void {
    for (const flow of line.flows ?? []) this.#network.close(flow);
    line.flows = undefined;
  }

  async #request(
    from: SimulatedHost,
    first: URL,
    request: RangeRequest,
    signal: AbortSignal,
    line: Line,
  ): Promise<RangeResult> {
    const network = this.#network;
    const { url = first } = request;
    const port = Number(url.port || 80);
    const to = network.host(url.hostname);
    const server = this.#servers.get(`${url.hostname}:${port}`);
    const lost = (code: HttpSourceErrorCode, wireBytes: number) =>
      new HttpSourceError(code, `${code} at ${url.host}`, { wireBytes, exact: true });
    if (to === undefined || server === undefined || !to.isAlive) throw lost('ConnectFailed', 0);
    line.flows ??= [network.open(from, to, port), network.open(to, from, port)];
    const [out, back] = line.flows;
    const startedAtMs = this.#clock.now();
    let wireBytes = 0;
    let isOver = false;
    const { promise, resolve, reject } = Promise.withResolvers<RangeResult>();
    const abort = () => reject(lost('Aborted', wireBytes));
    signal.addEventListener('abort', abort, { once: true });
    const gone = () => reject(lost('ConnectionLost', wireBytes));
    to.onKilled.add(gone);
    let heardAtMs = startedAtMs;
    const listen = () => {
      const leftMs = heardAtMs + SILENT_MS - this.#clock.now();
      if (leftMs <= 0) reject(lost('TimedOut', wireBytes));
      else silence = this.#clock.setTimer(leftMs, listen);
    };
    let silence = this.#clock.setTimer(SILENT_MS, listen);
    const body = request.body ?? new Uint8Array();
    const sent = new Uint8Array(HEAD_BYTES + body.byteLength);
    const answer = () => {
      if (isOver || !to.isAlive) return;
      const said = server({
        from: from.name,
        path: url.pathname + url.search,
        range: request.range,
        body,
      });
      if (said === undefined) return;
      const head: ResponseHead = {
        status: said.status,
        headers: said.headers,
        headerBytes: HEAD_BYTES,
        timeToHeadMs: this.#clock.now() + network.delayMs - startedAtMs,
      };
      let bodyBytes = 0;
      let reading: Promise<void> | undefined;
      back.send(
        [new Uint8Array(HEAD_BYTES)],
        () => {
          wireBytes += HEAD_BYTES;
          heardAtMs = this.#clock.now();
          try {
            request.onHead(head);
          } catch (cause) {
            refuse(cause);
          }
        },
        () =>
          sendBody(
            tampered(said.body),
            back,
            chunk,
            () => isOver,
            () => reading,
          ).then(finish, reject),
      );
      const refuse = (cause: unknown) => {
        const details = { wireBytes, exact: true, cause };
        reject(new HttpSourceError('AnswerRefused', 'the answer was refused', details));
      };
      const tampered = (body: HttpAnswer['body']) =>
        this.tamper === undefined ? body : eachBy(body, to.name, this.tamper);
      const chunk = (part: Uint8Array) => {
        heardAtMs = this.#clock.now();
        wireBytes += part.byteLength;
        bodyBytes += part.byteLength;
        if (isOver) return;
        if (reading === undefined) read(part);
        else reading = reading.then(() => request.onChunk(part)).catch(refuse);
      };
      /** Who does not want more yet answers a promise. */
      const read = (part: Uint8Array) => {
        try {
          reading = request.onChunk(part)?.catch(refuse) ?? undefined;
        } catch (cause) {
          refuse(cause);
        }
      };
      const finish = async () => {
        await reading;
        resolve({ head, bodyBytes, wireBytes });
      };
    };
    out.send([sent], () => {}, answer);
    try {
      return await promise;
    } catch (error) {
      this.#hangUp(line);
      throw error;
    } finally {
      isOver = true;
      signal.removeEventListener('abort', abort);
      to.onKilled.delete(gone);
      silence.cancel();
    }
  }
}

async function* eachBy(
  body: HttpAnswer['body'],
  from: string,
  tamper: Tamper,
): AsyncIterable<Uint8Array> {
  for await (const part of body) yield tamper(from, part);
}

/** Resolves when all of it has arrived. */
async function sendBody(
  body: HttpAnswer['body'],
  back: Flow,
  deliver: (part: Uint8Array) => void,
  isOver: () => boolean,
  reading: () => Promise<void> | undefined,
): Promise<void> {
  let last: Promise<void> = Promise.resolve();
  for await (const part of body) {
    await reading();
    if (isOver()) return;
    last = new Promise((resolve) => back.send([part], deliver, resolve));
    if (back.queuedBytes > MAX_QUEUED_BYTES) await last;
  }
  await last;
}
