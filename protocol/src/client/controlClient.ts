/*
 * client/ is how relays and agents speak with the control server, and what they have in common
 * in obeying it: the work stream, reports and leases. No engine code runs here; transfers and
 * pullers come in through the interfaces that the programs fill.
 */
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Clock } from '@sluice/engine/ports/clock.ts';
import { linesOf } from '../lines.ts';
import type {
  ProcessKind,
  ReportAnswer,
  SessionGrant,
  TransferReport,
  WorkMessage,
} from '../messages.ts';
import { unlessAborted } from '../sleep.ts';
import { type Parser, parseLeaseAnswer, parseReportAnswer, parseWorkMessage } from '../validate.ts';
import { PROTOCOL_VERSIONS, REPORTS_BY_WORK_STREAM } from '../versions.ts';
import { backoffMs, spreadOverMs } from './backoff.ts';
import { ControlError } from './controlError.ts';
import { asControlError, ControlHttp, type ControlRequest } from './controlHttp.ts';
import type { LeaseReply } from './leaseAsking.ts';
import { type LeaseAsk, LeaseClient } from './leaseClient.ts';
import { ReportStream } from './reportStream.ts';
import { SessionKeeper } from './session.ts';
import { Silence } from './silence.ts';
import { Trust } from './trust.ts';

export interface ControlClientOptions {
  readonly controlUrl: URL;
  readonly caFile: string;
  readonly tokenFile: string;
  readonly kind: ProcessKind;
  readonly bitTorrentPort: number;
  readonly httpPort?: number | undefined;
  /** Of the control protocol; absent: those of this release. */
  readonly protocolVersions?: readonly number[];
}

export type WorkEvent =
  | Exclude<WorkMessage, { type: 'reported' | 'reportRefused' }>
  /** A new stream begins: all that is so follows, and then `synced`. */
  | { readonly type: 'opened' };

/** Something that the caller should log; the client goes on by itself. */
export type ControlProblem = (error: Error) => void;

export interface ControlClientDependencies {
  readonly clock: Clock;
  readonly onProblem: ControlProblem;
}

export interface ReportContent {
  readonly transfers: TransferReport[];
  readonly disk?: { freeBytes: number; totalBytes: number };
}

const REQUEST_TIMEOUT_MS = 5_000;
/**
 * Of a work stream, and of the handshake before it: where thousands look for the next leader each has
 * to wait for its turn, and to begin anew costs the one that is asked the most. Relays are few, and
 * others wait for them: they look elsewhere sooner.
 */
const OPENING_TIMEOUT_MS: Readonly<Record<ProcessKind, number>> = { relay: 30_000, agent: 60_000 };
/**
 * At most, and over the interval of reports: where thousands of agents lose a leader, they are not
 * to look for the next one in the same second. Nobody leads for the first ten.
 */
const LOOK_SPREAD_MS = 8_000;
/** The server sends heartbeats more often than that. */
const SILENCE_MS = 15_000;
/** A task of a thousand files, with long names and validators, at its source and eight mirrors. */
const MAX_LINE_BYTES = 16 * 1024 * 1024;

export class ControlClient {
  /** Random per process start: tells two runs in the same pod apart. */
  readonly incarnation = randomBytes(16).toString('hex');
  readonly #http: ControlHttp;
  readonly #session: SessionKeeper;
  readonly #trust: Trust;
  readonly #leases: LeaseClient;
  readonly #kind: ProcessKind;
  readonly #onProblem: ControlProblem;
  #sequence = 0;
  #reportIntervalMs = 1_000;
  #connected = false;
  /** Of the work stream that is open, where reports go up by it. */
  #reports: ReportStream | undefined;

