import type { TransferState } from '@sluice/protocol/messages.ts';
import { beforeEach, describe, expect, it } from 'vitest';
import type { DistributionPlan, EpochRecord } from '../controllers/dataSide.ts';
import { aPlanOf, aRecord } from '../testing/objects.ts';
import { Donations } from './donations.ts';
import type { FleetProcess } from './fleetView.ts';
import { NodeBook } from './nodeBook.ts';
import { Reports } from './reports.ts';

const MIB = 1024 * 1024;
const LATER_MS = 100_000;
const DIGEST = 'a'.repeat(64);
const FOUR = [{ first: 0, count: 4 }];
const DONOR = { namespace: 'ml', uid: 'donor', epoch: 1 };

let books: Map<string, NodeBook>;
let donations: Donations;
let changed: string[];
let mayTake: boolean;

beforeEach(() => {
  books = new Map();
  changed = [];
  mayTake = true;
  donations = new Donations({
    book: (uid) => books.get(uid),
    mayTake: () => mayTake,
    changed: (uid) => changed.push(uid),
    lookAgain: () => {},
  });
  donations.start(0);
});

function recordOf(uid: string, overrides: Partial<EpochRecord> = {}): EpochRecord {
  return aRecord({
    uid,
    source: { sizeBytes: MIB, validator: { etag: '"v1"' }, ranges: true },
    files: [{ path: 'file.bin', sizeBytes: MIB, sha256: DIGEST, validator: { etag: '"v1"' } }],
    pieceCount: 4,
    startedAt: uid === 'donor' ? '2026-01-01T00:00:00Z' : '2026-01-02T00:00:00Z',
    ...overrides,
  });
}

function apply(
  record: EpochRecord,
  names: readonly string[],
  overrides: Partial<DistributionPlan> = {},
): NodeBook {
  const nodes = names.map((name) => ({ name, domain: 'a', uid: `uid-${name}` }));
  const plan = aPlanOf(record, { nodes, ...overrides });
  const book = books.get(record.uid) ?? new NodeBook(plan);
  book.apply(plan, 0);
  books.set(record.uid, book);
  donations.set(record, 0);
  return book;
}

function has(book: NodeBook, state: TransferState, verifiedBytes: number, ...names: string[]) {
  const received = { fromPeers: 0, fromRelays: 0, fromRelayHttp: 0, fromOrigin: 0 };
  for (const name of names) {
    book.take(name, { state, verifiedBytes, rateBytesPerSecond: 0, received });
  }
}

const ready = (book: NodeBook, ...names: string[]) => has(book, 'ready', MIB, ...names);

function processOf(kind: 'relay' | 'agent', node: string): FleetProcess {
  return {
    id: `${kind}-${node}`,
    protocolVersion: 1,
    kind,
    node,
    domain: kind === 'relay' ? 'a' : undefined,
    host: node,
    bitTorrentPort: 6881,
    httpPort: undefined,
    pod: node,
    podUid: node,
    nodeUid: undefined,
    stream: undefined,
    synced: true,
    told: new Map(),
    reportSequence: 0,
    reports: new Reports(),
    seenAtMs: 0,
    sessionAtMs: 0,
    sessionExpiresAtMs: Number.POSITIVE_INFINITY,
  };
}

/** As a relay that says so of that epoch. */
function relayWith(
  uid: string,
  state: TransferState,
  verifiedBytes = MIB,
  epoch = 1,
): FleetProcess {
  const relay = processOf('relay', 'r');
  relay.reports.set({
    uid,
    epoch,
    state,
    verifiedPieces: 0,
    verifiedBytes,
    received: { fromPeers: 0, fromRelays: 0, fromRelayHttp: 0, fromOrigin: 0 },
    uploadedBytes: 0,
    rateBytesPerSecond: 0,
  });
  return relay;
}

function look(
  uid: string,
  processes: readonly FleetProcess[],
  nowMs = LATER_MS,
  isDisputed = false,
) {
  const book = books.get(uid)!;
  const agents = new Map(
    processes.flatMap(({ kind, node }) => (kind === 'agent' ? [[node, 'connected'] as const] : [])),
  );
  const members = processes.map((process) => ({ process, domain: 'a' }));
  const told = donations.look(uid, { book, members, agents, isDisputed }, nowMs);
  const leased = donations.leased(uid);
  return { donors: told.donors, signers: [...told.signers], kept: leased?.kept ?? [], leased };
}

