import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { FakeClock, settle } from '../testing/fakeClock.ts';
import { aLeasedDistribution, aLeaseService, anOriginPolicy } from '../testing/leasing.ts';
import { MemoryJournal } from '../testing/memoryJournal.ts';
import { ended, KEY, MIB, PULLER, relay } from '../testing/testLeases.ts';
import { LEADERS } from './leaders.ts';
import type { LeaseService } from './leaseService.ts';
import type { JournalMark } from './marks.ts';

const LIMITS = {
  maxConnections: 4,
  maxBandwidthBytesPerSecond: 8 * MIB,
  maxTraffic: { bytes: 400 * MIB, periodSeconds: 3600 },
};
const LIFE_MS = 10_000;
const WAIT_MS = LIFE_MS + 200;
/** Which pieces relays hold is not known before. */
const UNSURE_MS = 2_000;

/** One Origin whose status is kept by the API server, and leaders over a database that may go back. */
class World {
  readonly clock = new FakeClock();
  journal = new MemoryJournal();
  status: readonly JournalMark[] = [];
  /** Whether the status can be written. */
  apiAnswers = true;
  service = this.#newService();
  #term = 0;
  #sequence = 0;

  async lead(): Promise<void> {
    this.service.stepDown();
    this.service = this.#newService();
    this.service.setDistribution(aLeasedDistribution({ pieceCount: 400 }));
    this.service.setOrigins([anOriginPolicy(LIMITS)]);
    this.#term += 1;
    this.service.lead(this.#term, async () => {
      return new Map(this.status.map((mark) => [mark.host, mark]));
    });
    // Journals are read meanwhile.
    await this.#pass(20);
  }

  async pass(ms: number): Promise<void> {
    await this.#pass(ms);
  }

  /** As the controller does every two seconds, and when it is told. */
  writeStatus(): void {
    const journals = this.service.journalsOf('cdn');
    if (!this.apiAnswers || journals?.marks === undefined) return;
    this.status = journals.marks;
    this.service.marked(this.status);
  }

  async acquire(holder: string) {
    this.#sequence += 1;
    const answer = this.service.answer(relay(holder), {
      op: 'acquire',
      incarnation: holder.padEnd(8, '-'),
      sequence: this.#sequence,
      uid: 'a',
      epoch: 1,
      pullerKey: PULLER,
      wantConnections: 2,
      wantRateBytesPerSecond: 2 * MIB,
      timeToFirstByteMs: 10,
    });
    await settle();
    return answer;
  }

  async settle(holder: string, grant: Parameters<typeof ended>[0], usedBytes: number) {
    this.#sequence += 1;
    const base = { incarnation: holder.padEnd(8, '-'), sequence: this.#sequence };
    const answer = this.service.answer(relay(holder), { ...base, ...ended(grant, usedBytes) });
    await settle();
    return answer;
  }

  /** As it was after so many documents, of which the newest is the last. */
  restore(sequence: number): void {
    for (const document of this.journal.of(KEY)) {
      if (document.sequence > sequence) this.journal.documents.delete(document._id);
    }
    const snapshot = this.journal.snapshots.get(KEY);
    if (snapshot !== undefined && snapshot.sequence > sequence) this.journal.snapshots.clear();
  }

  /** All journals: of each the first so many documents. */
  restoreAll(documents: number): void {
    for (const { _id, sequence } of [...this.journal.documents.values()]) {
      if (sequence > documents) this.journal.documents.delete(_id);
    }
  }

  get sequence(): number {
    return this.journal.of(KEY).at(-1)?.sequence ?? 0;
  }

  get trafficBytes(): number {
    return this.status[0]?.trafficBytes ?? 0;
  }

  #newService(): LeaseService {
    const service = aLeaseService({ store: this.journal, clock: this.clock });
    service.onShort(() => {
      // The request takes a moment.
      this.clock.setTimer(5, () => {
        if (this.service === service) this.writeStatus();
      });
    });
    return service;
  }

  async #pass(ms: number): Promise<void> {
    for (let left = ms; left > 0; left -= 2_000) {
      await this.clock.advance(Math.min(left, 2_000));
      await settle();
      this.writeStatus();
      await settle();
    }
  }
}

let world: World;

beforeEach(async () => {
  world = new World();
  await world.lead();
});

