import type { LeaseGrant } from '@sluice/protocol/leaseMessages.ts';
import { describe, expect, it } from 'vitest';
import { NewerSchemaError } from '../store/schema.ts';
import { FakeClock, settle } from '../testing/fakeClock.ts';
import { aLeasedDistribution, aLeaseService, anOriginPolicy } from '../testing/leasing.ts';
import { MemoryJournal } from '../testing/memoryJournal.ts';
import { ended, KEY, LIMITS, PULLER, relay, renewal, TestLeases } from '../testing/testLeases.ts';
import type { JournalDocument } from './entries.ts';
import { LEADERS } from './leaders.ts';
import type { JournalMark } from './marks.ts';

const UNPROVEN = { connections: 1, slackBytes: 1000 };
const OTHER = 'other.example.com:80';

/** Of which a newer release has written one. */
class MixedJournal extends MemoryJournal {
  newer: string | undefined;

  override async *after(
    origin: string,
    sequence: number,
  ): AsyncGenerator<JournalDocument, void, undefined> {
    if (origin === this.newer) throw new NewerSchemaError(`document ${origin}/1`, 2, 1);
    yield* super.after(origin, sequence);
  }
}

async function leading(newer: string, marks: () => Promise<Map<string, JournalMark>>) {
  const clock = new FakeClock();
  const store = new MixedJournal();
  store.newer = newer;
  const [broken, lost]: [Error[], Error[]] = [[], []];
  const service = aLeaseService({
    store,
    clock,
    onBroken: (error) => broken.push(error),
    onLost: (error) => lost.push(error),
  });
  service.setOrigins([
    anOriginPolicy(LIMITS),
    anOriginPolicy(LIMITS, { name: 'other', hosts: ['other.example.com'] }),
  ]);
  service.setDistribution(aLeasedDistribution());
  service.setDistribution(aLeasedDistribution({ uid: 'b', url: 'http://other.example.com/file' }));
  service.lead(1, marks);
  for (let at = 0; at < 3; at += 1) {
    await settle();
    await clock.advance(3_000);
  }
  const acquire = async (uid: string) => {
    const answer = service.answer(relay('r'), {
      op: 'acquire',
      incarnation: 'r-------',
      sequence: uid.charCodeAt(0),
      uid,
      epoch: 1,
      pullerKey: PULLER,
      wantConnections: 1,
      wantRateBytesPerSecond: 1e6,
    });
    await settle();
    // Whoever is granted something waits for the mark in the status.
    for (const name of ['cdn', 'other']) {
      service.marked(service.journalsOf(name)?.marks ?? []);
    }
    await settle();
    return answer;
  };
  return { service, store, broken, lost, acquire };
}

describe('a journal that a newer release has written', () => {
  it('stops what it counts, says so, is not written to, and leaves the other origins alone', async () => {
    const { service, store, broken, lost, acquire } = await leading(KEY, async () => new Map());
    expect(await acquire('a')).toMatchObject({ outcome: 'wait', reason: 'NotReady' });
    expect(service.journalsOf('cdn')?.trouble).toMatchObject({ reason: 'NewerSchema' });
    expect(service.journalsOf('cdn')?.trouble?.message).toContain(`document ${KEY}/1`);
    expect(store.of(KEY)).toEqual([]);
    expect(await acquire('b')).toMatchObject({ outcome: 'granted' });
    expect(service.journalsOf('other')?.trouble).toBeUndefined();
    expect(store.of(OTHER)).not.toEqual([]);
    // Once: trying again would not help.
    expect(broken).toHaveLength(1);
    expect(lost).toEqual([]);
  });

  it('of the leaders stops everything, and the marks in the status stay as they are', async () => {
    const { service, store, acquire } = await leading(LEADERS, async () => new Map());
    expect(await acquire('a')).toMatchObject({ outcome: 'wait', reason: 'NotReady' });
    for (const name of ['cdn', 'other']) {
      expect(service.journalsOf(name)).toMatchObject({
        marks: undefined,
        trouble: { reason: 'NewerSchema' },
      });
    }
    expect(store.of(LEADERS)).toEqual([]);
  });

  it('is known by its mark, too', async () => {
    const error = new NewerSchemaError('the mark of a host', 2, 1);
    const { service, acquire } = await leading('none', () => Promise.reject(error));
    expect(await acquire('a')).toMatchObject({ outcome: 'wait', reason: 'NotReady' });
    expect(service.journalsOf('cdn')?.trouble).toEqual({
      reason: 'NewerSchema',
      message: error.message,
    });
  });
});

