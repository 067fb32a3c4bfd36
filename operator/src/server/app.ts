/** The control API: who calls, what is asked, and in which form it is answered. Decides nothing. */
import type { ReportAnswer, SessionGrant, SessionRequest } from '@sluice/protocol/messages.ts';
import {
  InvalidMessageError,
  parseLeaseRequest,
  parseReport,
  parseSessionRequest,
} from '@sluice/protocol/validate.ts';
import { commonVersion, PROTOCOL_VERSIONS, upgradeRemedy } from '@sluice/protocol/versions.ts';
import express, { type NextFunction, type Request, type Response } from 'express';
import type { Logger } from 'winston';
import type { KubeClient } from '../kube/client.ts';
import type { LeaseService } from '../quota/leaseService.ts';
import { LeaseError } from '../quota/leases.ts';
import type { Callers } from './callers.ts';
import type { Coordinator } from './coordinator.ts';
import { OvertakenError } from './fleetView.ts';
import { newReadApi } from './readApi.ts';
import { ApiRefusal } from './refusal.ts';
import { reportIntervalMs } from './reportInterval.ts';
import { readReports } from './reportLines.ts';
import { SendingTurns } from './sendingTurns.ts';
import { issueSession, SESSION_SECONDS, type Session, verifySession } from './sessions.ts';
import { Standby, type StandbyDependencies } from './standby.ts';
import { QueuedStream } from './workStream.ts';

export interface AppDependencies extends StandbyDependencies {
  readonly coordinator: Coordinator;
  readonly leases: LeaseService;
  readonly callers: Pick<Callers, 'identify'>;
  readonly client: Pick<KubeClient, 'request'>;
  readonly logger: Logger;
  readonly sessionKey: () => Buffer;
  /** Where the one that leads next serves; undefined: not known. */
  readonly nextLeaderUrl: () => string | undefined;
  /** Of the control protocol; absent: those of this release. */
  readonly protocolVersions?: readonly number[];
  /** Milliseconds since the Unix epoch. */
  readonly wallClock: () => number;
}

const SESSION_BODY = '16kb';
const LEASE_BODY = '256kb';
/** Ten thousand transfers; a relay's bitfields. */
const REPORT_BODY_BYTES = 16 * 1024 * 1024;
/** Two of them within the silence that clients bear (15 s); of ten thousand streams each costs. */
const HEARTBEAT_MS = 6_000;
/** Of a request that has an end; a slow link takes some seconds for a relay's report. */
const BODY_MS = 60_000;
/**
 * For the HTTP server: a work stream's request goes on for as long as its answer. Every other one
 * has its limit here.
 */
export const SERVER_OPTIONS = { requestTimeout: 0, headersTimeout: 60_000 } as const;
/** Not for each report: there are hundreds a second. */
const COUNT_EVERY_MS = 1_000;
const IDENTIFY_TIMEOUT_MS = 12_000;
/** Thousands may be refused, again and again. */
const TELL_VERSIONS_EVERY_MS = 60_000;