describe('a journal that an Origin covers', () => {
  it('grants only what its status says ahead', async () => {
    world.apiAnswers = false;
    let answered = false;
    const asked = world.acquire('one').then(() => {
      answered = true;
    });
    await world.pass(1_000);
    expect(answered).toBe(false);
    world.apiAnswers = true;
    world.writeStatus();
    await asked;
    const [mark] = world.status;
    expect(mark).toMatchObject({ host: KEY, periodStartMs: expect.any(Number) });
    expect(mark?.sequence).toBeGreaterThan(world.sequence);
    expect(mark?.trafficBytes).toBeGreaterThan(0);
  });

  it('goes on at once with the next leader when nothing is missing', async () => {
    const first = world.acquire('one');
    await world.pass(100);
    await first;
    await world.lead();
    expect(world.service.journalsOf('cdn')?.behind).toEqual([]);
    await world.pass(UNSURE_MS);
    const second = world.acquire('two');
    await world.pass(100);
    expect((await second).outcome).toBe('granted');
  });

  it.each([
    ['is restored', (it: World) => it.restore(2)],
    ['is empty', (it: World) => it.restore(0)],
    [
      'is another one, with more in it',
      (it: World) => {
        it.restore(0);
        for (let sequence = 1; sequence <= 12; sequence += 1) {
          it.journal.documents.set(`${KEY}/${sequence}`, {
            _id: `${KEY}/${sequence}`,
            origin: KEY,
            sequence,
            term: 1,
            nonce: 'stranger',
            fence: true,
            entries: [{ kind: 'fence', term: 1, identity: 'stranger' }],
          });
        }
      },
    ],
    [
      'went back under a leader that went on',
      (it: World) => {
        for (const sequence of [2, 3]) it.journal.documents.delete(`${KEY}/${sequence}`);
      },
    ],
  ] as const)(
    'grants nothing for a lease’s life when its database %s, then from the mark',
    async (_what, lose) => {
      for (const name of ['one', 'two']) {
        const answer = world.acquire(name);
        await world.pass(2_000);
        expect((await answer).outcome).toBe('granted');
      }
      const { sequence: marked } = world.status[0] as JournalMark;
      lose(world);
      const charged = world.trafficBytes;
      await world.lead();
      const [behind] = world.service.journalsOf('cdn')?.behind ?? [];
      expect(behind?.host).toBe(KEY);
      const early = await world.acquire('three');
      expect(early).toMatchObject({ outcome: 'wait', reason: 'NotReady' });
      await world.pass(LIFE_MS - 1_000);
      expect(await world.acquire('three')).toMatchObject({ outcome: 'wait' });
      // Meanwhile the status keeps the mark.
      expect(world.status[0]?.sequence).toBe(marked);
      await world.pass(1_500);
      expect(world.service.journalsOf('cdn')?.behind).toEqual([]);
      await world.pass(UNSURE_MS);
      const later = world.acquire('three');
      await world.pass(100);
      expect((await later).outcome).toBe('granted');
      expect(world.sequence).toBeGreaterThan(marked);
      expect(world.trafficBytes).toBeGreaterThanOrEqual(charged);
      // And the next leader knows it.
      await world.lead();
      expect(world.service.journalsOf('cdn')?.behind).toEqual([]);
    },
  );

  it('leads on after its whole database went back under a leader that went on', async () => {
    const first = world.acquire('one');
    await world.pass(4_000);
    await first;
    world.restoreAll(1);
    // Fenced, and confirmed, behind what is missing.
    world.service.setDistribution(
      aLeasedDistribution({ uid: 'b', url: 'http://other.example.com/file' }),
    );
    await world.pass(1_000);
    expect(world.journal.of(LEADERS).map(({ sequence }) => sequence)).toEqual([1, 3]);
    await world.lead();
    expect(world.service.journalsOf('cdn')?.behind).toHaveLength(1);
    expect(world.service.journalsOf('cdn')?.trouble).toBeUndefined();
    expect(world.journal.of(LEADERS).map(({ sequence }) => sequence)).toEqual([1, 3, 4, 5]);
    await world.pass(WAIT_MS + UNSURE_MS);
    const later = world.acquire('two');
    await world.pass(100);
    expect((await later).outcome).toBe('granted');
  });

  it('goes on behind a restart that lost what it followed, before the status knew of it', async () => {
    for (const name of ['one', 'two']) {
      const answer = world.acquire(name);
      await world.pass(2_000);
      await answer;
    }
    const { sequence: marked } = world.status[0] as JournalMark;
    world.restore(2);
    world.apiAnswers = false;
    await world.lead();
    await world.pass(WAIT_MS);
    expect(world.sequence).toBe(marked + 1);
    world.journal.documents.delete(`${KEY}/2`);
    await world.lead();
    world.apiAnswers = true;
    await world.pass(WAIT_MS + UNSURE_MS);
    expect(world.service.journalsOf('cdn')?.behind).toEqual([]);
    const later = world.acquire('three');
    await world.pass(100);
    expect((await later).outcome).toBe('granted');
  });

  it('is not behind twice when the leader ends before the status says that it went on', async () => {
    const first = world.acquire('one');
    await world.pass(4_000);
    await first;
    world.restore(0);
    await world.lead();
    world.apiAnswers = false;
    await world.pass(WAIT_MS);
    expect(world.journal.of(KEY).map(({ entries }) => entries[0]?.kind)).toEqual(['restart']);
    await world.lead();
    expect(world.service.journalsOf('cdn')?.behind).toEqual([]);
  });
});

