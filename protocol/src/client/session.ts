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

/** A session is renewed when this part of its life is left, so that no request meets its end. */
const RENEW_AT = 1 / 3;

const NEVER = new AbortController().signal;

interface Session {
  readonly grant: SessionGrant;
  readonly renewAtMs: number;
}

/** Buys sessions with the projected token and keeps the one in use, over reconnects too. */
export class SessionKeeper {
  readonly #options: SessionOptions;
  readonly #http: ControlHttp;
  #session: Session | undefined;
  #protocolVersion: number | undefined;
  #buying: Promise<SessionGrant> | undefined;

  constructor(options: SessionOptions, http: ControlHttp) {
    this.#options = options;
    this.#http = http;
  }

  /** Callers at the same time share one purchase, so none of them can abort it; it has a time-out. */
  async current(): Promise<SessionGrant> {
    if (this.#session !== undefined && performance.now() < this.#session.renewAtMs) {
      return this.#session.grant;
    }
    this.#buying ??= this.#buy().finally(() => {
      this.#buying = undefined;
    });
    return this.#buying;
  }

  /** Of the session that was bought last; undefined: there was none. */
  get protocolVersion(): number | undefined {
    return this.#protocolVersion;
  }

  /** The control server did not accept it. */
  invalidate(refused: SessionGrant): void {
    if (this.#session?.grant === refused) this.#session = undefined;
  }

  async #buy(): Promise<SessionGrant> {
    const { protocolVersions, tokenFile, kind, incarnation, bitTorrentPort, httpPort } =
      this.#options;
    const askedAtMs = performance.now();
    const bearer = await readCredential(tokenFile, 'token');
    const body = {
      protocolVersions,
      kind,
      incarnation,
      bitTorrentPort,
      ...(httpPort !== undefined && { httpPort }),
    };
    const grant = await this.#http.call(
      { method: 'POST', path: '/v1/session', bearer, body },
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
    this.#session = { grant, renewAtMs: askedAtMs + lifeMs * (1 - RENEW_AT) };
    return grant;
  }
}
