import type { Peer } from '@sluice/protocol/messages.ts';
import { beforeEach, expect, it } from 'vitest';
import type { FleetProcess } from './fleetView.ts';
import { PeersPace } from './peersPace.ts';

const peer = (role: Peer['role'], number: number): Peer => ({
  id: `${role}-${number}`,
  role,
  host: '10.0.0.1',
  port: 6881,
});
const agents = (...numbers: number[]) => numbers.map((number) => peer('agent', number));

const PROCESS = {} as FleetProcess;
const LIST = agents(0, 1, 2, 3, 4, 5, 6, 7, 8, 9);
const OTHER = agents(1, 2, 3, 4, 5, 6, 7, 8, 9, 10);

/** Those of the lists, and others. */
function members(count: number, without: readonly Peer[] = []): { process: FleetProcess }[] {
  const gone = new Set(without.map(({ id }) => id));
  const all = ['relay-0', 'relay-1', ...Array.from({ length: count }, (_, at) => `agent-${at}`)];
  const there = all.slice(0, count).filter((id) => !gone.has(id));
  return there.map((id) => ({ process: { id } as FleetProcess }));
}

let pace: PeersPace;

beforeEach(() => {
  pace = new PeersPace();
});

it('in a swarm of thousands another list waits for as long as all lists may take', () => {
  pace.begin(members(10_000), 0);
  expect(pace.listFor(PROCESS, undefined, LIST)).toBe(LIST);
  expect(pace.waitMs).toBeUndefined();
  pace.begin(members(10_000), 8_000);
  expect(pace.listFor(PROCESS, LIST, OTHER)).toBe(LIST);
  expect(pace.waitMs).toBe(12_000);
  // The same again is nothing that waits.
  pace.begin(members(10_000), 9_000);
  expect(pace.listFor(PROCESS, LIST, [...LIST])).toBe(LIST);
  expect(pace.waitMs).toBeUndefined();
  pace.begin(members(10_000), 20_000);
  expect(pace.listFor(PROCESS, LIST, OTHER)).toBe(OTHER);
});

it('lists that wait go out together', () => {
  pace.begin(members(10_000), 0);
  pace.listFor(PROCESS, undefined, LIST);
  pace.begin(members(10_000), 19_900);
  pace.listFor(PROCESS, LIST, OTHER);
  expect(pace.waitMs).toBe(5_000);
});

it.each([
  ['the swarm is small', members(500), LIST, OTHER],
  ['it knows few nodes', members(10_000), LIST.slice(3), LIST],
  ['most of those that it knows have gone', members(10_000, LIST.slice(2, 8)), LIST, OTHER],
  ['there is another relay', members(10_000), LIST, [...LIST, peer('relay', 0)]],
  [
    'its relay has gone',
    members(10_000, [peer('relay', 0)]),
    [...LIST, peer('relay', 0)],
    [...LIST, peer('relay', 1)],
  ],
])('but is told at once when %s', (_, ids, told, peers) => {
  pace.begin(ids, 0);
  pace.listFor(PROCESS, undefined, told);
  pace.begin(ids, 10);
  expect(pace.listFor(PROCESS, told, peers)).toBe(peers);
  expect(pace.waitMs).toBeUndefined();
});

it('which of the relays that are there it should know may wait', () => {
  const [told, other] = [0, 1].map((number) => [...LIST, peer('relay', number)]) as [
    Peer[],
    Peer[],
  ];
  pace.begin(members(10_000), 0);
  pace.listFor(PROCESS, undefined, told);
  pace.begin(members(10_000), 10);
  expect(pace.listFor(PROCESS, told, other)).toBe(told);
});