/** A relay has a lease at each of two hosts when a leader comes who cannot read one's journal. */
class TwoHosts extends TestLeases {
  override readonly journal = new MixedJournal();
  override service = this.newService();

  static async between(): Promise<{ hosts: TwoHosts; there: LeaseGrant; other: LeaseGrant }> {
    const hosts = new TwoHosts();
    hosts.distribute();
    await hosts.lead(1);
    const there = await hosts.acquire('r');
    const other = await hosts.acquire('r', { uid: 'b' });
    await hosts.leads(KEY);
    return { hosts, there, other };
  }

  distribute(): void {
    const url = 'http://other.example.com/file';
    this.service.setDistribution(aLeasedDistribution());
    this.service.setDistribution(aLeasedDistribution({ uid: 'b', url }));
  }

  async leads(unreadable: string | undefined): Promise<void> {
    this.journal.newer = unreadable;
    await this.lead(2);
    await this.clock.advance(3_000);
  }
}

describe('the end of a lease whose journal cannot be read', () => {
  it('is heard where the origin has proven it: nothing else of it is there to say', async () => {
    const { hosts, there, other } = await TwoHosts.between();
    expect(await hosts.ask('r', renewal(there, 0))).toMatchObject({ reason: 'NotReady' });
    expect(await hosts.ask('r', ended(there, 1))).toEqual({ outcome: 'settled' });
    expect(await hosts.ask('r', ended(other, 1))).toEqual({ outcome: 'settled' });
    expect(await hosts.ask('r', { op: 'acquire', uid: 'b' })).toMatchObject({ outcome: 'granted' });
    // Whoever reads it charges it whole: what was said of it nobody has written.
    await hosts.leads(undefined);
    expect(hosts.durableUsage().trafficBytes).toBe(there.maxBytes);
    expect(hosts.durableUsage().connections).toBe(there.connections);
  });

  it('is not heard while connections may be open still: who reads it is to count them', async () => {
    const { hosts, there } = await TwoHosts.between();
    const end = { ...ended(there, 1), unproven: UNPROVEN };
    await expect(hosts.ask('r', end)).rejects.toMatchObject({ code: 'NotReady' });
    await hosts.leads(undefined);
    expect(await hosts.ask('r', end)).toEqual({ outcome: 'settled' });
    await hosts.acquire('r', { wantConnections: 1 });
    expect(hosts.durableUsage().connections).toBe(2);
  });

  it('is not heard while the journal of the leaders cannot be read', async () => {
    const { hosts, there } = await TwoHosts.between();
    await hosts.leads(LEADERS);
    await expect(hosts.ask('r', ended(there, 1))).rejects.toMatchObject({ code: 'NotReady' });
  });

  it('is not heard while another journal is still being read', async () => {
    const { hosts, there } = await TwoHosts.between();
    const { promise, resolve } = Promise.withResolvers<void>();
    hosts.journal.reading = (origin) => (origin === OTHER ? promise : Promise.resolve());
    await hosts.leads(KEY);
    await expect(hosts.ask('r', ended(there, 1))).rejects.toMatchObject({ code: 'NotReady' });
    resolve();
    await settle();
    expect(await hosts.ask('r', ended(there, 1))).toEqual({ outcome: 'settled' });
  });
});
