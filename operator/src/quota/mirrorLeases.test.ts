/** Leases of an epoch whose bytes are at several places, each under limits of its own. */
import { beforeEach, describe, expect, it } from 'vitest';
import { settle } from '../testing/fakeClock.ts';
import { aLeasedDistribution, anOriginPolicy, PIECE_BYTES } from '../testing/leasing.ts';
import { ended, KEY, LIMITS, MIB, renewal, TestLeases } from '../testing/testLeases.ts';
import { apply, emptyLedger, usageOf } from './ledger.ts';

const MIRROR = { id: 'm1', url: 'http://mirror.example.com/file' };
const SECOND = { id: 'm2', url: 'http://second.example.com/file' };
const MIRROR_KEY = 'mirror.example.com:80';
/** Of a host that no Origin covers; see aLeaseService(). */
const MIRROR_BYTES_PER_SECOND = MIB;
const KNOWN = { mirrors: ['m1', 'm2'] };
const FAILURE = { reason: 'SourceUnavailable', message: 'it does not answer' };

let leases: TestLeases;

beforeEach(async () => {
  leases = await TestLeases.leading();
  await distribute();
});

async function distribute(change: Parameters<typeof aLeasedDistribution>[0] = {}): Promise<void> {
  leases.service.setDistribution(aLeasedDistribution({ mirrors: [MIRROR], ...change }));
  await settle();
  await leases.clock.advance(1);
}

function usageAt(key: string) {
  const entries = leases.journal.of(key).flatMap((document) => document.entries);
  return usageOf(entries.reduce(apply, emptyLedger));
}

describe('an epoch with a mirror', () => {
  it('is taken from its source while that gives', async () => {
    const grant = await leases.acquire('one', KNOWN);
    expect(grant).not.toHaveProperty('mirror');
    expect(usageAt(MIRROR_KEY).connections).toBe(0);
  });

  it('is taken from the mirror, too, when the limits of the source leave no room', async () => {
    const first = await leases.acquire('one', KNOWN);
    const second = await leases.acquire('two', KNOWN);
    expect(second.mirror).toBe('m1');
    // Each is counted where it takes from, and within the limits there.
    expect(usageAt(KEY)).toMatchObject({ connections: first.connections });
    const there = usageAt(MIRROR_KEY);
    expect(there.connections).toBe(second.connections);
    expect(there.windowBytes).toBeLessThanOrEqual(MIRROR_BYTES_PER_SECOND);
    // And they take different pieces.
    const last = first.extents.at(-1)!;
    expect(second.extents[0]?.first).toBe(last.first + last.count);
    expect(second.certificate?.extents).toEqual(second.extents);
  });

  it('is not taken from it by who does not know it', async () => {
    await leases.acquire('one', KNOWN);
    const answers = [
      await leases.ask('two', { op: 'acquire' }),
      await leases.ask('three', { op: 'acquire', mirrors: ['other'] }),
    ];
    for (const answer of answers) expect(answer).toMatchObject({ outcome: 'wait' });
    expect(usageAt(MIRROR_KEY).connections).toBe(0);
  });

  it('is taken from it when the source has failed, and from the source again later', async () => {
    const first = await leases.acquire('one', KNOWN);
    await leases.ask('one', { ...ended(first, 100, first.extents), failure: FAILURE });
    expect(leases.service.failureOf('a', 1)).toMatchObject(FAILURE);
    // The mirror may give what the source does not.
    expect(leases.service.troubleOf('a', 1)).toBeUndefined();
    const second = await leases.acquire('one', KNOWN);
    expect(second.mirror).toBe('m1');
    expect(second.extents[0]?.first).toBe(0);
    await leases.ask('one', ended(second, second.maxBytes));
    await leases.clock.advance(5_000);
    expect(await leases.acquire('one', KNOWN)).not.toHaveProperty('mirror');
  });

  it('is in trouble when nobody gives', async () => {
    await distribute({ mirrors: [MIRROR, SECOND] });
    for (const mirror of [undefined, 'm1', 'm2']) {
      const grant = await leases.acquire('one', KNOWN);
      expect(grant.mirror).toBe(mirror);
      await leases.ask('one', { ...ended(grant, 0, grant.extents), failure: FAILURE });
    }
    expect(leases.service.troubleOf('a', 1)).toMatchObject({ code: 'Unreachable' });
    expect(leases.service.mirrorFailureOf('a', 1, 'm2')).toMatchObject(FAILURE);
    // Each is tried again before nobody is.
    expect(await leases.acquire('one', KNOWN)).not.toHaveProperty('mirror');
  });

  it('waits for room at any of them', async () => {
    await leases.acquire('one', KNOWN);
    await leases.acquire('two', KNOWN);
    expect(await leases.ask('three', { op: 'acquire', ...KNOWN })).toMatchObject({
      outcome: 'wait',
      reason: expect.stringMatching(/InUse$/),
    });
  });

  it('has used up no traffic while a mirror has some left', async () => {
    const tiny = { ...LIMITS, maxTraffic: { bytes: 1000, periodSeconds: 3600 } };
    leases.service.setOrigins([anOriginPolicy(tiny)]);
    const grant = await leases.acquire('one', KNOWN);
    expect(grant.mirror).toBe('m1');
    expect(leases.service.troubleOf('a', 1)).toBeUndefined();
  });
});

