import { generateFeedKeyPair } from '@sluice/engine/feed/keys.ts';
import type { LeaseAnswer, LeaseGrant } from '@sluice/protocol/leaseMessages.ts';
import { beforeEach, describe, expect, it } from 'vitest';
import type { OriginPolicy } from '../controllers/dataSide.ts';
import { FakeClock, settle } from '../testing/fakeClock.ts';
import {
  aLeasedDistribution,
  aLeaseService,
  anOriginPolicy,
  PIECE_BYTES,
} from '../testing/leasing.ts';
import { MemoryJournal } from '../testing/memoryJournal.ts';
import { piecesOf } from './extents.ts';
import type { LeaseService } from './leaseService.ts';
import type { LeasedDistribution } from './leases.ts';

const MIB = 1024 * 1024;
const PIECES = 64;
const HOST = 'cdn.example.com:80';
const PULLER = generateFeedKeyPair().publicKey.toString('base64');
const ALL = Buffer.alloc(PIECES / 8, 0xff).toString('base64');

let clock: FakeClock;
let journal: MemoryJournal;
let service: LeaseService;
let called: string[];
let sequence = 0;
let term = 0;

function distribute(change: Partial<LeasedDistribution> = {}): void {
  service.setDistribution(aLeasedDistribution({ topUpBytes: 100 * MIB, ...change }));
}

async function lead(limits: OriginPolicy['limits']) {
  called = [];
  term += 1;
  service = aLeaseService({ store: journal, clock });
  service.onAsk((holder) => called.push(holder));
  service.setOrigins([anOriginPolicy(limits)]);
  distribute();
  service.lead(term);
  await settle();
  // Nothing is raised before: under the leader before something may have come back a moment ago.
  await clock.advance(1_100);
}

async function send(id: string, kind: 'relay' | 'agent', request: object): Promise<LeaseAnswer> {
  sequence += 1;
  const full = { incarnation: 'incarnation', sequence, ...request };
  const answer = service.answer({ id, kind }, full as Parameters<LeaseService['answer']>[1]);
  await settle();
  return answer;
}

const wants = (wantBytes: number) => ({
  wantRateBytesPerSecond: Math.max(1, wantBytes),
  topUp: { acceptable: ALL, wantBytes },
  timeToFirstByteMs: 10,
});

function topUp(id: string, wantBytes = 2 * MIB): Promise<LeaseAnswer> {
  const asked = { op: 'acquire', uid: 'a', epoch: 1, wantConnections: 1 };
  return send(id, 'agent', { ...asked, ...wants(wantBytes) });
}

function pull(id: string): Promise<LeaseAnswer> {
  const asked = { op: 'acquire', uid: 'a', epoch: 1, wantConnections: 8, pullerKey: PULLER };
  return send(id, 'relay', { ...asked, wantRateBytesPerSecond: 1e9, timeToFirstByteMs: 10 });
}

function renew(id: string, grant: LeaseGrant, change: object = {}): Promise<LeaseAnswer> {
  const { leaseId, version, extents } = grant;
  const said = { op: 'renew', leaseId, version, usedBytes: 0, unfinished: extents };
  return send(id, 'agent', { ...said, ...wants(2 * MIB), ...change });
}

function settleLease(id: string, { leaseId, version }: LeaseGrant, usedBytes: number) {
  return send(id, 'agent', { op: 'settle', leaseId, version, usedBytes, unfinished: [] });
}

function granted(answer: LeaseAnswer): LeaseGrant {
  if (answer.outcome !== 'granted') throw new Error(JSON.stringify(answer));
  return answer.grant;
}

const WIDE = { maxConnections: 10, maxBandwidthBytesPerSecond: 100 * MIB };
const ONE = { maxConnections: 1, maxBandwidthBytesPerSecond: 100 * MIB };

beforeEach(async () => {
  clock = new FakeClock();
  journal = new MemoryJournal();
  await lead(WIDE);
});

