import type { TransferReport } from '@sluice/protocol/messages.ts';
import { beforeEach, describe, expect, it } from 'vitest';
import { createLogger } from 'winston';
import type { Assignment } from '../store/assignments.ts';
import { FakeClock, settle } from '../testing/fakeClock.ts';
import type { FleetProcess } from './fleetView.ts';
import { Removals } from './removals.ts';
import { Reports } from './reports.ts';
import type { Removal } from './work.ts';

const UID = 'uid-1';

let clock: FakeClock;
let processes: FleetProcess[];
let rows: () => Promise<Assignment[]>;
let changed: string[];
let removals: Removals;

beforeEach(() => {
  clock = new FakeClock();
  processes = [];
  rows = async () => [];
  changed = [];
  removals = new Removals({
    assignments: { load: async (uid) => [{ uid, number: 0, rows: await rows() }] },
    clock,
    logger: createLogger({ silent: true }),
    processes: () => processes,
    changed: (uid) => changed.push(uid),
  });
});

function toldTo(removal: Removal): FleetProcess['told'] {
  return new Map([[UID, { peers: [], removals: [removal] }]]);
}

/** Has been told, and has done what it was told, or not. */
function agentOn(node: string, state: 'ready' | 'removed'): FleetProcess {
  const removal = { type: 'remove' as const, uid: UID, deleteFiles: true };
  const report: TransferReport = {
    uid: UID,
    epoch: 1,
    state,
    verifiedPieces: 1,
    verifiedBytes: 1000,
    received: { fromPeers: 1000, fromRelays: 0, fromRelayHttp: 0, fromOrigin: 0 },
    uploadedBytes: 0,
    rateBytesPerSecond: 0,
  };
  const reports = new Reports();
  reports.set(report);
  const process: Partial<FleetProcess> = {
    kind: 'agent',
    node,
    told: toldTo(removal),
    reports,
  };
  return process as FleetProcess;
}

const rowOf = (node: string) => ({ uid: UID, epoch: 1, node }) as Assignment;

