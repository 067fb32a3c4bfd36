import { beforeEach, describe, expect, it } from 'vitest';
import { FakeClock, settle } from '../testing/fakeClock.ts';
import { aLeaseService } from '../testing/leasing.ts';
import { MemoryJournal } from '../testing/memoryJournal.ts';
import { documentId } from './entries.ts';
import type { LeaseService } from './leaseService.ts';
import { apply, emptyLedger, usageOf } from './ledger.ts';

const HOST = 'cdn.example.com:80';
const REQUEST = { url: 'http://cdn.example.com/file', uid: 'a', maxBytes: 100_000 };
const NEVER = new AbortController().signal;

let clock: FakeClock;
let journal: MemoryJournal;
let service: LeaseService;
let broken: string[];

beforeEach(async () => {
  clock = new FakeClock();
  journal = new MemoryJournal();
  broken = [];
  service = newService();
  service.lead(1);
  await clock.advance(1);
});

function newService(): LeaseService {
  const made = aLeaseService(
    { store: journal, clock, onBroken: (error) => broken.push(error.message) },
    { defaultLimits: { maxConnections: 1, maxBandwidthBytesPerSecond: 1_000_000 } },
  );
  made.setOrigins([]);
  return made;
}

/** The journal of the host is open from now on. */
async function opened(): Promise<void> {
  const probe = service.charge(REQUEST, NEVER, async () => ({ result: 0, usedBytes: 0 }));
  await clock.advance(500);
  await probe;
}

/** By anybody who reads the journal. */
function openConnections(): number {
  const entries = journal.of(HOST).flatMap((document) => document.entries);
  return usageOf(entries.reduce(apply, emptyLedger)).connections;
}

describe('a probe', () => {
  it('runs under a lease that is durable, and settles what it took', async () => {
    const probe = service.charge(REQUEST, NEVER, async () => ({
      result: openConnections(),
      usedBytes: 500,
    }));
    await clock.advance(500);
    expect(await probe).toBe(1);
    expect(openConnections()).toBe(0);
    expect(service.originBytes('a')).toBe(500);
  });

  it('leaves its connection counted when the origin may have it open still, also when it fails', async () => {
    const probe = service.charge(REQUEST, NEVER, async (_lease, unproven) => {
      unproven(1);
      throw new Error('cut off');
    });
    const failed = expect(probe).rejects.toThrow('cut off');
    await clock.advance(500);
    await failed;
    expect(openConnections()).toBe(1);
    await clock.advance(121_000);
    expect(openConnections()).toBe(0);
  });

  it('is over before its lease is, however slow the origin', async () => {
    let abortedAtMs = Number.NaN;
    const probe = service.charge(REQUEST, NEVER, (lease) => {
      return new Promise((_, reject) => {
        lease.addEventListener('abort', () => {
          abortedAtMs = clock.now();
          reject(new Error('the connection is closed'));
        });
      });
    });
    const refused = expect(probe).rejects.toMatchObject({ code: 'LeaseEnded' });
    await clock.advance(7_000);
    expect(openConnections()).toBe(1);
    await clock.advance(2_000);
    await refused;
    expect(abortedAtMs).toBeLessThan(9_000);
    // Unknown means spent.
    expect(service.originBytes('a')).toBe(REQUEST.maxBytes);
    expect(openConnections()).toBe(0);
  });

  it('asks nothing when its lease was durable too late', async () => {
    await opened();
    journal.fault = () => 'down';
    let asked = false;
    const probe = service.charge(REQUEST, NEVER, async () => {
      asked = true;
      return { result: 0, usedBytes: 0 };
    });
    const refused = expect(probe).rejects.toMatchObject({ code: 'LeaseEnded' });
    await clock.advance(9_000);
    journal.fault = () => 'none';
    await clock.advance(1_000);
    await refused;
    expect(asked).toBe(false);
    expect(openConnections()).toBe(0);
  });

  it('that waits begins when the one before is over, and the next one after it', async () => {
    await opened();
    const begun: string[] = [];
    const ends = new Map<string, () => void>();
    const probes = ['first', 'second', 'third'].map((name) =>
      service.charge(REQUEST, NEVER, async () => {
        begun.push(name);
        const { promise, resolve } = Promise.withResolvers<void>();
        ends.set(name, resolve);
        await promise;
        return { result: 0, usedBytes: 1 };
      }),
    );
    await settle();
    expect(begun).toEqual(['first']);
    ends.get('first')?.();
    await settle();
    expect(begun).toEqual(['first', 'second']);
    ends.get('second')?.();
    await settle();
    expect(begun).toEqual(['first', 'second', 'third']);
    ends.get('third')?.();
    await Promise.all(probes);
  });

  it('that waits hears at once that this replica leads no more', async () => {
    await opened();
    const under = (lease: AbortSignal) =>
      new Promise<never>((_, reject) => {
        lease.addEventListener('abort', () => reject(lease.reason));
      });
    const first = service.charge(REQUEST, NEVER, under);
    const second = service.charge(REQUEST, NEVER, under);
    const ended = expect(first).rejects.toThrow();
    const refused = expect(second).rejects.toMatchObject({ code: 'NotReady' });
    await settle();
    service.stepDown();
    await settle();
    await refused;
    await clock.advance(9_000);
    await ended;
  });

  it('that nobody waits for any more leaves nothing behind', async () => {
    await opened();
    journal.fault = () => 'down';
    const caller = new AbortController();
    const probe = service.charge(REQUEST, caller.signal, async () => ({ result: 0, usedBytes: 0 }));
    const refused = expect(probe).rejects.toThrow('gone');
    await clock.advance(300);
    caller.abort(new Error('gone'));
    await settle();
    await refused;
    journal.fault = () => 'none';
    await clock.advance(1_000);
    expect(openConnections()).toBe(0);
    expect(service.originBytes('a')).toBe(0);
  });
});

describe('a journal with a gap', () => {
  it('grants nothing to its host; the others go on', async () => {
    const use = async () => ({ result: 'asked', usedBytes: 1 });
    await opened();
    journal.documents.delete(documentId(HOST, 2));
    service = newService();
    service.lead(2);
    await clock.advance(100);
    const caller = new AbortController();
    const refused = service.charge(REQUEST, caller.signal, use);
    const other = service.charge({ ...REQUEST, url: 'http://other.example.com/' }, NEVER, use);
    await clock.advance(1_000);
    expect(await other).toBe('asked');
    expect(broken).toEqual([expect.stringContaining(HOST)]);
    caller.abort(new Error('waited in vain'));
    await expect(refused).rejects.toThrow('waited in vain');
  });
});