type Step =
  | { kind: 'acquire' | 'settle'; holder: number; used: number }
  | { kind: 'pass'; ms: number }
  | { kind: 'lead' }
  | { kind: 'restore'; back: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constantFrom('acquire' as const, 'acquire' as const, 'settle' as const),
      holder: fc.nat(4),
      used: fc.nat(100),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('pass' as const), ms: fc.nat(8_000) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('lead' as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('restore' as const), back: fc.nat(30) }) },
);

describe('whatever the database goes back to', () => {
  it('no two allowances are in use, as those who hold leases count', async () => {
    let [granted, restored] = [0, 0];
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 8, maxLength: 40 }), async (steps) => {
        const world = new World();
        await world.lead();
        /** What holders have, by their own clock: the server is not asked. */
        const held = new Map<string, { grant: Parameters<typeof ended>[0]; untilMs: number }>();
        let usedBytes = 0;
        const check = () => {
          const now = world.clock.now();
          let [connections, rates] = [0, 0];
          for (const [holder, { grant, untilMs }] of held) {
            if (untilMs <= now) {
              // It may have taken all of it.
              usedBytes += grant.maxBytes;
              held.delete(holder);
              continue;
            }
            connections += grant.connections;
            rates += grant.rateBytesPerSecond + grant.slackBytes;
          }
          const open = [...held.values()].reduce((sum, { grant }) => sum + grant.maxBytes, 0);
          expect(connections).toBeLessThanOrEqual(LIMITS.maxConnections);
          expect(rates).toBeLessThanOrEqual(LIMITS.maxBandwidthBytesPerSecond);
          expect(usedBytes + open).toBeLessThanOrEqual(LIMITS.maxTraffic.bytes);
        };
        for (const each of steps) {
          if (each.kind === 'pass') await world.pass(each.ms);
          if (each.kind === 'lead') await world.lead();
          if (each.kind === 'restore') {
            // What a backup that is older than the status has.
            const { written = 0 } = world.status[0] ?? {};
            const sequence = Math.max(0, Math.min(written - 1, world.sequence - each.back));
            if (written === 0) continue;
            world.restore(sequence);
            restored += 1;
            await world.lead();
          }
          const holder = 'holder' in each ? `h${each.holder}` : '';
          if (each.kind === 'acquire' && !held.has(holder)) {
            const requestedAtMs = world.clock.now();
            const asked = world.acquire(holder);
            await world.pass(20);
            const answer = await Promise.race([asked, settle()]);
            if (answer?.outcome === 'granted') {
              granted += 1;
              held.set(holder, { grant: answer.grant, untilMs: requestedAtMs + LIFE_MS });
            }
          }
          const own = held.get(holder);
          if (each.kind === 'settle' && own !== undefined) {
            const used = Math.floor((own.grant.maxBytes * each.used) / 100);
            usedBytes += used;
            held.delete(holder);
            void world.settle(holder, own.grant, used).catch(() => {});
            await world.pass(20);
          }
          check();
        }
      }),
      { numRuns: 50 },
    );
    // Not for want of anything granted, or lost.
    expect(granted).toBeGreaterThan(50);
    expect(restored).toBeGreaterThan(15);
  }, 60_000);
});
