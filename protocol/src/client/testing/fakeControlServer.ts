import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { LeaseAnswer, LeaseRequest } from '../../leaseMessages.ts';
import { linesOf } from '../../lines.ts';
import type {
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
  /** What it answers, whatever the caller speaks; absent: the newest that the caller does. */
  readonly protocolVersion?: number;
}

export interface FakeControlHandlers {
  /** Everything that is so for this process, before `synced`. */
  work?(session: FakeSession): WorkMessage[];
  lease?(request: LeaseRequest, session: FakeSession): LeaseAnswer;
  /** Of a report by the work stream that `response` is. True: it has answered itself. */
  report?(response: ServerResponse): boolean;
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
  #connections = 0;

  constructor(options: FakeControlOptions, handlers: FakeControlHandlers = {}) {
    this.#options = options;
    this.handlers = handlers;
  }

  get #reportAnswer() {
    return { reportIntervalMs: this.#options.reportIntervalMs ?? 200 };
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
    server.on('secureConnection', () => {
      this.#connections += 1;
    });
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

  /** Made since the start. */
  get connections(): number {
    return this.#connections;
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
        protocolVersion: this.#options.protocolVersion ?? Math.max(...asked.protocolVersions),
        sessionToken,
        expiresInSeconds: this.#options.expiresInSeconds ?? 900,
        ...this.#reportAnswer,
        nodeName: bearer,
      });
    }
    const session = this.sessions.get(bearer);
    if (session === undefined) {
      return json(response, 401, { code: 'Unauthenticated', message: 'no such session' });
    }
    if (path === '/v1/work') {
      this.#stream(session, response);
      return this.#readReports(session, request, response).catch(() => {});
    }
    const body: unknown = JSON.parse(await textOf(request));
    if (path === '/v1/reports') {
      this.reports.push({ session, report: parseReport(body) });
      return json(response, 200, this.#reportAnswer);
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

  /** Those that go up by a work stream. */
  async #readReports(
    session: FakeSession,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    for await (const line of linesOf(request, 16 * 1024 * 1024)) {
      const report = parseReport(JSON.parse(line));
      if (this.handlers.report?.(response) === true) continue;
      this.reports.push({ session, report });
      const answer = { type: 'reported', sequence: report.sequence, ...this.#reportAnswer };
      response.write(`${JSON.stringify(answer)}\n`);
    }
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
