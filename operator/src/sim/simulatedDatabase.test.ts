import { SeededRandom } from '@sluice/engine/sim/seededRandom.ts';
import { VirtualClock } from '@sluice/engine/sim/virtualClock.ts';
import { describe, expect, it } from 'vitest';
import { documentId, type JournalDocument } from '../quota/entries.ts';
import { emptyLedger, toSnapshot } from '../quota/ledger.ts';
import { type ChanceFault, Faults } from './faults.ts';
import { Machine } from './machine.ts';
import { SimulatedDatabase } from './simulatedDatabase.ts';

const HOST = 'a.example.com';
const DOCUMENTS = 40;
const FENCES = [1, 17];
const MARK = { host: HOST, identity: 'a', sequence: 8_000, trafficBytes: 0, periodStartMs: 0 };
const { signal } = new AbortController();

class OnlyFault extends Faults {
  kind: ChanceFault | undefined;

  override happens(kind: ChanceFault): boolean {
    return kind === this.kind;
  }
}

async function aJournal(seed: number) {
  const clock = new VirtualClock();
  const random = new SeededRandom(seed);
  const faults = new OnlyFault(random, 0);
  const database = new SimulatedDatabase(clock, random, faults);
  const machine = new Machine('server-1', clock, { drift: 0, startMs: 0 });
  const store = database.storeOf(machine);
  const reader = database.storeOf(new Machine('server-2', clock, { drift: 0, startMs: 0 }));
  const pass = async <T>(act: Promise<T>) => {
    let outcome: { value: T } | Error | undefined;
    act.then(
      (value) => {
        outcome = { value };
      },
      (error) => {
        outcome = error;
      },
    );
    // Promises settle a few at a time, and nothing else happens here.
    for (let step = 0; step < 20; step += 1) await clock.run(() => false, 500);
    return outcome;
  };
  for (let sequence = 1; sequence <= DOCUMENTS; sequence += 1) {
    await pass(store.insert(aDocument(sequence), signal));
  }
  const sequences = async () => {
    const found: number[] = [];
    const read = async () => {
      for await (const { sequence } of reader.after(HOST, 0, signal)) found.push(sequence);
    };
    await pass(read());
    return found;
  };
  const snapshot = async () => {
    const outcome = await pass(reader.loadSnapshot(HOST, signal));
    return outcome !== undefined && 'value' in outcome ? outcome.value?.sequence : undefined;
  };
  return { store, faults, machine, database, clock, pass, sequences, snapshot };
}

function aDocument(sequence: number): JournalDocument {
  const fence = FENCES.includes(sequence);
  const _id = documentId(HOST, sequence);
  return { _id, origin: HOST, sequence, term: 1, nonce: 'a', fence, entries: [] };
}

const snapshotAt = (sequence: number) => ({
  origin: HOST,
  sequence,
  ledger: toSnapshot(emptyLedger),
});

describe('the simulated database', () => {
  it('removes what is asked for, and never a fence', async () => {
    const { store, pass, sequences, database } = await aJournal(1);
    expect(await pass(store.prune(HOST, 30, signal))).toEqual({ value: undefined });
    expect(await sequences()).toEqual([...FENCES, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40]);
    expect(database.journals.prunedDocuments).toBe(28);
  });

  it.each([
    ['pruneBreaksOff', true],
    ['leaderCrashesAmidPrune', false],
  ] as const)('leaves any part of it when %s', async (kind, isAlive) => {
    const left = new Set<string>();
    for (let seed = 1; seed <= 5; seed += 1) {
      const { store, faults, machine, pass, sequences } = await aJournal(seed);
      faults.kind = kind;
      const outcome = await pass(store.prune(HOST, 30, signal));
      expect(outcome).toEqual(isAlive ? new Error('the operation was interrupted') : undefined);
      expect(machine.isAlive).toBe(isAlive);
      faults.kind = undefined;
      const found = await sequences();
      expect(found).toEqual(expect.arrayContaining([...FENCES, 31, DOCUMENTS]));
      left.add(found.join());
    }
    expect(left.size).toBe(5);
  });

  it('keeps a part of what was removed when its primary changes meanwhile', async () => {
    const { store, pass, sequences, database, clock } = await aJournal(3);
    database.alone(5_000);
    const outcome = await pass(store.prune(HOST, 30, signal));
    expect(outcome).toBeInstanceOf(Error);
    await clock.run(() => false, 10_000);
    const { length } = await sequences();
    expect(length).toBeGreaterThan(12);
    expect(length).toBeLessThan(DOCUMENTS);
  });

  it.each([
    ['leaderCrashesBeforeSnapshot', [20, 30]],
    ['leaderCrashesAfterSnapshot', [30]],
  ] as const)('has the old or the new snapshot when %s', async (kind, may) => {
    const found = new Set<number | undefined>();
    for (let seed = 1; seed <= 12; seed += 1) {
      const { store, faults, machine, pass, snapshot } = await aJournal(seed);
      await pass(store.saveSnapshot(snapshotAt(20), signal));
      faults.kind = kind;
      expect(await pass(store.saveSnapshot(snapshotAt(30), signal))).toBeUndefined();
      expect(machine.isAlive).toBe(false);
      faults.kind = undefined;
      found.add(await snapshot());
    }
    expect([...found].sort()).toEqual(may);
  });

  it('goes back to a backup, and takes nothing that was sent before', async () => {
    const { store, database, clock, pass, sequences } = await aJournal(1);
    const marks = new Map([[HOST, { ...MARK, written: DOCUMENTS + 1 }]]);
    expect(database.restore(marks)).toBe(false);
    database.backUp();
    await pass(store.insert(aDocument(DOCUMENTS + 1), signal));
    expect(database.restore(new Map())).toBe(false);
    const late = store.insert(aDocument(DOCUMENTS + 2), signal).catch((error) => error);
    expect(database.restore(marks)).toBe(true);
    await clock.run(() => false, 10_000);
    expect(await late).toBeInstanceOf(Error);
    expect(await sequences()).toHaveLength(DOCUMENTS);
  });

  it.each([
    [DOCUMENTS, false],
    [DOCUMENTS + 1, true],
  ])('goes back where the mark says that %i documents were written: %s', async (written, may) => {
    const { store, database, pass } = await aJournal(1);
    database.backUp();
    await pass(store.insert(aDocument(DOCUMENTS + 1), signal));
    expect(database.restore(new Map([[HOST, { ...MARK, written }]]))).toBe(may);
  });

  it('keeps the newer of two snapshots', async () => {
    const { store, pass, snapshot, database } = await aJournal(1);
    await pass(store.saveSnapshot(snapshotAt(30), signal));
    await pass(store.saveSnapshot(snapshotAt(20), signal));
    expect(await snapshot()).toBe(30);
    expect(database.journals).toMatchObject({ snapshots: 1, snapshotsRead: 1 });
  });
});
