import { describe, expect, it } from 'vitest';
import type { DistributionPlan } from '../controllers/dataSide.ts';
import { aPlanOf, aRecord } from '../testing/objects.ts';
import { NodeBook, type NodeRecord } from './nodeBook.ts';

const GRACE_MS = 1000;

function plan(names: readonly string[], overrides: Partial<DistributionPlan> = {}) {
  return aPlanOf(aRecord(), {
    nodes: names.map((name) => ({ name, domain: 'a', uid: `uid-${name}` })),
    leaving: { deleteFiles: true, graceMs: GRACE_MS },
    ...overrides,
  });
}

const progress = (state: NodeRecord['state'], verifiedBytes = 0): NodeRecord => ({
  state,
  verifiedBytes,
  rateBytesPerSecond: 0,
  received: { fromPeers: 0, fromRelays: 0, fromRelayHttp: 0, fromOrigin: 0 },
});

const row = (node: string, state: NodeRecord['state'], more: object = {}) => ({
  uid: 'uid-1',
  epoch: 1,
  node,
  nodeUid: `uid-${node}`,
  progress: progress(state),
  ...more,
});

const everywhere = new Map(['n1', 'n2', 'n3'].map((name) => [name, 'connected' as const]));

describe('a node that leaves', () => {
  it('loses its files after the grace, and not when it is back before', () => {
    const book = new NodeBook(plan(['n1', 'n2']));
    book.apply(plan(['n1']), 0);
    expect(book.leaving(GRACE_MS - 1)).toEqual([]);
    expect(book.leaving(GRACE_MS)).toEqual(['n2']);
    book.apply(plan(['n1', 'n2']), GRACE_MS);
    expect(book.leaving(2 * GRACE_MS)).toEqual([]);
  });

  it('keeps them where files are retained, and where everything is suspended', () => {
    const book = new NodeBook(plan(['n1', 'n2']));
    const suspended = plan(['n1'], { suspend: true });
    expect(book.apply(suspended, 0).forgotten).toEqual([]);
    expect(book.leaving(GRACE_MS)).toEqual([]);
    const retained = plan(['n1'], { leaving: { deleteFiles: false, graceMs: 0 } });
    const { forgotten, reinstalled } = book.apply(retained, 0);
    expect([forgotten, [...reinstalled]]).toEqual([['n2'], []]);
    expect(book.hasLeavers).toBe(false);
  });

  it('while nobody led is known by its row', () => {
    const book = new NodeBook(plan(['n1']));
    expect(book.recall([row('n1', 'ready'), row('n2', 'ready')], 0)).toEqual([]);
    expect(book.leaving(GRACE_MS)).toEqual(['n2']);
    expect(book.recordOf('n1').state).toBe('ready');
  });
});

describe('a plan for the same nodes', () => {
  const of = (before: DistributionPlan, overrides: Partial<DistributionPlan> = {}) =>
    ({ ...before, ...overrides }) as DistributionPlan;
  const statesOf = (book: NodeBook) => book.progress(everywhere).map(({ state }) => state);

  it('that is suspended shows nobody at work, and forgets who has left where files are to stay', () => {
    const first = plan(['n1', 'n2']);
    const book = new NodeBook(first);
    const fewer = plan(['n1']);
    book.apply(fewer, 0);
    book.take('n1', progress('transferring', 5));
    expect(statesOf(book)).toEqual(['transferring']);
    expect(book.apply(of(fewer, { suspend: true }), 0).forgotten).toEqual([]);
    expect(statesOf(book)).toEqual(['pending']);
    const leaving = { deleteFiles: false, graceMs: 0 };
    expect(book.apply(of(fewer, { leaving }), 0).forgotten).toEqual(['n2']);
    expect(statesOf(book)).toEqual(['transferring']);
  });

  it('of the next epoch begins anew, and knows who had the one before', () => {
    const first = plan(['n1', 'n2']);
    const book = new NodeBook(first);
    book.take('n1', progress('ready', 10));
    const next = of(first, { record: aRecord({ epoch: 2 }) });
    const { joined, left, reinstalled, returned } = book.apply(next, 0);
    expect([[...joined], left, [...reinstalled], returned]).toEqual([[], [], [], []]);
    expect(statesOf(book)).toEqual(['pending', 'pending']);
    expect(book.readyCount).toBe(0);
    expect([book.earlierOf('n1')?.epoch, book.earlierOf('n2')]).toEqual([1, undefined]);
  });
});

