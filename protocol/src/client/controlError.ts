export type ControlErrorCode =
  /** No connection, a certificate that the CA does not cover, or a connection that broke. */
  | 'Unreachable'
  | 'TimedOut'
  | 'Aborted'
  /** The token or the session is not accepted. */
  | 'Unauthenticated'
  /** The control server said no; `apiCode` says why. Repeating does not help. */
  | 'Refused'
  /** 5xx, 429, or a server that knows no leader: later it may work. */
  | 'Unavailable'
  /** Not what the protocol says, or longer than its bounds. */
  | 'InvalidAnswer'
  /** Both sides have no version of the protocol in common; the message says which to upgrade. */
  | 'UnknownVersion'
  /** The CA file or the token file is missing or empty. */
  | 'CredentialsMissing';

const TRANSIENT: ReadonlySet<ControlErrorCode> = new Set([
  'Unreachable',
  'TimedOut',
  'Unavailable',
  'CredentialsMissing',
]);

export interface ControlErrorDetails {
  readonly cause?: unknown;
  readonly status?: number | undefined;
  /** The `code` of the control server's ApiError. */
  readonly apiCode?: string | undefined;
  /** When the control server wants to be asked again. */
  readonly retryAfterMs?: number | undefined;
}

export class ControlError extends Error {
  readonly code: ControlErrorCode;
  readonly status: number | undefined;
  readonly apiCode: string | undefined;
  readonly retryAfterMs: number | undefined;

  constructor(code: ControlErrorCode, message: string, details: ControlErrorDetails = {}) {
    super(message, { cause: details.cause });
    this.name = 'ControlError';
    this.code = code;
    this.status = details.status;
    this.apiCode = details.apiCode;
    this.retryAfterMs = details.retryAfterMs;
  }

  /** Whether the same request may be answered when it is sent again. */
  get transient(): boolean {
    return TRANSIENT.has(this.code);
  }
}
