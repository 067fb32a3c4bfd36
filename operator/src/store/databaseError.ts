import { MongoNetworkError, MongoServerError, MongoServerSelectionError } from 'mongodb';

const DUPLICATE_KEY = 11_000;

/** The database does not answer; policies/failures.ts knows the code. */
export class DatabaseError extends Error {
  readonly code = 'DatabaseUnavailable';

  constructor(cause: unknown) {
    super('the database does not answer', { cause });
    this.name = 'DatabaseError';
  }
}

/** There is a document of that id. */
export function isDuplicate(error: unknown): boolean {
  return error instanceof MongoServerError && error.code === DUPLICATE_KEY;
}

/** Tells a database that is away from one that objects. */
export async function orDatabaseError<T>(use: Promise<T>): Promise<T> {
  try {
    return await use;
  } catch (error) {
    const isAway = error instanceof MongoServerSelectionError || error instanceof MongoNetworkError;
    throw isAway ? new DatabaseError(error) : error;
  }
}