describe('a node that was installed anew', () => {
  const reinstalled = (): DistributionPlan =>
    plan([], { nodes: [{ name: 'n1', domain: 'a', uid: 'uid-new' }] });

  it('has nothing', () => {
    const book = new NodeBook(plan(['n1']));
    book.take('n1', progress('ready'));
    expect([...book.apply(reinstalled(), 0).reinstalled]).toEqual(['n1']);
    expect(book.recordOf('n1').state).toBe('pending');
    expect(book.hasLeavers).toBe(false);
  });

  it.each([
    ['of another uid is another one', 'uid-n1', true],
    ['of the same uid is the same', 'uid-new', false],
    ['is not told apart from one of which no uid is known', undefined, false],
  ])('%s', (_what, nodeUid, isReplaced) => {
    const book = new NodeBook(reinstalled());
    expect(book.isReplaced({ node: 'n1', nodeUid })).toBe(isReplaced);
    expect(book.isReplaced({ node: 'n2', nodeUid })).toBe(false);
  });

  it('while nobody led has nothing, either', () => {
    const book = new NodeBook(reinstalled());
    expect(book.recall([row('n1', 'ready')], 0)).toEqual(['n1']);
    expect(book.recordOf('n1').state).toBe('pending');
  });

  it('is not told apart by a row from before nodes had their uid there', () => {
    const book = new NodeBook(reinstalled());
    expect(book.recall([row('n1', 'ready', { nodeUid: undefined })], 0)).toEqual([]);
    expect(book.recordOf('n1').state).toBe('ready');
  });
});

describe('turns', () => {
  const limited = (overrides: Partial<DistributionPlan> = {}) =>
    plan(['n1', 'n2', 'n3'], { maxParallelNodes: 1, ...overrides });
  const partsOf = (book: NodeBook, agents = everywhere, nowMs = 0) => {
    const takesPart = book.turns(agents, nowMs);
    return ['n1', 'n2', 'n3'].filter(takesPart);
  };

  it('are given to one after the other; who has the file gives it to the others', () => {
    const book = new NodeBook(limited());
    book.recall([], 0);
    expect(partsOf(book)).toEqual(['n1']);
    book.take('n1', progress('transferring', 5));
    expect(partsOf(book)).toEqual(['n1']);
    book.take('n1', progress('ready', 10));
    expect(partsOf(book)).toEqual(['n1', 'n2']);
  });

  it('follow an edit at once', () => {
    const book = new NodeBook(limited());
    book.recall([], 0);
    expect(partsOf(book)).toEqual(['n1']);
    book.apply(limited({ maxParallelNodes: 2 }), 0);
    expect(partsOf(book)).toEqual(['n1', 'n2']);
    book.apply(plan(['n1', 'n2', 'n3']), 0);
    expect(partsOf(book)).toEqual(['n1', 'n2', 'n3']);
    book.take('n3', progress('transferring', 5));
    book.apply(limited(), 0);
    expect(partsOf(book)).toEqual(['n3']);
  });

  it('are given to nobody before the rows of an earlier leader are read, and then to who has them', () => {
    const book = new NodeBook(limited());
    expect(book.isSure).toBe(false);
    expect(partsOf(book)).toEqual([]);
    book.recall([row('n2', 'transferring')], 0);
    expect(book.isSure).toBe(true);
    expect(partsOf(book)).toEqual(['n2']);
    const onlyFirst = new Map([['n1', 'connected' as const]]);
    expect(partsOf(book, onlyFirst)).toEqual(['n2']);
    expect(partsOf(book, onlyFirst, 30_000)).toEqual(['n1']);
  });
});

describe('a node that transfers and gets nothing', () => {
  const STILL_MS = 60_000;
  const moving = (verifiedBytes: number, rateBytesPerSecond = 0): NodeRecord => ({
    ...progress('transferring', verifiedBytes),
    rateBytesPerSecond,
  });
  const book = () => {
    const made = new NodeBook(plan(['n1', 'n2'], { maxParallelNodes: 1 }));
    made.recall([], 0);
    made.turns(everywhere, 0);
    made.take('n1', moving(5));
    made.turns(everywhere, 1);
    return made;
  };
  const placed = (of: NodeBook, nowMs: number) => {
    const takesPart = of.turns(everywhere, nowMs);
    return ['n1', 'n2'].filter(takesPart);
  };

  it('has its place for a minute while another one waits', () => {
    const made = book();
    expect(placed(made, STILL_MS)).toEqual(['n1']);
    expect(placed(made, STILL_MS + 1)).toEqual(['n2']);
    made.take('n2', moving(1, 1));
    expect(placed(made, 3 * STILL_MS)).toEqual(['n2']);
    made.take('n2', progress('ready', 10));
    expect(placed(made, 3 * STILL_MS + 1)).toEqual(['n1', 'n2']);
  });

  it.each([
    ['a byte has come', moving(6)],
    ['bytes come of a piece that is not whole', moving(5, 1)],
    ['it verifies', progress('verifying', 5)],
  ])('has it for longer when %s', (_case, record) => {
    const made = book();
    made.take('n1', record);
    expect(placed(made, STILL_MS)).toEqual(['n1']);
    expect(placed(made, STILL_MS + 1)).toEqual(['n1']);
  });

  it('does not keep who took its place from going on', () => {
    const made = book();
    expect(placed(made, STILL_MS + 1)).toEqual(['n2']);
    made.take('n2', moving(1));
    expect(placed(made, STILL_MS + 2)).toEqual(['n2']);
    // Then both stand still: who has more goes on.
    expect(placed(made, 2 * STILL_MS + 2)).toEqual(['n1']);
    expect(placed(made, 3 * STILL_MS)).toEqual(['n1']);
  });
});