const agentsOn = (...nodes: string[]) => nodes.map((node) => processOf('agent', node));

describe('bytes that another distribution has on nodes', () => {
  it('are told to all, signed by one of those, and nobody pulls them', () => {
    ready(apply(recordOf('donor'), ['n1', 'n2', 'n9']), 'n1', 'n2', 'n9');
    apply(recordOf('u'), ['n0', 'n1', 'n2']);
    const seen = look('u', [...agentsOn('n0', 'n1', 'n2'), processOf('relay', 'r')]);
    expect(seen).toMatchObject({ donors: [DONOR], signers: ['agent-n1'], kept: FOUR });
    expect(seen.leased).toEqual({ kept: FOUR, signed: FOUR, signers: new Set(['agent-n1']) });
    expect(changed).toEqual(['u']);
    look('u', agentsOn('n0', 'n1', 'n2'));
    expect(changed).toEqual(['u']);
  });

  it('are signed by a relay where one has them, on whatever nodes they are', () => {
    apply(recordOf('donor'), ['n9']);
    apply(recordOf('u'), ['n0']);
    const relay = relayWith('donor', 'ready');
    expect(look('u', [...agentsOn('n0'), relay])).toMatchObject({
      donors: [DONOR],
      signers: ['relay-r'],
      kept: FOUR,
    });
  });

  it('are signed by another node when the one that did is gone or has failed', () => {
    ready(apply(recordOf('donor'), ['n1', 'n2']), 'n1', 'n2');
    const book = apply(recordOf('u'), ['n0', 'n1', 'n2']);
    expect(look('u', agentsOn('n0', 'n1', 'n2')).signers).toEqual(['agent-n1']);
    expect(look('u', agentsOn('n0', 'n2')).signers).toEqual(['agent-n2']);
    // Who has begun goes on.
    expect(look('u', agentsOn('n0', 'n1', 'n2')).signers).toEqual(['agent-n2']);
    has(book, 'failed', 0, 'n2');
    expect(look('u', agentsOn('n0', 'n1', 'n2')).signers).toEqual(['agent-n1']);
    has(book, 'failed', 0, 'n1');
    const last = look('u', agentsOn('n0', 'n1', 'n2'));
    expect(last).toMatchObject({ signers: [], kept: [] });
    // A task that changes is told to every node again.
    expect(last.donors).toEqual([DONOR]);
  });

  it.each<[string, () => void]>([
    ['no node has them', () => apply(recordOf('donor'), ['n1'])],
    [
      'they are of another digest',
      () => giver({ files: [{ path: 'f', sizeBytes: MIB, sha256: 'b'.repeat(64) }] }),
    ],
    [
      'they are of another namespace and source',
      () => giver({ namespace: 'other', url: 'http://else.example.com/f' }),
    ],
    ['only other nodes have them', () => ready(apply(recordOf('donor'), ['n9']), 'n9')],
    [
      'it may take nothing from its source',
      () => {
        giver();
        mayTake = false;
      },
    ],
    [
      'they are deleted',
      () => {
        giver();
        donations.remove('donor');
      },
    ],
    [
      'the donor has another epoch by now',
      () => {
        giver();
        apply(recordOf('donor', { epoch: 2 }), ['n1']);
      },
    ],
  ])('are not counted on when %s', (_case, given) => {
    given();
    apply(recordOf('u'), ['n0', 'n1']);
    expect(look('u', agentsOn('n0', 'n1'))).toMatchObject({ donors: [], signers: [], kept: [] });
  });

  it('are of use to a distribution that was there first', () => {
    apply(recordOf('u'), ['n0', 'n1']);
    expect(look('u', agentsOn('n0', 'n1')).kept).toEqual([]);
    giver();
    expect(look('u', agentsOn('n0', 'n1')).kept).toEqual(FOUR);
    donations.remove('donor');
    expect(look('u', agentsOn('n0', 'n1'))).toMatchObject({ signers: [], kept: [] });
  });

  it('keep pieces back only while something moves', () => {
    giver();
    const book = apply(recordOf('u'), ['n0', 'n1']);
    const at = (ms: number) => look('u', agentsOn('n0', 'n1'), LATER_MS + ms).kept;
    expect(at(0)).toEqual(FOUR);
    expect(at(30_000)).toEqual(FOUR);
    has(book, 'transferring', 1, 'n1');
    expect(at(31_000)).toEqual(FOUR);
    expect(donations.isWaiting('u')).toBe(true);
    expect(at(61_001)).toEqual([]);
    // Who has them may sign them all the same.
    expect(donations.leased('u')?.signers).toEqual(new Set(['agent-n1']));
    expect(at(200_000)).toEqual([]);
  });

  it('are waited for longer where they are to be read through first', () => {
    ready(apply(recordOf('donor', { pieceLengthBytes: 2 * 262_144 }), ['n1']), 'n1');
    const size = 10_000_000_000;
    const files = [{ path: 'f', sizeBytes: size, sha256: DIGEST }];
    donations.set(recordOf('donor', { epoch: 2, files, pieceLengthBytes: 2 * 262_144 }), 0);
    books.clear();
    ready(apply(recordOf('donor', { epoch: 2, files, pieceLengthBytes: 524_288 }), ['n1']), 'n1');
    apply(recordOf('u', { files }), ['n0', 'n1']);
    const at = (ms: number) => look('u', agentsOn('n0', 'n1'), LATER_MS + ms).kept.length;
    expect([at(0), at(129_000), at(131_000)]).toEqual([1, 1, 0]);
  });

  it('are given over HTTP by nobody but who has them himself, or a relay', () => {
    giver();
    const delivery = { topUp: ['Relay'], transport: 'HTTP' } as const;
    apply(recordOf('u'), ['n0', 'n1'], { delivery });
    expect(look('u', agentsOn('n0', 'n1')).kept).toEqual([]);
    expect(look('u', [...agentsOn('n0', 'n1'), relayWith('donor', 'ready')]).kept).toEqual(FOUR);
    apply(recordOf('v'), ['n1'], { delivery });
    expect(look('v', agentsOn('n1')).kept).toEqual(FOUR);
  });

  function giver(overrides: Partial<EpochRecord> = {}): void {
    ready(apply(recordOf('donor', overrides), ['n1']), 'n1');
  }
});