export function newApp(dependencies: AppDependencies): express.Express {
  const { clock, coordinator, leases, callers, logger, wallClock } = dependencies;
  const now = () => clock.now();
  const turns = new SendingTurns({ clock });
  const { protocolVersions = PROTOCOL_VERSIONS } = dependencies;
  let versionsToldAtMs = Number.NEGATIVE_INFINITY;
  let interval = { ms: reportIntervalMs(0), countedAtMs: Number.NEGATIVE_INFINITY };
  /** Verified once a request. */
  const sessions = new WeakMap<Request, Session>();
  const app = express();
  app.disable('x-powered-by');
  app.disable('etag');

  const standby = new Standby({
    ...dependencies,
    isKnown: (request) => knownSession(request) !== undefined,
  });
  app.use((request, response, next) => {
    if (!isWork(request)) limitBody(request, response);
    next();
  });

  app.use('/v1', (request, response, next) => standby.handle(request, response, next));

  // Nobody's body is read.
  app.use(['/v1/work', '/v1/reports', '/v1/leases'], (request, _response, next) => {
    sessionOf(request);
    next();
  });

  app.post('/v1/session', express.json({ limit: SESSION_BODY }), async (request, response) => {
    const asked = parseSessionRequest(request.body);
    const protocolVersion = commonVersion(protocolVersions, asked.protocolVersions);
    if (protocolVersion === undefined) throw unknownVersion(asked);
    const gone = new AbortController();
    response.once('close', () => gone.abort());
    const signal = AbortSignal.any([gone.signal, AbortSignal.timeout(IDENTIFY_TIMEOUT_MS)]);
    const caller = await callers
      .identify(bearerOf(request), asked.kind, signal)
      .catch((error: unknown) => {
        if (!gone.signal.aborted) throw error;
      });
    // It may be over, and another run of its pod be there: nobody is to be met any more.
    if (caller === undefined || request.socket.destroyed) return;
    const session: Session = {
      id: `${caller.podUid}.${asked.incarnation}`,
      kind: asked.kind,
      node: caller.node,
      domain: caller.domain,
      dedicatedTo: caller.dedicatedTo,
      host: caller.address,
      bitTorrentPort: asked.bitTorrentPort,
      httpPort: asked.httpPort,
      pod: caller.pod,
      podUid: caller.podUid,
      nodeUid: caller.nodeUid,
      protocolVersion,
      expiresAtMs: wallClock() + SESSION_SECONDS * 1000,
    };
    coordinator.fleet.meet(session, now());
    const { kind, pod, node } = session;
    logger.info('a process has a session', { kind, pod, node, protocolVersion });
    const grant: SessionGrant = {
      protocolVersion,
      sessionToken: issueSession(session, dependencies.sessionKey()),
      expiresInSeconds: SESSION_SECONDS,
      reportIntervalMs: intervalMs(),
      nodeName: session.node,
    };
    response.json(grant);
  });

  const openWork = (request: Request, response: Response) => {
    const session = sessionOf(request);
    coordinator.fleet.meet(session, now());
    const leaderUrl = dependencies.leaderUrl();
    const isReporting = request.method === 'POST';
    response.writeHead(200, {
      'content-type': 'application/x-ndjson',
      // The request would be open still when the answer has ended, and the connection with it.
      ...(isReporting && { connection: 'close' }),
      'cache-control': 'no-store',
      // Reports and leases need not go by the Service, and by whoever it chooses.
      ...(leaderUrl !== undefined && { 'content-location': `${leaderUrl}${request.originalUrl}` }),
    });
    response.flushHeaders();
    const { kind, pod, node } = session;
    const onHung = () => {
      logger.warn('a process does not read its work and is cut off', { kind, pod, node });
    };
    const stream = new QueuedStream(response, { clock, turns, onHung }).start();
    const process = coordinator.fleet.open(session, stream, now());
    const heartbeat = setInterval(() => {
      const nextLeader = dependencies.nextLeaderUrl();
      stream.send({ type: 'heartbeat', ...(nextLeader !== undefined && { nextLeader }) });
    }, HEARTBEAT_MS);
    response.once('close', () => {
      clearInterval(heartbeat);
      coordinator.fleet.closed(process, stream, now());
    });
    if (!isReporting) return;
    readReports(request, REPORT_BODY_BYTES, {
      report: (report) => {
        // Another stream has taken its place, or this replica does not lead any more.
        if (response.writableEnded) return;
        coordinator.fleet.report(process, report, now());
        const { sequence } = report;
        stream.send({ type: 'reported', sequence, reportIntervalMs: intervalMs() });
      },
      refused: (message) => {
        logger.debug('a report was refused', { kind, pod, node, message });
        stream.send({ type: 'reportRefused', message });
      },
      failed: (error) => {
        logger.warn('a process is not heard any more and is cut off', { kind, pod, node, error });
        stream.send({ type: 'reportRefused', message: refusalOf(error).message });
        stream.close();
      },
    });
  };
  app.get('/v1/work', openWork);
  app.post('/v1/work', openWork);

  app.post('/v1/reports', express.json({ limit: REPORT_BODY_BYTES }), (request, response) => {
    const process = coordinator.fleet.meet(sessionOf(request), now());
    coordinator.fleet.report(process, parseReport(request.body), now());
    const answer: ReportAnswer = { reportIntervalMs: intervalMs() };
    response.json(answer);
  });

  app.post('/v1/leases', express.json({ limit: LEASE_BODY }), async (request, response) => {
    const session = sessionOf(request);
    const process = coordinator.fleet.meet(session, now());
    const asked = parseLeaseRequest(request.body);
    // Known by the Deployment that made a relay, by its token's node an agent.
    const isNew = asked.op === 'acquire' || asked.op === 'certify';
    if (isNew && coordinator.isStrangerTo(process, asked.uid)) {
      const message = `this process has no part in distribution ${asked.uid}`;
      throw new ApiRefusal(403, 'NotAMember', message);
    }
    const { id, kind, pod, node } = process;
    const name = `${kind} ${pod} on node ${node}`;
    const standsIn = asked.op === 'acquire' && coordinator.standsIn(process, asked.uid);
    response.json(await leases.answer({ id, name, kind, standsIn }, asked));
  });

  app.use('/v1/distributions', newReadApi({ coordinator, client: dependencies.client, bearerOf }));

  app.use((request: Request) => {
    throw new ApiRefusal(404, 'NotFound', `there is no ${request.method} ${request.path}`);
  });

  app.use((error: unknown, request: Request, response: Response, next: NextFunction) => {
    if (response.headersSent) return next(error);
    const { status, code, message, retryAfterSeconds } = refusalOf(error);
    const fields = { method: request.method, path: request.path, code };
    // Those that are to come again are thousands.
    const isFailure = status >= 500 && retryAfterSeconds === undefined;
    if (isFailure) logger.warn('a request failed', { ...fields, error });
    else logger.debug('a request was refused', { ...fields, message });
    if (retryAfterSeconds !== undefined) response.set('retry-after', String(retryAfterSeconds));
    // Nobody waits for the rest of what was not asked for.
    if (!request.complete) response.set('connection', 'close');
    response.status(status).json({ code, message: message.slice(0, 2048) });
  });

  /** One in a version that is not spoken here was bought of a replica of another release. */
  function knownSession(request: Request): Session | undefined {
    const session =
      sessions.get(request) ??
      verifySession(bearerOf(request), dependencies.sessionKey(), wallClock());
    if (session === undefined || !protocolVersions.includes(session.protocolVersion)) {
      return undefined;
    }
    sessions.set(request, session);
    return session;
  }

  function sessionOf(request: Request): Session {
    const session = knownSession(request);
    if (session !== undefined) return session;
    throw new ApiRefusal(401, 'Unauthenticated', 'the session is not known or has ended');
  }

  function limitBody(request: Request, response: Response): void {
    const timer = clock.setTimer(BODY_MS, () => {
      if (!request.complete) request.destroy();
    });
    response.once('close', () => timer.cancel());
  }

  function unknownVersion({ protocolVersions: theirs, kind }: SessionRequest): ApiRefusal {
    const speaks = `this server speaks version ${protocolVersions.join(', ')} of the protocol`;
    const remedy = upgradeRemedy(protocolVersions, theirs);
    const message = `${speaks}, the ${kind} ${theirs.join(', ')}: ${remedy}`;
    if (now() - versionsToldAtMs >= TELL_VERSIONS_EVERY_MS) {
      versionsToldAtMs = now();
      logger.warn('a process of another release is refused', { message });
    }
    return new ApiRefusal(400, 'UnknownVersion', message);
  }

  function intervalMs(): number {
    if (now() - interval.countedAtMs >= COUNT_EVERY_MS) {
      const ms = reportIntervalMs(coordinator.fleet.connected().length);
      interval = { ms, countedAtMs: now() };
    }
    return interval.ms;
  }

  return app;
}

