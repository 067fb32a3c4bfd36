/** A refusal of the control API: what the caller is told. */
export class ApiRefusal extends Error {
  readonly status: number;
  readonly code: string;
  /** When it may ask again. */
  readonly retryAfterSeconds: number | undefined;

  constructor(status: number, code: string, message: string, retryAfterSeconds?: number) {
    super(message);
    this.name = 'ApiRefusal';
    this.status = status;
    this.code = code;
    this.retryAfterSeconds = retryAfterSeconds;
  }
}