describe('a lease for a mirror', () => {
  async function leased() {
    await leases.acquire('one', KNOWN);
    return leases.acquire('two', KNOWN);
  }

  it('is renewed for the same mirror', async () => {
    const grant = await leased();
    const renewed = await leases.ask('two', renewal(grant, PIECE_BYTES, []));
    expect(renewed).toMatchObject({ outcome: 'granted', grant: { mirror: 'm1' } });
  });

  it('gets nothing more when it is none any more, and is settled where it was taken', async () => {
    const grant = await leased();
    await distribute({ mirrors: [] });
    expect(await leases.ask('two', renewal(grant, 0))).toMatchObject({ reason: 'NotReady' });
    await leases.ask('two', ended(grant, 1_000));
    expect(usageAt(MIRROR_KEY)).toMatchObject({ connections: 0, trafficBytes: 1_000 });
  });

  it('ends when its holder is granted another, wherever that is', async () => {
    await leased();
    await leases.acquire('two', KNOWN);
    expect(usageAt(MIRROR_KEY).connections).toBeLessThanOrEqual(2);
    const holders = [KEY, MIRROR_KEY].flatMap((key) => {
      const entries = leases.journal.of(key).flatMap((document) => document.entries);
      const { leases: open } = entries.reduce(apply, emptyLedger);
      return [...open.values()].map(({ holder }) => holder);
    });
    expect(holders.filter((holder) => holder === 'two')).toHaveLength(1);
  });

  it('names whom bytes may have come from, also under the next leader', async () => {
    expect(leases.service.suspectMirrors('a', 1)).toEqual([]);
    await leased();
    expect(leases.service.suspectMirrors('a', 1)).toEqual([MIRROR.url]);
    await distribute({ mirrors: [] });
    expect(leases.service.suspectMirrors('a', 1)).toEqual([MIRROR.url]);
    leases.service.stepDown();
    leases.service = leases.newService();
    await distribute();
    await leases.lead(2);
    expect(leases.service.suspectMirrors('a', 1)).toEqual([MIRROR.url]);
    await distribute({ epoch: 2 });
    expect(leases.service.suspectMirrors('a', 2)).toEqual([]);
  });

  it('is part of what nodes may top up', async () => {
    const topUpBytes = 3 * MIB;
    await distribute({ topUpBytes });
    const ALL = Buffer.alloc(8, 0xff).toString('base64');
    const topUp = { acceptable: ALL, wantBytes: MIB };
    const ask = (id: string) => {
      const wants = { wantRateBytesPerSecond: MIB, wantConnections: 1, topUp, ...KNOWN };
      return leases.ask(id, { op: 'acquire', ...wants, pullerKey: undefined } as object);
    };
    let granted = 0;
    for (let at = 0; at < 12; at += 1) {
      const answer = await ask(`node-${at}`);
      if (answer.outcome === 'granted') granted += answer.grant.maxBytes;
    }
    expect(granted).toBeGreaterThan(0);
    expect(granted).toBeLessThanOrEqual(topUpBytes);
  });
});
