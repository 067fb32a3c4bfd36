/** Each check of a random run finds what it is for, and nothing in a world that is as it should be. */
import { describe, expect, it } from 'vitest';
import type { ClusterFacts, DistributionFacts } from './clusterFacts.ts';
import type { DatabaseFacts } from './databaseFacts.ts';
import type { DiskFacts } from './diskFacts.ts';
import { judgeCluster, judgeEvents } from './judgeCluster.ts';
import { judgeDatabase } from './judgeDatabase.ts';
import { judgeDisk } from './judgeDisk.ts';
import { Memory, placeKey } from './memory.ts';
import type { Settings, Wanted } from './steps.ts';
import { after, emptyWorld, rested, type World } from './world.ts';

const NODES = [
  { name: 'node-1', zone: 'zone-a' },
  { name: 'node-2', zone: 'zone-b' },
];
const SETTINGS: Settings = {
  zone: undefined,
  isForPool: false,
  fileMode: '0644',
  keepVersions: 1,
  claim: undefined,
  nodeLabel: false,
  transport: 'Hybrid',
  maxParallelNodes: '100%',
  dedicated: false,
  nodesPerRelay: 200,
  priority: 0,
  suspend: false,
  deletionPolicy: 'Delete',
  graceSeconds: 0,
};
const NAME = 'random-0';
const SIZE = 10;

function wantedWith(settings: Partial<Settings> = {}): Wanted {
  const files = [{ path: 'file.bin', sizeBytes: SIZE, seed: 's' }];
  const version = { folder: 'v', files, kind: 'one', list: '', hasDigests: true } as const;
  return { name: NAME, path: NAME, version, settings: { ...SETTINGS, ...settings } };
}

function worldWith(settings: Partial<Settings> = {}): World {
  const wanted = wantedWith(settings);
  return rested(after(emptyWorld(NODES, ['node-2']), { kind: 'apply', wanted }));
}

function condition(type: string, status: string, reason: string) {
  return { type, status, reason, message: '' };
}

function distribution(
  change: Partial<NonNullable<DistributionFacts['status']>> = {},
): DistributionFacts {
  return {
    metadata: { name: NAME, uid: 'u', generation: 2 },
    status: {
      observedGeneration: 2,
      conditions: [condition('Ready', 'True', 'Delivered')],
      epoch: { number: 3, sizeBytes: SIZE },
      nodes: { desired: 2, pending: 0, transferring: 0, ready: 2, failed: 0, unreachable: 0 },
      bytes: { total: 2 * SIZE, delivered: 2 * SIZE },
      ...change,
    },
  };
}

function cluster(change: Partial<ClusterFacts> = {}): ClusterFacts {
  const pods = { replicas: 2, availableReplicas: 2, updatedReplicas: 2, observedGeneration: 1 };
  const agents = {
    desiredNumberScheduled: 2,
    numberAvailable: 2,
    updatedNumberScheduled: 2,
    observedGeneration: 1,
  };
  return {
    distributions: [distribution()],
    nodes: NODES.map(({ name }) => ({ metadata: { name, uid: `${name}-uid`, labels: {} } })),
    claims: [],
    volumes: [],
    events: [],
    operator: { metadata: { generation: 1 }, spec: { replicas: 2 }, status: pods },
    agents: { metadata: { generation: 1 }, spec: {}, status: agents },
    ofRelays: [],
    countedConnections: 0,
    ...change,
  };
}