describe('leases of nodes that are short', () => {
  it('are for a second of what is missing, over one connection, with nothing to sign', async () => {
    const grant = granted(await topUp('n1'));
    expect(grant).toMatchObject({ connections: 1, rateBytesPerSecond: 2 * MIB });
    expect(piecesOf(grant.extents).size * PIECE_BYTES).toBe(2 * MIB);
    expect(grant.certificate).toBeUndefined();
    expect(journal.of(HOST).at(-1)?.entries[0]).toMatchObject({ purpose: 'topUp' });
  });

  it('are for the smallest rate that is worth one where less is missing', async () => {
    const grant = granted(await topUp('n1', 100));
    expect(grant.rateBytesPerSecond).toBeGreaterThanOrEqual(16_384);
    expect(piecesOf(grant.extents).size).toBe(1);
  });

  it('bring each node other pieces, and take none from those who pull', async () => {
    const nodes = [granted(await topUp('n1')), granted(await topUp('n2'))];
    const pieces = nodes.flatMap(({ extents }) => [...piecesOf(extents)]);
    expect(new Set(pieces).size).toBe(16);
    const puller = granted(await pull('r1'));
    expect(puller.extents).toEqual([{ first: 0, count: PIECES / 2 }]);
  });

  it('leave those who pull nine tenths, and are called when their tenth is free', async () => {
    const all = granted(await pull('r1'));
    expect(all.rateBytesPerSecond).toBeGreaterThan(90 * MIB);
    expect(await topUp('n1', 50 * MIB)).toMatchObject({ reason: 'BandwidthInUse' });
    const smaller = granted(await renew('r1', all, { wantRateBytesPerSecond: 1e9 }));
    expect(smaller.rateBytesPerSecond).toBeGreaterThan(85 * MIB);
    expect(called).toEqual([]);
    await renew('r1', smaller, { wantRateBytesPerSecond: 1e9 });
    expect(called).toEqual(['n1']);
    const grant = granted(await topUp('n1', 50 * MIB));
    expect(grant.rateBytesPerSecond).toBeGreaterThan(9 * MIB);
    expect(grant.rateBytesPerSecond).toBeLessThan(10 * MIB);
  });

  it('go from node to node after a second where connections are few, in the order of asking', async () => {
    await lead(ONE);
    const first = granted(await topUp('n1'));
    for (const id of ['n2', 'n3']) {
      expect(await topUp(id)).toMatchObject({ reason: 'ConnectionsInUse', retryAfterMs: 10_000 });
    }
    const half = { unfinished: first.extents.map((each) => ({ ...each, count: 4 })) };
    const more = granted(await renew('n1', first, half));
    expect(piecesOf(more.extents).size).toBe(8);
    await clock.advance(1_000);
    // Its turn is over: it finishes what it has.
    const rest = granted(await renew('n1', more, half));
    expect(piecesOf(rest.extents).size).toBe(4);
    expect(await renew('n1', rest, { unfinished: [] })).toMatchObject({ reason: 'NothingToPull' });
    expect(called).toEqual([]);
    await settleLease('n1', rest, MIB);
    expect(called).toEqual(['n2']);
    expect(await topUp('n1')).toMatchObject({ outcome: 'wait' });
    await settleLease('n2', granted(await topUp('n2')), MIB);
    expect(called).toEqual(['n2', 'n3']);
  });

  it('go to the next when a node that is called does not come', async () => {
    await lead(ONE);
    const first = granted(await topUp('n1'));
    await topUp('n2');
    await topUp('n3');
    await settleLease('n1', first, MIB);
    expect(called).toEqual(['n2']);
    await clock.advance(1_600);
    expect(called).toEqual(['n2', 'n3']);
  });

  it('are not asked for by everybody who waits because the distribution is said again', async () => {
    await lead(ONE);
    granted(await topUp('n1'));
    await topUp('n2');
    await topUp('n3');
    distribute();
    expect(called).toEqual([]);
  });

  it('are asked for when they are allowed that were not', async () => {
    distribute({ topUpBytes: undefined });
    await topUp('n1');
    distribute();
    expect(called).toEqual(['n1']);
  });

  it('end with the share of the nodes, which what was not used goes back to', async () => {
    distribute({ topUpBytes: 4 * MIB });
    const first = granted(await topUp('n1'));
    expect(first.maxBytes).toBeGreaterThan(2 * MIB);
    const second = granted(await topUp('n2'));
    expect(first.maxBytes + second.maxBytes).toBeLessThanOrEqual(4 * MIB);
    expect(await topUp('n3')).toMatchObject({ reason: 'ShareExhausted' });
    await settleLease('n1', first, 1000);
    expect(await topUp('n3')).toMatchObject({ outcome: 'granted' });
  });

  it('wait in any number, and are no longer counted when they say nothing more', async () => {
    await lead(ONE);
    granted(await topUp('n1'));
    for (let node = 2; node <= 101; node += 1) await topUp(`n${node}`);
    expect(service.waiting()).toEqual({ pull: 0, topUp: 100 });
    expect(service.usage('cdn')?.heldBack).toMatchObject([{ uid: 'a', waiting: 100 }]);
    await clock.advance(10_000);
    for (let node = 52; node <= 101; node += 1) await topUp(`n${node}`);
    await clock.advance(16_000);
    expect(service.waiting()).toEqual({ pull: 0, topUp: 50 });
    expect(service.usage('cdn')?.heldBack).toMatchObject([{ uid: 'a', waiting: 50 }]);
    await clock.advance(10_000);
    expect(service.waiting()).toEqual({ pull: 0, topUp: 0 });
    expect(service.usage('cdn')?.heldBack).toEqual([]);
  });

  it('wait no more for a distribution that is removed, and leave their turn to others', async () => {
    await lead(ONE);
    distribute({ uid: 'b' });
    const grant = granted(await topUp('n1'));
    for (const id of ['n2', 'n3']) await topUp(id);
    const ofOther = { op: 'acquire', uid: 'b', epoch: 1, wantConnections: 1, ...wants(MIB) };
    await send('n4', 'agent', ofOther);
    service.removeDistribution('a');
    expect(service.waiting()).toEqual({ pull: 0, topUp: 1 });
    await settleLease('n1', grant, 2 * MIB);
    expect(called).toEqual(['n4']);
  });

  it('wait for a share or traffic that is spent until there is more, not until a plan is applied', async () => {
    const traffic = (bytes: number) => ({ ...WIDE, maxTraffic: { bytes, periodSeconds: 3600 } });
    service.setOrigins([anOriginPolicy(traffic(4 * MIB))]);
    distribute({ topUpBytes: 100 });
    expect(await topUp('n1')).toMatchObject({ reason: 'ShareExhausted', retryAfterMs: 15_000 });
    distribute({ uid: 'b' });
    const ofOther = { op: 'acquire', uid: 'b', epoch: 1, wantConnections: 1, ...wants(8 * MIB) };
    granted(await send('n2', 'agent', ofOther));
    expect(await send('n3', 'agent', ofOther)).toMatchObject({ reason: 'TrafficExhausted' });
    called = [];
    for (let second = 0; second < 5; second += 1) {
      distribute({ topUpBytes: 100 });
      distribute({ uid: 'b' });
      await clock.advance(1_000);
    }
    expect(called).toEqual([]);
    distribute({ topUpBytes: 3 * MIB });
    expect(called).toEqual(['n1']);
    called = [];
    service.setOrigins([anOriginPolicy(traffic(100 * MIB))]);
    expect(called).toEqual(['n3']);
  });

  it('count against the share at the next leader, too, and another epoch begins anew', async () => {
    distribute({ topUpBytes: 4 * MIB });
    await settleLease('n1', granted(await topUp('n1')), 2 * MIB);
    granted(await topUp('n2'));
    await lead(WIDE);
    distribute({ topUpBytes: 4 * MIB });
    await clock.advance(2_000);
    expect(await topUp('n3')).toMatchObject({ reason: 'ShareExhausted' });
    expect(service.originBytes('a')).toBe(2 * MIB);
    distribute({ topUpBytes: 4 * MIB, epoch: 2 });
    await clock.advance(2_000);
    const asked = { op: 'acquire', uid: 'a', epoch: 2, wantConnections: 1, ...wants(MIB) };
    expect(await send('n3', 'agent', asked)).toMatchObject({ outcome: 'granted' });
  });

  it('are refused where nodes may take nothing, or only by a stream from the first byte', async () => {
    distribute({ topUpBytes: undefined });
    expect(await topUp('n1')).toMatchObject({ reason: 'NotAllowed' });
    distribute({ ranges: false });
    expect(await topUp('n1')).toMatchObject({ reason: 'NotAllowed' });
    const puller = { op: 'acquire', uid: 'a', epoch: 1, wantConnections: 1, pullerKey: PULLER };
    distribute();
    const asked = { ...puller, wantRateBytesPerSecond: MIB };
    expect(await send('n1', 'agent', asked)).toMatchObject({ reason: 'NotAllowed' });
    const keyless = { ...asked, pullerKey: undefined };
    expect(await send('r1', 'relay', keyless)).toMatchObject({ reason: 'NotAllowed' });
  });
});
