/**
 * A control server that is killed while it grants, and the next one that goes on: real processes
 * over a real database. Holders are here, for they outlive it, and what they were answered is what
 * was acknowledged. The judge is the journal, read document by document while it is written.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { systemClock } from '@sluice/engine/adapters/systemClock.ts';
import { SeededRandom } from '@sluice/engine/sim/seededRandom.ts';
import { afterAll, beforeAll, describe, expect, it, onTestFailed, onTestFinished } from 'vitest';
import { LeaseServer, type LeaseServerOptions } from '../testing/adapters/leaseServer.ts';
import { type TestDatabase, testDatabases } from '../testing/adapters/testDatabase.ts';
import { CrashHolders, type Told } from '../testing/crashHolders.ts';
import { fasterClock } from '../testing/fasterClock.ts';
import { aLeasedDistribution } from '../testing/leasing.ts';
import type { Entry } from './entries.ts';
import { Journal } from './journal.ts';
import { MongoJournalStore } from './journalStore.ts';
import { apply, emptyLedger, type Ledger, toSnapshot, usageOf } from './ledger.ts';

const KILLS = 10;
/** A lease lives two thirds of a second, and documents stay for two seconds. */
const CLOCK_FACTOR = 15;
/**
 * By term: one goes on into the removal of what a snapshot holds, one is killed while it grants, and
 * one perhaps before, while it reads and fences.
 */
const LIVES = [
  { grants: true, leastMs: 2_000, randomMs: 1_000 },
  { grants: true, leastMs: 0, randomMs: 600 },
  { grants: false, leastMs: 0, randomMs: 400 },
] as const;
/** So many answers, and whoever leads has been heard by most holders. */
const WORD_OF_ALL = 24;
/** Documents are to be read here before they are pruned. */
const READ_EVERY_MS = 600;

const MIB = 1024 * 1024;
const LIMITS = { maxConnections: 24, maxBandwidthBytesPerSecond: 48 * MIB };
/** The first is not short of traffic; the second has used it up before the last server is killed. */
const ORIGINS = [
  { host: 'cdn.example.com', uid: 'plenty', trafficBytes: 1024 * 1024 * MIB, holders: 24 },
  { host: 'small.example.com', uid: 'scarce', trafficBytes: 256 * MIB, holders: 6 },
] as const;

const { signal } = new AbortController();

/** Of every second piece: grants of many extents, whose documents are soon worth a snapshot. */
const PIECES = { pieceCount: 16_384, pieceLengthBytes: 8_192 };
const KEPT = Array.from({ length: PIECES.pieceCount / 2 }, (_, at) => ({
  first: 2 * at,
  count: 1,
}));

function optionsFor(uri: string): LeaseServerOptions {
  return {
    uri,
    clockFactor: CLOCK_FACTOR,
    origins: ORIGINS.map(({ host, uid, trafficBytes }) => {
      const maxTraffic = { bytes: trafficBytes, periodSeconds: 86_400 };
      return { name: uid, hosts: [host], limits: { ...LIMITS, maxTraffic } };
    }),
    distributions: ORIGINS.map(({ host, uid }) =>
      aLeasedDistribution({
        ...PIECES,
        uid,
        url: `http://${host}/file`,
        donated: { kept: KEPT, signed: [], signers: new Set() },
      }),
    ),
  };
}

/** Reads a journal while it is written, and folds all of it. */
class Reader {
  readonly host: string;
  readonly fences: number[] = [];
  ledger: Ledger = emptyLedger;
  sequence = 0;
  readonly #entries = new Map<string, Entry[]>();
  readonly #store: MongoJournalStore;
  readonly #trafficBytes: number;

  constructor(store: MongoJournalStore, host: string, trafficBytes: number) {
    this.#store = store;
    this.host = `${host}:80`;
    this.#trafficBytes = trafficBytes;
  }

  async readOn(): Promise<void> {
    for await (const document of this.#store.after(this.host, this.sequence, signal)) {
      expect(document.sequence, `after ${this.sequence} at ${this.host}`).toBe(this.sequence + 1);
      this.sequence = document.sequence;
      if (document.fence) this.fences.push(document.sequence);
      for (const entry of document.entries) this.#read(entry);
    }
  }

  #read(entry: Entry): void {
    this.ledger = apply(this.ledger, entry);
    const { connections, windowBytes, trafficBytes } = usageOf(this.ledger);
    const isWithin =
      connections <= LIMITS.maxConnections &&
      windowBytes <= LIMITS.maxBandwidthBytesPerSecond &&
      trafficBytes <= this.#trafficBytes;
    if (!isWithin) expect.fail(`over the limits after ${JSON.stringify(entry)}`);
    if (!('leaseId' in entry)) return;
    const known = this.#entries.get(entry.leaseId);
    if (known === undefined) this.#entries.set(entry.leaseId, [entry]);
    else known.push(entry);
  }

  /** Whether it is written what a holder was told. */
  has(told: Told): boolean {
    if (told.of === 'end') {
      return (this.#entries.get(told.leaseId) ?? []).some(
        (entry) =>
          // Closed, it is charged whole.
          entry.kind === 'close' || (entry.kind === 'settle' && entry.usedBytes >= told.usedBytes),
      );
    }
    const { leaseId, version, connections, rateBytesPerSecond, slackBytes, maxBytes } = told.grant;
    return (this.#entries.get(leaseId) ?? []).some((entry) => {
      if (entry.kind !== 'grant' && entry.kind !== 'renew') return false;
      const written = { version: entry.kind === 'grant' ? 1 : entry.version, ...entry.terms };
      return (
        written.version === version &&
        written.connections === connections &&
        written.rateBytesPerSecond === rateBytesPerSecond &&
        written.slackBytes === slackBytes &&
        written.maxBytes === maxBytes
      );
    });
  }
}