describe('the cluster', () => {
  it('that is as it should be has no differences', () => {
    expect(judgeCluster(worldWith(), cluster())).toEqual([]);
    expect(judgeCluster(emptyWorld(NODES), cluster({ distributions: [] }))).toEqual([]);
  });

  it.each<[string, Partial<NonNullable<DistributionFacts['status']>>]>([
    ['an older generation', { observedGeneration: 1 }],
    ['not Ready', { conditions: [condition('Ready', 'False', 'Transferring')] }],
    [
      'Ready and Stalled',
      { conditions: [...distribution().status!.conditions!, condition('Stalled', 'True', 'X')] },
    ],
    [
      'a source that is not resolved',
      {
        conditions: [
          ...distribution().status!.conditions!,
          condition('SourceResolved', 'False', 'X'),
        ],
      },
    ],
    ['another size', { epoch: { number: 3, sizeBytes: 11 } }],
    [
      'fewer nodes',
      { nodes: { desired: 1, pending: 0, transferring: 0, ready: 1, failed: 0, unreachable: 0 } },
    ],
    ['too few bytes', { bytes: { total: 20, delivered: 19 } }],
    ['a failed node', { failedNodes: [{ name: 'node-1', reason: 'DiskFull' }] }],
  ])('shows a status with %s', (_, status) => {
    const facts = cluster({ distributions: [distribution(status)] });
    expect(judgeCluster(worldWith(), facts)).toHaveLength(1);
  });

  it('shows what is missing, and what should be gone', () => {
    expect(judgeCluster(worldWith(), cluster({ distributions: [] }))).toHaveLength(1);
    expect(judgeCluster(emptyWorld(NODES), cluster())).toHaveLength(1);
    const { metadata, status } = distribution();
    const going = { metadata: { ...metadata, deletionTimestamp: 'now' }, status: status! };
    expect(judgeCluster(worldWith(), cluster({ distributions: [going] }))).toEqual([
      `${NAME}: is being deleted`,
    ]);
  });

  it('waits neither for a cordoned node nor for one that is away', () => {
    const nodes = { desired: 1, pending: 0, transferring: 0, ready: 1, failed: 0, unreachable: 1 };
    const facts = cluster({
      distributions: [distribution({ nodes, bytes: { total: SIZE, delivered: SIZE } })],
    });
    for (const kind of ['cordon', 'powerOff', 'removeNode'] as const) {
      expect(judgeCluster(after(worldWith(), { kind, node: 'node-2' }), facts)).toEqual([]);
    }
  });

  it('shows labels that are missing, wrong, or too many', () => {
    const labelled = (value: string, name = NAME) =>
      cluster({
        nodes: NODES.map((node) => ({
          metadata: {
            name: node.name,
            uid: `${node.name}-uid`,
            labels: { [`default.dist.sluice.dev/${name}`]: value },
          },
        })),
      });
    expect(judgeCluster(worldWith({ nodeLabel: true }), labelled('3'))).toEqual([]);
    expect(judgeCluster(worldWith({ nodeLabel: true }), labelled('2'))).toHaveLength(2);
    expect(judgeCluster(worldWith({ nodeLabel: true }), cluster())).toHaveLength(2);
    expect(judgeCluster(worldWith(), labelled('3'))).toHaveLength(2);
    expect(judgeCluster(worldWith(), labelled('3', 'random-gone'))).toHaveLength(2);
  });

  it('shows claims and volumes that are missing, of other nodes, or of nobody', () => {
    const world = worldWith({ claim: 'c', zone: 'zone-a' });
    const one = { desired: 1, pending: 0, transferring: 0, ready: 1, failed: 0, unreachable: 0 };
    const own = distribution({
      nodes: one,
      bytes: { total: SIZE, delivered: SIZE },
      conditions: [
        condition('Ready', 'True', 'Delivered'),
        condition('VolumeAvailable', 'True', 'VolumeBound'),
      ],
    });
    const labels = { 'sluice.dev/distribution-uid': 'u' };
    const volume = (zone: string) => ({
      metadata: { name: 'v', labels },
      spec: {
        hostPath: { path: `/var/lib/sluice/default/${NAME}` },
        nodeAffinity: {
          required: {
            nodeSelectorTerms: [
              { matchExpressions: [{ key: 'topology.kubernetes.io/zone', values: [zone] }] },
            ],
          },
        },
      },
      status: { phase: 'Bound' },
    });
    const claim = {
      metadata: { name: 'c', labels },
      spec: { volumeName: 'v' },
      status: { phase: 'Bound' },
    };
    const distributions = [own];
    const good = { distributions, claims: [claim], volumes: [volume('zone-a')] };
    expect(judgeCluster(world, cluster(good))).toEqual([]);
    expect(judgeCluster(world, cluster({ ...good, claims: [] }))).toHaveLength(1);
    const outdated = { ...good, volumes: [volume('zone-b')] };
    expect(judgeCluster(world, cluster(outdated))).toHaveLength(1);
    const pending = { ...claim, status: { phase: 'Pending' } };
    expect(judgeCluster(world, cluster({ ...good, claims: [pending] }))).toHaveLength(1);
    const strange = {
      ...claim,
      metadata: { name: 'x', labels: { [Object.keys(labels)[0]!]: 'y' } },
    };
    expect(judgeCluster(world, cluster({ ...good, claims: [claim, strange] }))).toHaveLength(1);
    expect(judgeCluster(worldWith({ zone: 'zone-a' }), cluster(good))).toHaveLength(3);
    const going = { ...claim, metadata: { ...claim.metadata, deletionTimestamp: 'now' } };
    expect(judgeCluster(world, cluster({ ...good, claims: [going] }))).toEqual([
      'c is being deleted',
    ]);
  });

  it('shows relays that nobody needs, and pods that do not run, unless a node is away', () => {
    const status = { ...cluster().operator.status, availableReplicas: 1 };
    const operator = { ...cluster().operator, status };
    const facts = cluster({ operator, ofRelays: ['Deployment/sluice-relay-a'] });
    expect(judgeCluster(worldWith(), facts)).toHaveLength(2);
    const away = after(worldWith(), { kind: 'powerOff', node: 'node-2' });
    expect(judgeCluster(away, facts)).toEqual([]);
  });

  it.each(['operator', 'agents'] as const)(
    'shows a workload of %s that is changed or deleted just now',
    (which) => {
      const { metadata, ...rest } = cluster()[which];
      for (const change of [{ generation: 2 }, { deletionTimestamp: 'now' }]) {
        const facts = cluster({ [which]: { ...rest, metadata: { ...metadata, ...change } } });
        expect(judgeCluster(worldWith(), facts)).toHaveLength(1);
      }
    },
  );

  it('shows events that come too often, and too many of one Distribution', () => {
    const event = (number: number, note: string) => ({
      metadata: { name: `e${number}` },
      regarding: { kind: 'Distribution', name: NAME, uid: 'u' },
      reason: 'EpochStarted',
      note,
      reportingInstance: 'operator-1',
      eventTime: '',
    });
    const numbered = (count: number) =>
      Array.from({ length: count }, (_, at) => event(at, `${at}`));
    expect(judgeEvents(numbered(20), new Set())).toEqual({ most: 20, wrong: [] });
    expect(judgeEvents(numbered(21), new Set()).wrong).toHaveLength(1);
    expect(judgeEvents(numbered(21), new Set(['e3']))).toEqual({ most: 20, wrong: [] });
    const alike = [0, 1, 2].map((at) => event(at, 'again'));
    expect(judgeEvents(alike, new Set()).wrong).toHaveLength(1);
  });
});

