/**
 * The answer, or a DatabaseTimeoutError: the driver's own `timeoutMS` has no effect (version 7.9), and
 * a connection to a server that is frozen or cut off is given up after 20 s only. What was asked for
 * may still be done, later.
 */
export async function inTime<T>(timeoutMs: number, operation: Promise<T>): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new DatabaseTimeoutError(timeoutMs)), timeoutMs);
  try {
    return await Promise.race([operation, late]);
  } finally {
    clearTimeout(timer);
  }
}

export class DatabaseTimeoutError extends Error {
  readonly code = 'DatabaseTimeout';

  constructor(timeoutMs: number) {
    super(`the database has not answered for ${timeoutMs / 1000} s`);
    this.name = 'DatabaseTimeoutError';
  }
}