  constructor(options: ControlClientOptions, dependencies: ControlClientDependencies) {
    const { controlUrl, caFile, tokenFile, kind, bitTorrentPort, httpPort } = options;
    const { protocolVersions = PROTOCOL_VERSIONS } = options;
    this.#kind = kind;
    this.#onProblem = dependencies.onProblem;
    const openingTimeoutMs = OPENING_TIMEOUT_MS[kind];
    this.#trust = new Trust({ caFile, controlUrl, handshakeTimeoutMs: openingTimeoutMs });
    const timeouts = { timeoutMs: REQUEST_TIMEOUT_MS, openingTimeoutMs };
    this.#http = new ControlHttp({ controlUrl, ...timeouts }, this.#trust);
    const { incarnation } = this;
    this.#session = new SessionKeeper(
      { protocolVersions, tokenFile, kind, incarnation, bitTorrentPort, httpPort },
      { http: this.#http, clock: dependencies.clock, random: Math.random },
    );
    this.#leases = new LeaseClient(incarnation, {
      clock: dependencies.clock,
      random: Math.random,
      nextSequence: () => this.#nextSequence(),
      post: (request, stop) => this.#post('/v1/leases', request, parseLeaseAnswer, stop),
    });
  }

  /** How often the control server wants reports. */
  get reportIntervalMs(): number {
    return this.#reportIntervalMs;
  }

  /**
   * Over how long to spread what all processes of this kind would do at once. Relays do not: they are
   * few, and the next leader waits for what they hold.
   */
  get spreadMs(): number {
    return this.#kind === 'relay' ? 0 : spreadOverMs(this.#reportIntervalMs);
  }

  /** Whether a work stream is open. */
  get connected(): boolean {
    return this.#connected;
  }

  /** In which version of the protocol both speak; undefined: not agreed yet. */
  get protocolVersion(): number | undefined {
    return this.#session.protocolVersion;
  }

  /** What to do, over as many streams as it takes, until aborted; never throws. */
  async *work(signal: AbortSignal): AsyncGenerator<WorkEvent> {
    let failures = 0;
    while (!signal.aborted) {
      let retryAfterMs: number | undefined;
      let spreadMs = 0;
      try {
        for await (const event of this.#stream(signal)) {
          failures = 0;
          spreadMs = Math.min(LOOK_SPREAD_MS, this.spreadMs) * Math.random();
          yield event;
        }
      } catch (error) {
        const problem = asControlError(error, signal);
        retryAfterMs = problem.retryAfterMs;
        if (!signal.aborted) this.#onProblem(problem);
      }
      // Who is told when to come again was not refused.
      if (retryAfterMs !== undefined) failures = 0;
      const pauseMs = (retryAfterMs ?? 0) + spreadMs + backoffMs(failures, Math.random());
      await sleep(pauseMs, undefined, { signal }).catch(() => {});
      failures += 1;
    }
  }

  async report(content: ReportContent, signal: AbortSignal): Promise<ReportAnswer> {
    const body = { incarnation: this.incarnation, sequence: this.#nextSequence(), ...content };
    const answer = await (this.#reports?.send(body, signal) ??
      this.#post('/v1/reports', body, parseReportAnswer, signal));
    this.#reportIntervalMs = answer.reportIntervalMs;
    return answer;
  }

  lease(ask: LeaseAsk, giveUpAfterMs: number, signal: AbortSignal): Promise<LeaseReply> {
    return this.#leases.lease(ask, giveUpAfterMs, signal);
  }

  /** Ends idle connections; streams end with their signals. */
  close(): void {
    this.#trust.close();
  }

  /** It is bought for all who wait for it; none of them waits for longer than it likes. */
  async #sessionUnless(signal: AbortSignal): Promise<SessionGrant> {
    try {
      return await unlessAborted(this.#session.current(), signal);
    } catch (error) {
      throw asControlError(error, signal);
    }
  }

  #nextSequence(): number {
    this.#sequence += 1;
    return this.#sequence;
  }

  async *#stream(signal: AbortSignal): AsyncGenerator<WorkEvent> {
    const ending = new AbortController();
    const either = AbortSignal.any([signal, ending.signal]);
    const session = await this.#sessionUnless(signal);
    this.#reportIntervalMs = session.reportIntervalMs;
    const reports = reportStreamFor(session);
    const silence = new Silence(SILENCE_MS, () => {
      const message = `the control server was silent for ${SILENCE_MS / 1000} s`;
      ending.abort(new ControlError('TimedOut', message));
    });
    try {
      const chunks = await this.#http.open(workRequest(session, reports), either);
      this.#connected = true;
      this.#reports = reports;
      silence.listen();
      yield { type: 'opened' };
      for await (const line of linesOf(chunks, MAX_LINE_BYTES)) {
        // What the consumer takes over one message must not look like silence of the server.
        silence.pause();
        const message = this.#parse(line);
        if (message?.type === 'reported') reports?.answered(message.sequence, message);
        else if (message?.type === 'reportRefused') reports?.refused(message.message);
        else if (message !== undefined) {
          if (message.type === 'heartbeat') this.#http.nextLeader = message.nextLeader;
          yield message;
        }
        silence.listen();
      }
    } catch (error) {
      if (error instanceof ControlError && error.code === 'Unauthenticated') {
        this.#session.invalidate(session);
      }
      throw ending.signal.aborted ? ending.signal.reason : error;
    } finally {
      silence.pause();
      this.#connected = false;
      this.#reports = undefined;
      reports?.end();
      ending.abort();
      // Its pod may be gone, and a connection to an address that nobody has takes its time to fail.
      this.#http.forgetLeader();
    }
  }

  /** A line that this version does not understand is passed over: the others still count. */
  #parse(line: string): WorkMessage | undefined {
    try {
      return parseWorkMessage(JSON.parse(line));
    } catch (cause) {
      const why = cause instanceof Error && 'code' in cause ? cause.message : 'it is not JSON';
      this.#onProblem(new ControlError('InvalidAnswer', `work stream: ${why}`, { cause }));
      return undefined;
    }
  }

  /** With a session; bought anew once when it is not accepted. */
  async #post<T>(path: string, body: unknown, parse: Parser<T>, signal: AbortSignal): Promise<T> {
    const first = await this.#sessionUnless(signal);
    try {
      return await this.#call(first.sessionToken, path, body, parse, signal);
    } catch (error) {
      if (!(error instanceof ControlError) || error.code !== 'Unauthenticated') throw error;
      this.#session.invalidate(first);
      const { sessionToken } = await this.#sessionUnless(signal);
      return this.#call(sessionToken, path, body, parse, signal);
    }
  }

  #call<T>(
    bearer: string,
    path: string,
    body: unknown,
    parse: Parser<T>,
    signal: AbortSignal,
  ): Promise<T> {
    return this.#http.call({ method: 'POST', path, bearer, body }, parse, signal);
  }
}

function reportStreamFor({ protocolVersion }: SessionGrant): ReportStream | undefined {
  return protocolVersion >= REPORTS_BY_WORK_STREAM ? new ReportStream() : undefined;
}

function workRequest(
  { sessionToken: bearer }: SessionGrant,
  reports: ReportStream | undefined,
): ControlRequest {
  const path = '/v1/work';
  if (reports === undefined) return { method: 'GET', path, bearer };
  return { method: 'POST', path, bearer, lines: () => reports.body() };
}