describe('the database', () => {
  const received = { fromPeers: 0, fromRelays: 0, fromRelayHttp: 0, fromOrigin: 0 };
  const row = (node: string, change: object = {}) => ({
    uid: 'u',
    epoch: 3,
    node,
    nodeUid: `${node}-uid`,
    progress: { state: 'ready' as const, verifiedBytes: SIZE, rateBytesPerSecond: 0, received },
    ...change,
  });
  const record = { uid: 'u', owner: 'u', name: NAME, epoch: 3, sizeBytes: SIZE, isBuried: false };
  const journal = {
    origin: 'o',
    leases: 0,
    connections: 0,
    chargedBytes: 100,
    periodStartMs: 0,
    gaps: [],
  };
  const database = (change: Partial<DatabaseFacts> = {}): DatabaseFacts => ({
    records: [record],
    rows: [row('node-1'), row('node-2')],
    journals: [journal],
    ...change,
  });
  const meter = { openConnections: 0, bytesTotal: 100, sinceMs: 1 };

  it('that is as it should be has no differences', () => {
    expect(judgeDatabase(worldWith(), cluster(), database(), meter)).toEqual([]);
  });

  it('may have a record under the uid of the Distribution that it was adopted from', () => {
    const distributions = [
      { ...distribution(), metadata: { name: NAME, uid: 'heir', generation: 2 } },
    ];
    const adopted = database({ records: [{ ...record, owner: 'heir' }] });
    expect(judgeDatabase(worldWith(), cluster({ distributions }), adopted, meter)).toEqual([]);
    expect(judgeDatabase(worldWith(), cluster({ distributions }), database(), meter)).toHaveLength(
      2,
    );
  });

  it.each<[string, Partial<DatabaseFacts>]>([
    [
      'another epoch',
      {
        records: [{ ...record, epoch: 4 }],
        rows: database().rows.map((each) => ({ ...each, epoch: 4 })),
      },
    ],
    ['no record', { records: [], rows: [] }],
    ['a record of nobody', { records: [record, { ...record, uid: 'x', owner: 'x' }] }],
    ['a grave', { records: [record, { ...record, uid: 'x', isBuried: true }] }],
    ['rows of nobody', { rows: [...database().rows, row('node-1', { uid: 'x' })] }],
    ['a row of a node that is no more', { rows: [...database().rows, row('node-3')] }],
    ['no row of a node', { rows: [row('node-1')] }],
    ['a row of an earlier epoch', { rows: [row('node-1'), row('node-2', { epoch: 2 })] }],
    ['a row of a node before', { rows: [row('node-1'), row('node-2', { nodeUid: 'old' })] }],
    ['a gap in a journal', { journals: [{ ...journal, gaps: [7] }] }],
    ['less charged than was sent', { journals: [{ ...journal, chargedBytes: 99 }] }],
    ['connections that are leased', { journals: [{ ...journal, connections: 1 }] }],
    ['leases that nobody ends', { journals: [{ ...journal, leases: 1 }] }],
  ])('shows %s', (_, change) => {
    expect(judgeDatabase(worldWith(), cluster(), database(change), meter)).toHaveLength(1);
  });

  it('shows what the Origin or its own meter counts still', () => {
    const counted = cluster({ countedConnections: 1 });
    expect(judgeDatabase(worldWith(), counted, database(), meter)).toHaveLength(1);
    const open = { ...meter, openConnections: 1 };
    expect(judgeDatabase(worldWith(), cluster(), database(), open)).toHaveLength(1);
  });

  it('keeps what is of a node that is away until it is back', () => {
    const away = after(worldWith(), { kind: 'powerOff', node: 'node-2' });
    const grave = { ...record, uid: 'x', isBuried: true };
    const rows = [row('node-1'), row('node-2', { epoch: 2 })];
    expect(
      judgeDatabase(away, cluster(), database({ records: [record, grave], rows }), meter),
    ).toEqual([]);
  });
});