describe('the progress of the nodes', () => {
  const agents = new Map([['n1', 'connected' as const]]);

  it('says nothing of bytes that moved before it was suspended', () => {
    const book = new NodeBook(plan(['n1', 'n2', 'n3']));
    book.take('n1', { ...progress('transferring', 5), rateBytesPerSecond: 7 });
    book.take('n2', { ...progress('verifying', 5), rateBytesPerSecond: 7 });
    book.take('n3', progress('ready', 10));
    book.apply(plan(['n1', 'n2', 'n3'], { suspend: true }), 0);
    const quiet = { state: 'pending', verifiedBytes: 5, rateBytesPerSecond: 0 };
    expect(book.progress(everywhere)).toMatchObject([quiet, quiet, { state: 'ready' }]);
    book.apply(plan(['n1', 'n2', 'n3']), 0);
    expect(book.progress(everywhere)[0]).toMatchObject({ state: 'transferring' });
  });

  it('says nothing of bytes that moved while a node had a turn, and says so at once', () => {
    const limited = plan(['n1', 'n2'], { maxParallelNodes: 1 });
    const book = new NodeBook(limited);
    book.recall([row('n1', 'transferring'), row('n2', 'transferring')], 0);
    for (const [name, bytes] of [
      ['n1', 5],
      ['n2', 6],
    ] as const) {
      book.take(name, { ...progress('transferring', bytes), rateBytesPerSecond: 7 });
    }
    const rates = () => book.progress(everywhere).map((node) => node.rateBytesPerSecond);
    // Nobody was told anything yet.
    expect(rates()).toEqual([7, 7]);
    book.turns(everywhere, 0);
    expect(rates()).toEqual([0, 7]);
    expect(book.progress(everywhere)[0]).toMatchObject({ state: 'pending', verifiedBytes: 5 });
    book.take('n2', progress('ready', 10));
    book.turns(everywhere, 1);
    expect(book.progress(everywhere)).toMatchObject([
      { state: 'transferring' },
      { state: 'ready', rateBytesPerSecond: 0 },
    ]);
  });

  it('says of each target what it has said last, and of one that is away no rate', () => {
    const book = new NodeBook(plan(['n1', 'n2', 'n3']));
    for (const name of ['n1', 'n2']) {
      book.take(name, { ...progress('transferring', 5), rateBytesPerSecond: 7 });
    }
    expect(book.progress(agents)).toMatchObject([
      { name: 'n1', state: 'transferring', connected: true, rateBytesPerSecond: 7 },
      { name: 'n2', state: 'transferring', connected: false, rateBytesPerSecond: 0 },
      { name: 'n3', state: 'pending', connected: false },
    ]);
  });

  it.each<[string, (book: NodeBook) => void]>([
    ['a node has reported', (book) => book.take('n1', progress('ready', 10))],
    ['the rows of an earlier leader are read', (book) => book.recall([row('n1', 'ready')], 0)],
    [
      'another epoch begins',
      (book) => book.apply({ ...plan(['n1']), record: aRecord({ epoch: 2 }) }, 0),
    ],
    ['it is for other nodes', (book) => book.apply(plan(['n2']), 0)],
  ])('is made anew when %s, and only then', (_why, change) => {
    const book = new NodeBook(plan(['n1']));
    const before = book.progress(agents);
    expect(book.progress(agents)).toBe(before);
    change(book);
    expect(book.progress(agents)).not.toBe(before);
    expect(book.progress(new Map())[0]?.connected).toBe(false);
  });
});