describe('a removal', () => {
  it('is over when every agent that has something has removed it', () => {
    removals.begin({ uid: UID, deleteFiles: true }, new Set(['node-a', 'node-b']));
    processes = [agentOn('node-a', 'removed'), agentOn('node-b', 'ready')];
    expect(removals.isOver(UID)).toBe(false);
    processes = [agentOn('node-a', 'removed'), agentOn('node-b', 'removed')];
    expect(removals.isOver(UID)).toBe(true);
  });

  it('waits half a minute for an agent that is not here', async () => {
    removals.begin({ uid: UID, deleteFiles: true }, new Set(['node-a', 'node-b']));
    processes = [agentOn('node-a', 'removed')];
    await clock.advance(30_000);
    expect(removals.isOver(UID)).toBe(false);
    await clock.advance(1);
    expect(removals.isOver(UID)).toBe(true);
  });

  it('that an earlier leader began waits for those that the database names', async () => {
    rows = async () => [rowOf('node-a')];
    removals.begin({ uid: UID, deleteFiles: true }, undefined);
    expect(removals.isOver(UID)).toBe(false);
    await settle();
    expect(changed).toEqual([UID]);
    expect(removals.isOver(UID)).toBe(false);
    processes = [agentOn('node-a', 'removed')];
    expect(removals.isOver(UID)).toBe(true);
  });

  it('is over in half a minute where nobody is here and the database does not say who should be', async () => {
    rows = () => Promise.reject(new Error('the database is away'));
    removals.begin({ uid: UID, deleteFiles: true }, undefined);
    await clock.advance(29_999);
    expect(removals.isOver(UID)).toBe(false);
    await clock.advance(2);
    expect(removals.isOver(UID)).toBe(true);
  });

  it('is told of for as long as a node that has files of it is away, or until it is forgotten', async () => {
    const begin = (deleteFiles: boolean) =>
      removals.begin({ uid: UID, deleteFiles }, new Set(['node-a', 'node-b']));
    processes = [agentOn('node-a', 'removed')];
    begin(true);
    await clock.advance(3_600_000);
    removals.sweep();
    expect(removals.missing(UID)).toEqual(['node-b']);
    processes.push(agentOn('node-b', 'removed'));
    await clock.advance(10_000);
    removals.sweep();
    expect(removals.has(UID)).toBe(false);

    processes.pop();
    begin(true);
    await clock.advance(3_600_000);
    removals.forget(UID);
    removals.sweep();
    expect(removals.has(UID)).toBe(false);
    // Where files stay there is nothing that a node would have to hear late.
    begin(false);
    await clock.advance(3_600_000);
    removals.sweep();
    expect(removals.has(UID)).toBe(false);
  });

  it('is told for ten minutes, and longer while it is not over', async () => {
    removals.begin({ uid: UID, deleteFiles: true }, new Set(['node-a']));
    processes = [agentOn('node-a', 'ready')];
    await clock.advance(600_001);
    removals.sweep();
    expect([...removals.uids()]).toEqual([UID]);
    processes = [agentOn('node-a', 'removed')];
    removals.sweep();
    expect(removals.has(UID)).toBe(false);
  });

  it('is news when files go that were to stay, and not the other way round', () => {
    removals.begin({ uid: UID, deleteFiles: false }, new Set(['node-a']));
    expect(removals.isNews({ uid: UID, deleteFiles: false })).toBe(false);
    expect(removals.isNews({ uid: UID, deleteFiles: true })).toBe(true);
    removals.begin({ uid: UID, deleteFiles: true }, new Set(['node-a']));
    expect(removals.isNews({ uid: UID, deleteFiles: false })).toBe(false);
    expect(removals.isNews({ uid: 'other', deleteFiles: false })).toBe(true);
  });

  it('misses the nodes that have not removed it, however long they are away', async () => {
    rows = async () => [rowOf('node-a'), rowOf('node-b')];
    removals.begin({ uid: UID, deleteFiles: true }, undefined);
    expect(removals.missing(UID)).toBeUndefined();
    await settle();
    await clock.advance(600_000);
    expect(removals.missing(UID)).toEqual(['node-a', 'node-b']);
    processes = [agentOn('node-a', 'removed'), agentOn('node-c', 'ready')];
    expect(removals.missing(UID)).toEqual(['node-b', 'node-c']);
    processes = [agentOn('node-a', 'removed'), agentOn('node-b', 'removed')];
    expect(removals.missing(UID)).toEqual([]);
  });

  it('is told to those alone that have something of it, when ten minutes are over', async () => {
    removals.begin({ uid: UID, deleteFiles: true }, new Set(['node-a', 'node-b', 'away']));
    const [gone, slow] = [agentOn('node-a', 'removed'), agentOn('node-b', 'ready')];
    const newcomer: FleetProcess = { ...agentOn('node-c', 'ready'), told: new Map() };
    processes = [gone, slow, newcomer];
    const told = () => {
      const nodes: string[] = [];
      removals.tell(UID, processes, ({ node }) => nodes.push(node));
      return nodes;
    };
    expect(told()).toEqual(['node-a', 'node-b', 'node-c']);
    expect(processes.map((process) => removals.awaits(process, UID))).toEqual([false, true, true]);
    await clock.advance(601_000);
    expect(told()).toEqual(['node-b']);
    expect(processes.map((process) => removals.awaits(process, UID))).toEqual([false, true, false]);
    expect(removals.missing(UID)).toEqual(['node-b', 'away']);
    processes = [gone, agentOn('node-b', 'removed'), newcomer];
    expect(removals.isOver(UID)).toBe(true);
    removals.sweep();
    expect(removals.has(UID)).toBe(true);
    processes.push(agentOn('away', 'removed'));
    await clock.advance(11_000);
    expect(removals.missing(UID)).toEqual([]);
    removals.sweep();
    expect(removals.has(UID)).toBe(false);
  });

  it('that was told that files stay is not over when they are to go', () => {
    removals.begin({ uid: UID, deleteFiles: true }, new Set(['node-a']));
    const told = agentOn('node-a', 'removed');
    const removal = { type: 'remove' as const, uid: UID, deleteFiles: false };
    processes = [{ ...told, told: toldTo(removal) }];
    expect(removals.isOver(UID)).toBe(false);
  });

  it('is none any more when the distribution is there again', () => {
    removals.begin({ uid: UID, deleteFiles: true }, new Set());
    removals.cancel(UID);
    expect(removals.isOver(UID)).toBe(false);
    expect(removals.has(UID)).toBe(false);
  });
});
