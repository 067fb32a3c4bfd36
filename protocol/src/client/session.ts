import type { Clock } from '@sluice/engine/ports/clock.ts';
import type { ProcessKind, SessionGrant } from '../messages.ts';
import { parseSessionGrant } from '../validate.ts';
import { upgradeRemedy } from '../versions.ts';
import { ControlError } from './controlError.ts';
import type { ControlHttp } from './controlHttp.ts';
import { readCredential } from './trust.ts';

export interface SessionOptions {
  /** Of the control protocol: all that this process speaks. */
  readonly protocolVersions: readonly number[];
  /** The projected ServiceAccount token; the kubelet renews the file. */
  readonly tokenFile: string;
  readonly kind: ProcessKind;
  /** Random per process start. */
  readonly incarnation: string;
  readonly bitTorrentPort: number;
  readonly httpPort?: number | undefined;
}

export interface SessionDependencies {
  readonly http: Pick<ControlHttp, 'call'>;
  readonly clock: Pick<Clock, 'now'>;
  /** From 0 to 1, without the 1. */
  readonly random: () => number;
}

const NEVER = new AbortController().signal;

interface Session {
  readonly grant: SessionGrant;
  readonly endsAtMs: number;
  renewAtMs: number;
}

/** Buys sessions with the projected token and keeps the one in use, over reconnects too. */
export class SessionKeeper {
  readonly #options: SessionOptions;
  readonly #deps: SessionDependencies;
  #session: Session | undefined;
  #protocolVersion: number | undefined;
  #buying: Promise<SessionGrant> | undefined;
  /** The control server has said when to ask again. */
  #refusal: { readonly error: ControlError; readonly untilMs: number } | undefined;

  constructor(options: SessionOptions, dependencies: SessionDependencies) {
    this.#options = options;
    this.#deps = dependencies;
  }

  /** Callers at the same time share one purchase, so none of them can abort it; it has a time-out. */
  async current(): Promise<SessionGrant> {
    const session = this.#session;
    if (session !== undefined && this.#deps.clock.now() < session.renewAtMs) return session.grant;
    try {
      this.#keepAway();
      this.#buying ??= this.#buy().finally(() => {
        this.#buying = undefined;
      });
      return await this.#buying;
    } catch (error) {
      if (error instanceof ControlError && error.retryAfterMs !== undefined) {
        this.#refusal = { error, untilMs: this.#deps.clock.now() + error.retryAfterMs };
      }
      if (session === undefined || session !== this.#session) throw error;
      if (!(error instanceof ControlError) || !error.transient) throw error;
      if (!this.#postpone(session)) throw error;
      return session.grant;
    }
  }

  /** Of the session that was bought last; undefined: there was none. */
  get protocolVersion(): number | undefined {
    return this.#protocolVersion;
  }

  /** The control server did not accept it. */
  invalidate(refused: SessionGrant): void {
    if (this.#session?.grant === refused) this.#session = undefined;
  }

  /** Throws what the control server has said, as long as it is to be left alone. */
  #keepAway(): void {
    if (this.#refusal === undefined) return;
    const { error, untilMs } = this.#refusal;
    const retryAfterMs = untilMs - this.#deps.clock.now();
    if (retryAfterMs <= 0) return;
    const { status, apiCode } = error;
    throw new ControlError(error.code, error.message, { status, apiCode, retryAfterMs });
  }

  /**
   * Nobody leads, or the API server is away: the session is good until its end. Whoever waited
   * meanwhile is not to buy in the moment in which the next leader is there. False: it has ended.
   */
  #postpone(session: Session): boolean {
    const now = this.#deps.clock.now();
    const leftMs = session.endsAtMs - now;
    session.renewAtMs = now + (leftMs * this.#deps.random()) / 2;
    return leftMs > 0;
  }

  async #buy(): Promise<SessionGrant> {
    const { protocolVersions, tokenFile, kind, incarnation, bitTorrentPort, httpPort } =
      this.#options;
    const askedAtMs = this.#deps.clock.now();
    const bearer = await readCredential(tokenFile, 'token');
    // One that is good still is used when another one cannot be had soon.
    const isPatient = askedAtMs >= (this.#session?.endsAtMs ?? 0);
    const body = {
      protocolVersions,
      kind,
      incarnation,
      bitTorrentPort,
      ...(httpPort !== undefined && { httpPort }),
    };
    const grant = await this.#deps.http.call(
      { method: 'POST', path: '/v1/session', bearer, body, isPatient },
      parseSessionGrant,
      NEVER,
    );
    const { protocolVersion } = grant;
    if (!protocolVersions.includes(protocolVersion)) {
      const remedy = upgradeRemedy([protocolVersion], protocolVersions);
      const message = `the control server chose version ${protocolVersion} of the protocol, this ${kind} speaks ${protocolVersions.join(', ')}: ${remedy}`;
      throw new ControlError('UnknownVersion', message);
    }
    this.#protocolVersion = protocolVersion;
    const lifeMs = grant.expiresInSeconds * 1000;
    // In the second third of its life: no request meets its end, and what thousands of nodes have
    // bought at once, as when a cluster comes up, is not renewed at once, each with a TokenReview.
    const renewAtMs = askedAtMs + (lifeMs * (1 + this.#deps.random())) / 3;
    this.#session = { grant, endsAtMs: askedAtMs + lifeMs, renewAtMs };
    return grant;
  }
}
