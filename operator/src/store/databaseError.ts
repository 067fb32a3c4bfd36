import { MongoNetworkError, MongoServerSelectionError } from 'mongodb';

/** The database does not answer; policies/failures.ts knows the code. */
export class DatabaseError extends Error {
  readonly code = 'DatabaseUnavailable';

  constructor(cause: unknown) {
    super('the database does not answer', { cause });
    this.name = 'DatabaseError';
  }
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