describe('a disk', () => {
  const folder = {
    uid: 'u',
    path: NAME,
    versions: [
      { epoch: 2, isWhole: true },
      { epoch: 3, isWhole: true },
    ],
    strange: [],
  };
  const disk = (change: Partial<DiskFacts> = {}): DiskFacts => ({
    node: 'node-1',
    links: new Map([[NAME, '.sluice/u/3']]),
    folders: [folder],
    strange: [],
    relayCaches: [],
    ...change,
  });
  const record = { uid: 'u', owner: 'u', name: NAME, epoch: 3, sizeBytes: SIZE, isBuried: false };
  const records = new Map([[NAME, record]]);
  const judge = (found: DiskFacts, world = worldWith(), memory = new Memory()) =>
    judgeDisk({ world, disk: found, nodeUid: 'n', records, memory });

  it('that is as it should be has no differences', () => {
    expect(judge(disk())).toEqual([]);
    expect(judge(disk({ links: new Map(), folders: [] }), worldWith({ zone: 'zone-b' }))).toEqual(
      [],
    );
  });

  it.each<[string, Partial<DiskFacts>]>([
    ['no link', { links: new Map() }],
    ['a link to an earlier version', { links: new Map([[NAME, '.sluice/u/2']]) }],
    ['something else beside the versions', { folders: [{ ...folder, strange: ['x'] }] }],
    ['another note', { folders: [{ ...folder, path: 'other' }] }],
    [
      'a version that is not whole',
      { folders: [{ ...folder, versions: [{ epoch: 2, isWhole: false }, folder.versions[1]!] }] },
    ],
    [
      'a version that is later',
      { folders: [{ ...folder, versions: [...folder.versions, { epoch: 4, isWhole: true }] }] },
    ],
    [
      'more versions than are kept',
      { folders: [{ ...folder, versions: [{ epoch: 1, isWhole: true }, ...folder.versions] }] },
    ],
    ['files of nobody', { folders: [folder, { ...folder, uid: 'x' }] }],
    ['a link of nobody', { links: new Map([...disk().links, ['random-9', '.sluice/x/1']]) }],
    ['another namespace', { strange: ['other'] }],
    ["a relay's cache", { relayCaches: ['/cache'] }],
  ])('shows %s', (_, change) => {
    expect(judge(disk(change))).toHaveLength(1);
  });

  it('shows files on a node that is no target, unless they may have been left there', () => {
    expect(judge(disk(), worldWith({ zone: 'zone-b' }))).toHaveLength(1);
    expect(judge(disk(), worldWith({ zone: 'zone-b', deletionPolicy: 'Retain' }))).toEqual([]);
    expect(judge(disk(), worldWith({ zone: 'zone-b', suspend: true }))).toEqual([]);
  });

  it('shows that an earlier version is gone that was to be kept', () => {
    const memory = new Memory();
    memory.versions = new Map([[placeKey('n', NAME), [1, 2]]]);
    const only = (...epochs: number[]) =>
      disk({
        folders: [{ ...folder, versions: epochs.map((epoch) => ({ epoch, isWhole: true })) }],
      });
    // Of two one is kept, the newest.
    expect(judge(only(2, 3), worldWith(), memory)).toEqual([]);
    expect(judge(only(3), worldWith(), memory)).toHaveLength(2);
    const lowered = after(worldWith(), {
      kind: 'edit',
      name: NAME,
      settings: { keepVersions: 0 },
    });
    expect(judge(only(3), lowered, memory)).toEqual([]);
    const raised = after(lowered, { kind: 'edit', name: NAME, settings: { keepVersions: 2 } });
    expect(judge(only(3), raised, memory)).toEqual([]);
    const moved = after(worldWith(), { kind: 'edit', name: NAME, settings: { zone: 'zone-a' } });
    expect(judge(only(3), moved, memory)).toEqual([]);
  });

  it('may show what others had left there before', () => {
    const links = new Map([...disk().links, ['retained', '.sluice/x/1']]);
    const left = disk({ links, folders: [folder, { ...folder, uid: 'x', path: 'retained' }] });
    expect(judge(left)).toHaveLength(2);
    const memory = new Memory();
    memory.found(new Map([['n', left]]));
    expect(judge(left, worldWith(), memory)).toEqual([]);
  });

  it('keeps showing what was to stay, until another Distribution comes there', () => {
    const memory = new Memory();
    memory.retain(NAME, 'u', true, new Map([['n', disk()]]));
    const gone = after(worldWith(), { kind: 'delete', name: NAME });
    const judgeGone = (found: DiskFacts) =>
      judgeDisk({ world: gone, disk: found, nodeUid: 'n', records: new Map(), memory });
    expect(judgeGone(disk())).toEqual([]);
    expect(judgeGone(disk({ links: new Map() }))).toHaveLength(1);
    expect(judgeGone(disk({ links: new Map([[NAME, '.sluice/x/1']]) }))).toHaveLength(1);
    memory.takeOver(NAME);
    expect(judgeGone(disk({ links: new Map() }))).toEqual([]);
  });
});
