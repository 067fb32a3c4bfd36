import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import type {
  LeaseAnswer,
  LeaseRequest,
  ProcessKind,
  Report,
  SessionRequest,
  TransferReport,
  WorkMessage,
} from '../../messages.ts';
import { parseLeaseRequest, parseReport, parseSessionRequest } from '../../validate.ts';

export interface FakeSession {
  /** The projected token that bought it: names the process. */
  readonly name: string;
  readonly request: SessionRequest;
}

export interface FakeControlOptions {
  readonly cert: string;
  readonly key: string;
  readonly port?: number;
  readonly expiresInSeconds?: number;
  readonly reportIntervalMs?: number;
  /** What it answers, whatever the caller speaks; absent: 1. */
  readonly protocolVersion?: number;
}

export interface FakeControlHandlers {
  /** Everything that is so for this process, before `synced`. */
  work?(session: FakeSession): WorkMessage[];
  lease?(request: LeaseRequest, session: FakeSession): LeaseAnswer;
  /** True: it has answered itself. */
  intercept?(request: IncomingMessage, response: ServerResponse, path: string): boolean;
}

interface Stream {
  readonly session: FakeSession;
  readonly response: ServerResponse;
}

const HEARTBEAT_MS = 2_000;

/** A control server for tests: real TLS and real messages, with one table instead of a plan. */
export class FakeControlServer {
  readonly requests: string[] = [];
  readonly reports: { session: FakeSession; report: Report }[] = [];
  readonly leaseRequests: LeaseRequest[] = [];
  readonly sessions = new Map<string, FakeSession>();
  handlers: FakeControlHandlers;
  readonly #options: FakeControlOptions;
  readonly #answers = new Map<string, LeaseAnswer>();
  readonly #streams = new Set<Stream>();
  #server: Server | undefined;
  #heartbeat: NodeJS.Timeout | undefined;
  #tokens = 0;

  constructor(options: FakeControlOptions, handlers: FakeControlHandlers = {}) {
    this.#options = options;
    this.handlers = handlers;
  }

  /** Where it listens. */
  async start(port = this.#options.port ?? 0): Promise<URL> {
    const { cert, key } = this.#options;
    this.#server = createServer({ cert, key }, (request, response) => {
      this.#answer(request, response).catch((error: Error) => {
        if (!response.headersSent) json(response, 400, { code: 'Bad', message: error.message });
      });
    });
    const server = this.#server;
    await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
    this.#heartbeat = setInterval(() => this.send({ type: 'heartbeat' }), HEARTBEAT_MS);
    return new URL(`https://localhost:${(server.address() as AddressInfo).port}`);
  }

  /** With every connection. */
  async stop(): Promise<void> {
    clearInterval(this.#heartbeat);
    const server = this.#server;
    this.#server = undefined;
    if (server === undefined) return;
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }

  /** To every open stream, or to those of one kind or name. */
  send(message: WorkMessage, to: { kind?: ProcessKind; name?: string } = {}): void {
    for (const { session, response } of this.#streams) {
      if (to.kind !== undefined && session.request.kind !== to.kind) continue;
      if (to.name !== undefined && session.name !== to.name) continue;
      response.write(`${JSON.stringify(message)}\n`);
    }
  }

  /** Ends every session: the next request is answered 401. */
  forgetSessions(): void {
    this.sessions.clear();
  }

  dropStreams(): void {
    for (const { response } of this.#streams) response.destroy();
  }

  get streams(): number {
    return this.#streams.size;
  }

  /** What a process said last about an epoch. */
  lastReport(name: string, uid: string): TransferReport | undefined {
    const found = this.reports.findLast(
      ({ session, report }) =>
        session.name === name && report.transfers.some((transfer) => transfer.uid === uid),
    );
    return found?.report.transfers.findLast((transfer) => transfer.uid === uid);
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = new URL(request.url ?? '/', 'https://control').pathname;
    this.requests.push(`${request.method} ${path}`);
    if (this.handlers.intercept?.(request, response, path) === true) return;
    const bearer = (request.headers.authorization ?? '').replace('Bearer ', '');
    if (path === '/v1/session') {
      const asked = parseSessionRequest(JSON.parse(await textOf(request)));
      this.#tokens += 1;
      const sessionToken = `session-${this.#tokens}`;
      this.sessions.set(sessionToken, { name: bearer, request: asked });
      return json(response, 200, {
        protocolVersion: this.#options.protocolVersion ?? 1,
        sessionToken,
        expiresInSeconds: this.#options.expiresInSeconds ?? 900,
        reportIntervalMs: this.#options.reportIntervalMs ?? 200,
        nodeName: bearer,
      });
    }
    const session = this.sessions.get(bearer);
    if (session === undefined) {
      return json(response, 401, { code: 'Unauthenticated', message: 'no such session' });
    }
    if (path === '/v1/work') return this.#stream(session, response);
    const body: unknown = JSON.parse(await textOf(request));
    if (path === '/v1/reports') {
      this.reports.push({ session, report: parseReport(body) });
      return json(response, 200, { reportIntervalMs: this.#options.reportIntervalMs ?? 200 });
    }
    if (path === '/v1/leases') return json(response, 200, this.#lease(body, session));
    return json(response, 404, { code: 'NotFound', message: path });
  }

  #lease(body: unknown, session: FakeSession): LeaseAnswer {
    const asked = parseLeaseRequest(body);
    const id = `${asked.incarnation}/${asked.sequence}`;
    const before = this.#answers.get(id);
    if (before !== undefined) return before;
    this.leaseRequests.push(asked);
    const answer = this.handlers.lease?.(asked, session) ?? {
      outcome: 'wait',
      reason: 'NotReady',
      retryAfterMs: 200,
    };
    this.#answers.set(id, answer);
    return answer;
  }

  #stream(session: FakeSession, response: ServerResponse): void {
    const stream = { session, response };
    this.#streams.add(stream);
    response.once('close', () => this.#streams.delete(stream));
    response.writeHead(200, { 'content-type': 'application/x-ndjson' });
    const messages = this.handlers.work?.(session) ?? [];
    for (const message of [...messages, { type: 'synced' } as const]) {
      response.write(`${JSON.stringify(message)}\n`);
    }
  }
}

function json(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

async function textOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks).toString('utf8');
}
