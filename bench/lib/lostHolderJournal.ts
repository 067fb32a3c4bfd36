/** Follows the journal of the origin in the cluster's database, as a new leader would read it. */
import { setTimeout as sleep } from 'node:timers/promises';
import { hostOf } from '@sluice/operator/quota/coverage.ts';
import { MongoJournalStore } from '@sluice/operator/quota/journalStore.ts';
import { apply, emptyLedger, fromSnapshot, type Ledger } from '@sluice/operator/quota/ledger.ts';
import { databaseOf, newMongoClient } from '@sluice/operator/store/database.ts';
import type { Cluster } from '../../e2e/cluster/cluster.ts';
import { NAMESPACE } from '../../e2e/install/sluice.ts';

type Client = ReturnType<typeof newMongoClient>;

/** How the ledger was from then on. */
export interface LedgerAt {
  /** Milliseconds since the Unix epoch: when it was read, at most POLL_MS after it was written. */
  readonly atMs: number;
  readonly ledger: Ledger;
}

/** A tenth of what the reaction to a crash is measured by. */
const POLL_MS = 50;

export class JournalWatch {
  readonly #client: Client;
  readonly #store: MongoJournalStore;
  readonly #host: string;
  readonly #closeWay: () => Promise<void>;
  readonly #stop = new AbortController();
  readonly #seen: LedgerAt[] = [];
  #ledger: Ledger = emptyLedger;
  #sequence = 0;
  #last: Promise<void> = Promise.resolve();
  #polling: Promise<void> | undefined;

  private constructor(client: Client, host: string, closeWay: () => Promise<void>) {
    this.#client = client;
    this.#store = new MongoJournalStore(databaseOf(client));
    this.#host = host;
    this.#closeWay = closeWay;
  }

  static async open(cluster: Cluster): Promise<JournalWatch> {
    const pod = ['get', 'pod', 'sluice-mongodb-0', '-n', NAMESPACE];
    const address = await cluster.kubectl([...pod, '-o', 'jsonpath={.status.podIP}']);
    const { port, close } = await cluster.reach(address, 27017);
    const client = newMongoClient(`mongodb://127.0.0.1:${port}/sluice?directConnection=true`);
    return new JournalWatch(client, hostOf(cluster.origin.url), close);
  }

  start(): void {
    this.#polling ??= this.#poll();
    // Whoever asks for the ledger hears of it.
    this.#polling.catch(() => {});
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await this.#polling?.catch(() => {});
    await this.#client.close();
    await this.#closeWay();
  }

  /** With all that was durable when this was called. */
  async now(): Promise<Ledger> {
    const read = this.#last.then(() => this.#read());
    this.#last = read.catch(() => {});
    await read;
    return this.#ledger;
  }

  /** Each change since then, in order; the first is how it was at that time. */
  since(atMs: number): readonly LedgerAt[] {
    const before = this.#seen.findLastIndex((each) => each.atMs <= atMs);
    return this.#seen.slice(Math.max(0, before));
  }

  async #poll(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      await this.now();
      await sleep(POLL_MS);
    }
  }

  async #read(): Promise<void> {
    const { signal } = this.#stop;
    if (this.#sequence === 0) await this.#readSnapshot(signal);
    const before = this.#sequence;
    // By its id: the database reads the whole journal for those after one.
    const isMore = before === 0 || (await this.#store.find(this.#host, before + 1, signal));
    if (!isMore) return;
    for await (const { sequence, entries } of this.#store.after(this.#host, before, signal)) {
      if (this.#sequence > 0 && sequence !== this.#sequence + 1) {
        throw new Error(`the journal has no document ${this.#sequence + 1}`);
      }
      this.#sequence = sequence;
      this.#ledger = entries.reduce(apply, this.#ledger);
    }
    if (this.#sequence > before) this.#seen.push({ atMs: Date.now(), ledger: this.#ledger });
  }

  async #readSnapshot(signal: AbortSignal): Promise<void> {
    const snapshot = await this.#store.loadSnapshot(this.#host, signal);
    if (snapshot === undefined) return;
    this.#sequence = snapshot.sequence;
    this.#ledger = fromSnapshot(snapshot.ledger);
  }
}
