/** Builders of objects for tests: valid, with what matters to the test given. */
import type { TransferReport } from '@sluice/protocol/messages.ts';
import type { DistributionSpec } from '../api/v1alpha1/distribution.ts';
import type { Origin, OriginSpec } from '../api/v1alpha1/origin.ts';
import type {
  DistributionPlan,
  DistributionProgress,
  EpochRecord,
  NodeProgress,
  OriginUsage,
  Troubles,
} from '../controllers/dataSide.ts';

export function aSpec(
  overrides: Partial<Omit<DistributionSpec, 'source' | 'target'>> & {
    source?: Partial<DistributionSpec['source']>;
    target?: Partial<DistributionSpec['target']>;
  } = {},
): DistributionSpec {
  return {
    delivery: {
      topUp: ['Relay'],
      maxOriginShare: '10%',
      transport: 'Hybrid',
      maxParallelNodes: '100%',
      maxUnready: 0,
    },
    relays: { topologyKey: 'topology.kubernetes.io/zone', nodesPerRelay: 200, dedicated: false },
    priority: 0,
    suspend: false,
    progressDeadlineSeconds: 600,
    deletionPolicy: 'Delete',
    deletionGraceSeconds: 0,
    ...overrides,
    source: { url: 'http://origin.example.com/file.bin', ...overrides.source },
    target: {
      nodeSelector: {},
      path: 'model',
      fileMode: '0644',
      keepVersions: 1,
      nodeLabel: false,
      ...overrides.target,
    },
  };
}

export function anOrigin(name: string, spec: Partial<OriginSpec>, createdAt: string): Origin {
  return {
    apiVersion: 'sluice.dev/v1alpha1',
    kind: 'Origin',
    metadata: {
      name,
      uid: `uid-${name}`,
      generation: 1,
      resourceVersion: '1',
      creationTimestamp: createdAt,
    },
    spec: {
      hosts: ['cdn.example.com'],
      limits: {},
      schedule: [],
      closeAfter: '120s',
      allowedNamespaces: { from: 'All' },
      maxPriority: 100,
      allowPrivateAddresses: false,
      allowAgentCredentials: false,
      ...spec,
    },
  };
}

export function aRecord(overrides: Partial<EpochRecord> = {}): EpochRecord {
  return {
    uid: 'uid-1',
    namespace: 'ml',
    name: 'llama',
    epoch: 1,
    url: 'http://origin.example.com/file.bin',
    source: { sizeBytes: 1000, validator: { etag: '"v1"' }, ranges: true },
    files: [{ path: 'file.bin', sizeBytes: 1000 }],
    pieceLengthBytes: 262_144,
    pieceCount: 1,
    swarmId: '0'.repeat(40),
    feedPublicKey: '',
    feedSeed: '',
    swarmSecret: '',
    relayToken: '',
    startedAt: '2026-01-01T00:00:01Z',
    ...overrides,
  };
}

/** What a process says of an epoch. */
export function aTransferReport(overrides: Partial<TransferReport> = {}): TransferReport {
  return {
    uid: 'uid-1',
    epoch: 1,
    state: 'transferring',
    verifiedPieces: 0,
    verifiedBytes: 0,
    received: { fromPeers: 0, fromRelays: 0, fromRelayHttp: 0, fromOrigin: 0 },
    uploadedBytes: 0,
    rateBytesPerSecond: 0,
    ...overrides,
  };
}

export function aReport(name: string, overrides: Partial<NodeProgress> = {}): NodeProgress {
  return {
    name,
    state: 'transferring',
    connected: true,
    verifiedBytes: 0,
    rateBytesPerSecond: 0,
    received: { fromPeers: 0, fromRelays: 0, fromRelayHttp: 0, fromOrigin: 0 },
    ...overrides,
  };
}

/** Nothing is wrong but what is given. */
export function troubles(overrides: Partial<Troubles> = {}): Troubles {
  const nothing = () => undefined;
  return {
    isDatabaseAway: () => false,
    relayImage: nothing,
    agentImage: nothing,
    ...overrides,
  };
}

export function aProgress(
  nodes: readonly NodeProgress[],
  overrides: Partial<DistributionProgress> = {},
): DistributionProgress {
  return { epoch: 1, nodes, originBytes: 0, sourceChanged: false, ...overrides };
}

/** Of an Origin that allows 8 connections and 1,000 bytes per second. */
export function aUsage(overrides: Partial<OriginUsage> = {}): OriginUsage {
  return {
    connections: 0,
    rateBytesPerSecond: 0,
    windowBytes: 0,
    trafficBytes: 0,
    chargedBytes: 0,
    limits: { connections: 8, bandwidthBytesPerSecond: 1000, trafficBytes: undefined },
    heldBack: [],
    disagreements: [],
    ...overrides,
  };
}

export function aPlanOf(
  record: EpochRecord,
  overrides: Partial<DistributionPlan> = {},
): DistributionPlan {
  return {
    record,
    headers: { authorization: 'Bearer of-the-origin' },
    delivery: { topUp: ['Relay'], transport: 'Hybrid' },
    maxOriginShare: 0.1,
    target: { path: 'llama', fileMode: '0644', keepVersions: 1 },
    nodes: [{ name: 'node-a', domain: 'zone-a' }],
    priority: 0,
    suspend: false,
    ...overrides,
  };
}