function isWork({ path }: Request): boolean {
  return path === '/v1/work';
}

function bearerOf(request: Request): string {
  const [scheme, token] = (request.headers.authorization ?? '').split(' ');
  if (scheme === 'Bearer' && token !== undefined && token !== '') return token;
  throw new ApiRefusal(401, 'Unauthenticated', 'Authorization: Bearer TOKEN is missing');
}

interface Refusal {
  readonly status: number;
  readonly code: string;
  readonly message: string;
  readonly retryAfterSeconds?: number | undefined;
}

function refusalOf(error: unknown): Refusal {
  if (error instanceof ApiRefusal) return error;
  if (error instanceof InvalidMessageError) {
    return { status: 400, code: error.code, message: error.message };
  }
  if (error instanceof OvertakenError) {
    return { status: 401, code: 'Unauthenticated', message: error.message };
  }
  if (error instanceof LeaseError) {
    const status = error.code === 'OriginRequired' ? 403 : 503;
    return { status, code: error.code, message: error.message };
  }
  // The body parser's own: too large, no JSON.
  const { status, type } = error as { status?: unknown; type?: unknown };
  if (typeof status === 'number' && status >= 400 && status < 500) {
    return { status, code: 'InvalidBody', message: `the body cannot be read (${String(type)})` };
  }
  // The journal's: the database is away, or another leads.
  return { status: 503, code: 'Unavailable', message: 'not now; ask again' };
}