describe('a distribution that every node has', () => {
  it('is told nothing new, and who signs goes on', () => {
    ready(apply(recordOf('donor'), ['n1', 'n2']), 'n1', 'n2');
    const book = apply(recordOf('u'), ['n1', 'n2']);
    expect(look('u', agentsOn('n1', 'n2')).signers).toEqual(['agent-n1']);
    ready(book, 'n1', 'n2');
    const after = look('u', agentsOn('n1', 'n2'));
    expect(after).toMatchObject({ donors: [DONOR], signers: ['agent-n1'], kept: [] });
    expect(after.leased?.signed).toEqual(FOUR);
    expect(donations.isWaiting('u')).toBe(false);
    expect(look('u', agentsOn('n2')).signers).toEqual([]);
  });
});

describe('bytes that an older distribution is pulling', () => {
  const filling = (verifiedBytes = 0) => relayWith('donor', 'transferring', verifiedBytes);

  it('are waited for at a relay that both share, while they move', () => {
    apply(recordOf('donor'), ['n1']);
    apply(recordOf('u'), ['n0']);
    const at = (ms: number, relay: FleetProcess) =>
      look('u', [...agentsOn('n0'), relay], LATER_MS + ms);
    expect(at(0, filling())).toMatchObject({ donors: [], signers: [], kept: FOUR });
    expect(at(25_000, filling(1)).kept).toEqual(FOUR);
    expect(at(50_000, filling(2)).kept).toEqual(FOUR);
    expect(at(51_000, relayWith('donor', 'ready'))).toMatchObject({
      donors: [DONOR],
      signers: ['relay-r'],
      kept: FOUR,
    });
  });

  it('are pulled once more when they do not move', () => {
    apply(recordOf('donor'), ['n1']);
    apply(recordOf('u'), ['n0']);
    const at = (ms: number) => look('u', [...agentsOn('n0'), filling()], LATER_MS + ms).kept;
    expect([at(0), at(30_001)]).toEqual([FOUR, []]);
  });

  it.each<[string, Partial<DistributionPlan>, Partial<DistributionPlan>]>([
    ['it is suspended', { suspend: true }, {}],
    ['this one has a higher priority', { priority: 1 }, { priority: 2 }],
  ])('are not waited for when %s', (_case, donor, own) => {
    apply(recordOf('donor'), ['n1'], donor);
    apply(recordOf('u'), ['n0'], own);
    expect(look('u', [...agentsOn('n0'), filling()]).kept).toEqual([]);
  });

  it('do not wait for the younger one', () => {
    apply(recordOf('donor'), ['n1']);
    apply(recordOf('u'), ['n0']);
    const relay = relayWith('u', 'transferring', 0);
    expect(look('donor', [...agentsOn('n1'), relay]).kept).toEqual([]);
  });
});

