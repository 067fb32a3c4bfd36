/**
 * Looks at what has changed tell the same as looks at everything: after random changes of plans,
 * processes and what these say, a look at everything has nothing to add.
 */
import { SeededRandom } from '@sluice/engine/sim/seededRandom.ts';
import type { TransferState, WorkMessage } from '@sluice/protocol/messages.ts';
import { afterEach, expect, it, vi } from 'vitest';
import { pick } from '../sim/pick.ts';
import { aPlanOf, aRecord, aTransferReport } from '../testing/objects.ts';
import { TestCoordinator } from '../testing/testCoordinator.ts';
import type { FleetProcess } from './fleetView.ts';
import { NodeBook } from './nodeBook.ts';

const NODES = ['n1', 'n2', 'n3', 'n4'];
const RELAYS = ['r1', 'r2'];
/** The first two may name the same bytes. */
const UIDS = ['d1', 'd2', 'd3'];
const STATES: TransferState[] = ['transferring', 'ready', 'ready', 'failed', 'removed'];
const SWEEP_MS = 5_000;

let test: TestCoordinator;
afterEach(() => {
  test.stop();
  vi.restoreAllMocks();
});

class RandomFleet {
  readonly #random: SeededRandom;
  readonly #epochs = new Map<string, number>();
  readonly #processes = new Map<string, FleetProcess>();
  #sequence = 0;

  constructor(seed: number) {
    this.#random = new SeededRandom(seed);
  }

  change(): void {
    const act = this.#random.below(20);
    // Then everything is looked at anyway.
    if (act === 0) this.comeOrGo(pick([...NODES, ...RELAYS], this.#random) ?? '');
    else if (act === 1) test.coordinator.setNodes(new Set(this.#someOf(NODES)));
    else if (act === 2) this.#remove();
    else if (act < 8) this.#apply();
    else this.#report();
  }

  comeOrGo(node: string): void {
    const { fleet } = test.coordinator;
    const process = this.#processes.get(node);
    if (process?.stream !== undefined) {
      fleet.closed(process, process.stream, test.clock.now());
      return;
    }
    const domain = node === 'r2' ? 'b' : 'a';
    this.#processes.set(
      node,
      test.connect(RELAYS.includes(node) ? 'relay' : 'agent', node, domain),
    );
  }

  #apply(): void {
    const uid = pick(UIDS, this.#random) ?? '';
    const isNext = this.#random.below(3) === 0;
    const epoch = (this.#epochs.get(uid) ?? 1) + Number(isNext);
    this.#epochs.set(uid, epoch);
    const sha256 = (uid === 'd3' ? 'c' : 'a').repeat(64);
    const record = aRecord({
      uid,
      epoch,
      files: [{ path: 'file.bin', sizeBytes: 1000, ...(epoch % 3 !== 0 && { sha256 }) }],
      startedAt: `2026-01-01T00:00:0${uid.slice(1)}Z`,
    });
    const nodes = this.#someOf(NODES).map((name, at) => ({
      name,
      domain: at % 2 === 0 ? 'a' : 'b',
    }));
    test.coordinator.apply(
      aPlanOf(record, {
        nodes,
        headers: {},
        suspend: this.#random.below(5) === 0,
        priority: this.#random.below(3),
        leaving: { deleteFiles: this.#random.below(2) === 0, graceMs: 1_000 },
        ...(uid === 'd3' && { maxParallelNodes: 1 }),
      }),
    );
  }

  #report(): void {
    const process = pick([...this.#processes.values()], this.#random);
    const uid = pick(UIDS, this.#random) ?? '';
    const newest = this.#epochs.get(uid);
    if (process?.stream === undefined || newest === undefined) return;
    const epoch = Math.max(1, newest - this.#random.below(2));
    const state = pick(STATES, this.#random) ?? 'pending';
    this.#sequence += 1;
    // Of those that have failed bytes decide whose turn it is, and make nobody look.
    const verifiedBytes = state === 'failed' ? 0 : 500 * this.#random.below(3);
    const transfers = [aTransferReport({ uid, epoch, state, verifiedBytes })];
    const report = { incarnation: 'run', sequence: this.#sequence, transfers };
    test.coordinator.fleet.report(process, report, test.clock.now());
  }

  #someOf(names: readonly string[]): string[] {
    return names.filter(() => this.#random.below(4) > 0);
  }

  #remove(): void {
    const uid = pick(UIDS, this.#random) ?? '';
    test.coordinator.remove(uid, { deleteFiles: this.#random.below(2) === 0 });
  }
}

/** Answers what was told since. */
function listen(): () => WorkMessage[] {
  const heard = new Map([...test.told].map(([node, messages]) => [node, messages.length]));
  return () => [...test.told].flatMap(([node, messages]) => messages.slice(heard.get(node)));
}

it.each(Array.from({ length: 100 }, (_, seed) => seed))(
  'a look at everything has nothing to add, seed %i',
  async (seed) => {
    test = await new TestCoordinator().start();
    test.coordinator.primed();
    const fleet = new RandomFleet(seed);
    for (const node of [...NODES, ...RELAYS]) fleet.comeOrGo(node);
    let told = 0;
    for (let round = 0; round < 12; round += 1) {
      const news = listen();
      // Waits of whole seconds that begin after this end at no time at which it is looked.
      await test.clock.advance(400);
      for (let at = 0; at < 4; at += 1) {
        fleet.change();
        await test.clock.advance(1_000);
      }
      await test.clock.advance(SWEEP_MS - (test.clock.now() % SWEEP_MS) + 150);
      told += news().length;
      const added = listen();
      test.coordinator.setOrigins([]);
      await test.clock.advance(150);
      expect(added(), `round ${round}`).toEqual([]);
      await test.clock.advance(SWEEP_MS - (test.clock.now() % SWEEP_MS));
    }
    expect(told).toBeGreaterThan(5);
  },
);

it('of others than what has changed, and what may share its bytes, nobody looks', async () => {
  test = await new TestCoordinator().start();
  const nodes = [{ name: 'n1', domain: 'a' }];
  const files = [{ path: 'file.bin', sizeBytes: 1000, sha256: 'a'.repeat(64) }];
  const plans = [
    aPlanOf(aRecord({ uid: 'd1', files }), { nodes }),
    aPlanOf(aRecord({ uid: 'd2', files }), { nodes }),
    aPlanOf(aRecord({ uid: 'd3' }), { nodes }),
  ];
  for (const plan of plans) test.coordinator.apply(plan);
  test.coordinator.primed();
  test.connect('relay', 'r1');
  const agent = test.connect('agent', 'n1');
  await test.clock.advance(300);

  const look = vi.spyOn(NodeBook.prototype, 'turns');
  const looked = async () => {
    await test.clock.advance(300);
    const books = look.mock.contexts as NodeBook[];
    const uids = books.map(({ plan }) => plan.record.uid).sort();
    look.mockClear();
    return uids;
  };
  const says = (uid: string, sequence: number) => {
    const transfers = [aTransferReport({ uid, state: 'ready' })];
    test.coordinator.fleet.report(agent, { incarnation: 'run', sequence, transfers }, 0);
  };
  says('d3', 1);
  expect(await looked()).toEqual(['d3']);
  says('d1', 2);
  expect(await looked()).toEqual(['d1', 'd2']);
  for (const plan of plans.slice(2)) test.coordinator.apply({ ...plan });
  expect(await looked()).toEqual(['d3']);
  test.connect('agent', 'n2');
  expect(await looked()).toEqual(['d1', 'd2', 'd3']);
});
