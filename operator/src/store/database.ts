/** The connection to MongoDB, or to a server that speaks its protocol. */
import { type Db, MongoClient } from 'mongodb';

/** To find a server, for a connection that is free, for a new one. */
const WAIT_MS = 5_000;
const SOCKET_TIMEOUT_MS = 20_000;

export function newMongoClient(uri: string): MongoClient {
  return new MongoClient(uri, {
    appName: 'sluice-operator',
    // The journal resolves unknown outcomes itself: see quota/journal.ts.
    retryWrites: false,
    serverSelectionTimeoutMS: WAIT_MS,
    waitQueueTimeoutMS: WAIT_MS,
    connectTimeoutMS: WAIT_MS,
    socketTimeoutMS: SOCKET_TIMEOUT_MS,
    maxPoolSize: 16,
  });
}

/** Named in the connection string, else `sluice`. */
export function databaseOf(client: MongoClient): Db {
  const named = client.options.dbName;
  return client.db(named === undefined || named === 'test' ? 'sluice' : named);
}