/** With what is open in one order, whoever folded it. */
function stateOf(ledger: Ledger) {
  const { leases, ...rest } = toSnapshot(ledger);
  return { ...rest, leases: leases.toSorted((a, b) => (a.leaseId < b.leaseId ? -1 : 1)) };
}

describe.each(await testDatabases())('a control server over %s', (_name, start) => {
  let database: TestDatabase;
  let store: MongoJournalStore;

  beforeAll(async () => {
    database = await start();
    store = new MongoJournalStore(database.database);
    await store.prepare();
  });

  afterAll(() => database.stop());

  /** What the next leader would make of what there is now. It leaves a fence. */
  async function replayed(host: string): Promise<Ledger> {
    const journal = new Journal(
      { origin: host, term: KILLS + 1, nonce: 'reader' },
      { store, clock: systemClock, wallClock: Date.now, onLost: () => {}, onRetry: () => {} },
    );
    await journal.open(signal);
    journal.close();
    return journal.ledger;
  }

  async function storedSequences(origin: string, isFence: boolean): Promise<number[]> {
    const journal = database.database.collection<{ sequence: number }>('journal');
    const found = await journal.find({ origin, fence: isFence }).sort({ sequence: 1 }).toArray();
    return found.map(({ sequence }) => sequence);
  }

  /** Its first document was a fence. */
  async function isPruned({ host }: Reader): Promise<boolean> {
    const [first = 0] = await storedSequences(host, false);
    return first > 2;
  }

  it('loses nothing that it has acknowledged and exceeds no limit, whenever it is killed', async () => {
    const seed = Number(process.env.SEED ?? Date.now() % 1_000_000);
    onTestFailed(() => console.error(`SEED=${seed}`));
    const random = new SeededRandom(seed);
    const options = optionsFor(database.uri);
    const readers = ORIGINS.map(({ host, trafficBytes }) => new Reader(store, host, trafficBytes));
    const readAll = () => Promise.all(readers.map((reader) => reader.readOn()));
    const holders = new CrashHolders({
      server: await LeaseServer.start(options),
      clock: fasterClock(systemClock, CLOCK_FACTOR),
      random,
      limits: LIMITS,
    });
    onTestFinished(async () => {
      holders.isOver = true;
      await holders.server.kill();
    });
    const running = ORIGINS.flatMap(({ uid, holders: count }) =>
      Array.from({ length: count }, (_, at) => holders.run(`${uid}-${at}`, uid)),
    );
    const goOnFor = async (ms: number) => {
      const endsAtMs = performance.now() + ms;
      for (let left = ms; left > 0; left = endsAtMs - performance.now()) {
        await sleep(Math.min(READ_EVERY_MS, left));
        await readAll();
      }
    };
    let [checked, underWay] = [0, 0];
    for (let term = 1; term <= KILLS; term += 1) {
      const standby = LeaseServer.start(options);
      holders.server.lead(term);
      const life = LIVES[term % LIVES.length] as (typeof LIVES)[number];
      if (life.grants) {
        const told = () => holders.told.length;
        await expect.poll(told, { timeout: 20_000 }).toBeGreaterThan(checked + WORD_OF_ALL);
      }
      await goOnFor(life.leastMs + random.below(life.randomMs));
      while (term === KILLS && !(await isPruned(readers[0] as Reader))) {
        await goOnFor(READ_EVERY_MS);
      }
      const next = await standby;
      const killed = holders.server;
      underWay += killed.unanswered;
      await killed.kill();
      // Nobody writes now.
      await readAll();
      const missing = holders.told
        .slice(checked)
        .filter((told) => !readers.some((reader) => reader.has(told)));
      expect(missing, 'acknowledged and not in the journal').toEqual([]);
      checked = holders.told.length;
      holders.server = next;
    }
    holders.isOver = true;
    await holders.server.kill();
    await Promise.all(running);
    expect(underWay, 'requests that were under way').toBeGreaterThan(KILLS);
    expect(holders.excesses).toEqual([]);
    for (const [at, { uid }] of ORIGINS.entries()) {
      const reader = readers[at] as Reader;
      const replay = await replayed(reader.host);
      await reader.readOn();
      expect(stateOf(replay)).toEqual(stateOf(reader.ledger));
      expect(await storedSequences(reader.host, true)).toEqual(reader.fences);
      expect(usageOf(replay).trafficBytes).toBeGreaterThanOrEqual(holders.takenBytes(uid));
    }
    const [, scarce] = ORIGINS;
    const { trafficBytes } = usageOf((readers[1] as Reader).ledger);
    expect(trafficBytes, 'it is used up').toBeGreaterThan(0.95 * scarce.trafficBytes);
  }, 120_000);
});