describe('bytes of the epoch before', () => {
  const next = { path: 'more', sizeBytes: 2 * MIB, sha256: 'c'.repeat(64) };
  const second = (overrides: Partial<EpochRecord> = {}) => {
    const [first] = recordOf('u').files;
    const files = [first!, next];
    return recordOf('u', { epoch: 2, files, pieceCount: 12, url: 'http://b/', ...overrides });
  };

  it('are signed by a node that had it, and only the rest is pulled', () => {
    ready(apply(recordOf('u'), ['n1', 'n2']), 'n2');
    apply(second(), ['n1', 'n2']);
    expect(look('u', agentsOn('n1', 'n2'))).toMatchObject({
      donors: [],
      signers: ['agent-n2'],
      kept: FOUR,
    });
  });

  it('are signed by a relay that keeps it, unless its disk has no room for both', () => {
    apply(recordOf('u'), ['n1']);
    ready(books.get('u')!, 'n1');
    apply(second(), ['n1', 'n2']);
    const relay = relayWith('u', 'ready');
    expect(look('u', [...agentsOn('n2'), relay]).signers).toEqual(['relay-r']);
    relay.reports.set(relayWith('u', 'failed', 0, 2).reports.get('u', 2)!);
    expect(look('u', [...agentsOn('n2'), relay])).toMatchObject({ signers: [], kept: [] });
  });

  it('are not on a node that was installed anew', () => {
    ready(apply(recordOf('u'), ['n1', 'n2']), 'n2');
    const nodes = [{ name: 'n2', domain: 'a', uid: 'uid-new' }];
    apply(second(), [], { nodes });
    expect(look('u', agentsOn('n2')).kept).toEqual([]);
  });
});

describe('an epoch that half of its nodes have', () => {
  const seen = (isDisputed = false, nowMs = LATER_MS) =>
    look('u', agentsOn('n1', 'n2'), nowMs, isDisputed);

  it('comes from them, and not from the origin again, to those that join', () => {
    const book = apply(recordOf('u', { files: [{ path: 'f', sizeBytes: MIB }] }), ['n1', 'n2']);
    expect(seen().kept).toEqual([]);
    ready(book, 'n1');
    expect(seen()).toMatchObject({ donors: [], signers: [], kept: FOUR });
    expect(seen(false, LATER_MS + 30_001).kept).toEqual([]);
  });

  it('is kept back for nodes that a new leader has not heard of yet', () => {
    ready(apply(recordOf('u'), ['n1', 'n2']), 'n2');
    expect(look('u', agentsOn('n1'), 1_000).kept).toEqual(FOUR);
    expect(look('u', agentsOn('n1'), 30_000).kept).toEqual([]);
  });

  it.each<[string, () => ReturnType<typeof look>]>([
    [
      'few nodes have it',
      () => {
        ready(apply(recordOf('u'), ['n1', 'n2', 'n3']), 'n1');
        return seen();
      },
    ],
    [
      'something that was signed of it is not so',
      () => {
        ready(apply(recordOf('u'), ['n1', 'n2']), 'n1');
        return seen(true);
      },
    ],
    [
      'nodes give nothing over HTTP',
      () => {
        const delivery = { topUp: ['Relay'], transport: 'HTTP' } as const;
        ready(apply(recordOf('u'), ['n1', 'n2'], { delivery }), 'n1');
        return seen();
      },
    ],
  ])('is pulled when %s', (_case, act) => {
    expect(act().kept).toEqual([]);
  });
});

describe('nodes of a completed epoch', () => {
  const joined = ['n0', 'n1', 'n2', 'n3', 'n4', 'n5', 'n6'];
  const some = agentsOn('n0', 'n4');

  it.each([
    ['give all of it to those that join later, however many', { completedAt: 'then' }, FOUR],
    ['are no source for many before', {}, []],
  ])('%s', (_case, overrides, kept) => {
    const book = apply(recordOf('u', overrides), joined);
    ready(book, 'n0');
    expect(look('u', some).kept).toEqual(kept);
  });

  it('do so from the moment when it is known to be complete', () => {
    const book = apply(recordOf('u'), joined);
    ready(book, 'n0');
    expect(look('u', some).kept).toEqual([]);
    apply(recordOf('u', { completedAt: 'then' }), joined);
    expect(look('u', some).kept).toEqual(FOUR);
  });
});
