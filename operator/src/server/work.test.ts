import type { TransferState, WorkMessage } from '@sluice/protocol/messages.ts';
import { describe, expect, it } from 'vitest';
import type { DistributionPlan, OriginPolicy } from '../controllers/dataSide.ts';
import { aPlanOf, aRecord } from '../testing/objects.ts';
import {
  difference,
  earlierEpochs,
  lineOf,
  membersOf,
  type ProcessInfo,
  taskFor,
  type Work,
} from './work.ts';

function planOf(overrides: Partial<DistributionPlan> = {}, epoch = 1): DistributionPlan {
  return aPlanOf(aRecord({ uid: 'u', epoch }), overrides);
}

function processOf(id: string, overrides: Partial<ProcessInfo>): ProcessInfo {
  const ports = { bitTorrentPort: 6881, httpPort: undefined };
  return { id, kind: 'agent', node: 'node-a', domain: undefined, host: id, ...ports, ...overrides };
}

describe('relays', () => {
  it('are told of no source while its credentials cannot be read, nor are stand-ins', () => {
    const plan = planOf({ headers: {}, lacksCredentials: true });
    expect(taskFor(planOf(), 'relay', undefined).source).toBeDefined();
    expect(taskFor(plan, 'relay', undefined).source).toBeUndefined();
    expect(taskFor(plan, 'agent', undefined, { pulls: true }).source).toBeUndefined();
  });

  it('of a distribution of its own serve no other, and no others serve it', () => {
    const relayOf = (id: string, dedicatedTo?: string) =>
      processOf(id, { kind: 'relay', domain: 'zone-a', dedicatedTo });
    const processes = [relayOf('shared'), relayOf('own', 'u'), relayOf('of-another', 'v')];
    const servedBy = (plan: DistributionPlan) =>
      membersOf(plan, processes).map(({ process }) => process.id);
    expect(servedBy(planOf())).toEqual(['shared']);
    expect(servedBy(planOf({ dedicatedRelays: true }))).toEqual(['own']);
  });
});

describe('a version before the newest', () => {
  it.each<[string, [number, TransferState][], boolean]>([
    [
      'is whole on the node, the newest is on its way',
      [
        [1, 'ready'],
        [2, 'transferring'],
      ],
      false,
    ],
    ['may be whole: an agent that was started anew says nothing of it', [[2, 'pending']], false],
    ['may be whole: nothing was said yet', [], false],
    [
      'is whole, and so is the newest: the node sees how many it keeps',
      [
        [1, 'ready'],
        [2, 'ready'],
      ],
      false,
    ],
    ['was not spoken of, and the newest is whole', [[2, 'ready']], false],
    ['is in parts: nobody completes it any more', [[1, 'transferring']], true],
  ])('%s', (_case, states, isRemoved) => {
    const said = new Map(states);
    const removals = earlierEpochs(planOf({}, 2), 'agent', (epoch) => said.get(epoch));
    const removal = { type: 'remove', uid: 'u', epoch: 1, deleteFiles: true };
    expect(removals).toEqual(isRemoved ? [removal] : []);
  });

  it.each<[string, TransferState | undefined, number[]]>([
    ['on its way: what did not change need not be pulled again', 'transferring', [1]],
    ['not spoken of', undefined, [1]],
    ['whole', 'ready', [1, 2]],
    ['failed: the disk may have no room for both', 'failed', [1, 2]],
  ])('is kept by a relay while the newest is %s', (_case, state, removed) => {
    const stateOf = (epoch: number) => (epoch === 3 ? state : undefined);
    const removals = earlierEpochs(planOf({}, 3), 'relay', stateOf);
    expect(removals.map(({ epoch }) => epoch)).toEqual(removed);
  });
});

describe('who works on a plan', () => {
  it('are the agents of its nodes and the relays of their domains', () => {
    const processes = [
      processOf('agent-a', {}),
      processOf('agent-b', { node: 'node-b' }),
      processOf('relay-a', { kind: 'relay', node: 'node-b', domain: 'zone-a' }),
      processOf('relay-b', { kind: 'relay', domain: 'zone-b' }),
    ];
    const ids = (plan: DistributionPlan) => membersOf(plan, processes).map((m) => m.process.id);
    expect(ids(planOf())).toEqual(['agent-a', 'relay-a']);
    expect(ids(planOf({ suspend: true }))).toEqual([]);
  });
});

describe('a task', () => {
  const policy: OriginPolicy = {
    name: 'cdn',
    hosts: ['cdn.example.com'],
    limits: {},
    closeAfterSeconds: 120,
    allowPrivateAddresses: true,
    allowAgentCredentials: false,
  };
  const delivery = { topUp: ['Relay', 'Origin'], transport: 'Hybrid' } as const;

  it('names every file, and at the origin the validator of each', () => {
    const own = { etag: '"own"' };
    const files = [
      { path: 'a/one', sizeBytes: 1, sha256: 'f'.repeat(64), validator: own },
      { path: 'two', sizeBytes: 0 },
    ];
    const { record } = planOf();
    const task = taskFor(planOf({ record: { ...record, files } }), 'relay', undefined);
    expect(task.files).toEqual([
      { path: 'a/one', sizeBytes: 1, sha256: 'f'.repeat(64) },
      { path: 'two', sizeBytes: 0 },
    ]);
    expect(task.source?.files).toEqual([
      { path: 'a/one', validator: own },
      { path: 'two', validator: record.source.validator },
    ]);
  });

  it.each(['relay', 'agent'] as const)('tells a %s whose word does not count', (kind) => {
    expect(taskFor(planOf(), kind, undefined, { revokedPullers: ['key'] }).revokedPullers).toEqual([
      'key',
    ]);
    expect(taskFor(planOf(), kind, undefined)).not.toHaveProperty('revokedPullers');
  });

  it.each(['relay', 'agent'] as const)('tells a %s which versions it may use', (kind) => {
    const donors = [{ namespace: 'ml', uid: 'v', epoch: 2 }];
    expect(taskFor(planOf(), kind, undefined, { donors }).donors).toEqual(donors);
    expect(taskFor(planOf(), kind, undefined)).not.toHaveProperty('donors');
  });

  it('names mirrors, each as its Origin has it, that the namespace may use', () => {
    const validators = [{ etag: '"m"' }];
    const mirror = (host: string, headers = {}) => ({
      id: host,
      url: `http://${host}/file.bin`,
      validators,
      headers,
    });
    const secret = { authorization: 'Bearer of-the-mirror' };
    const mirrors = [mirror('cdn.example.com', secret), mirror('open'), mirror('closed')];
    const policies = [
      policy,
      { ...policy, name: 'closed', hosts: ['closed'], namespaces: ['other'] },
    ];
    const plan = planOf({ mirrors, delivery, headers: {} });
    const told = (kind: 'relay' | 'agent') =>
      taskFor(plan, kind, undefined, { policies }).source?.mirrors;
    const open = { ...mirror('open'), allowPrivateAddresses: false };
    expect(told('relay')).toEqual([
      { ...mirror('cdn.example.com', secret), allowPrivateAddresses: true },
      open,
    ]);
    expect(told('agent')).toEqual([open]);
  });

  it('holds the credentials of the origin for relays alone', () => {
    const relay = taskFor(planOf({ delivery }), 'relay', policy);
    expect(relay.source).toMatchObject({ allowPrivateAddresses: true });
    expect(JSON.stringify(relay)).toContain('of-the-origin');
    const agent = taskFor(planOf({ delivery }), 'agent', policy);
    expect(JSON.stringify(agent)).not.toContain('of-the-origin');
    expect(agent.source).toBeUndefined();
  });

  it.each([
    ['nodes may top up from it, and there are no credentials', { delivery, headers: {} }, false],
    ['its Origin gives the credentials to agents, too', { delivery }, true],
  ])('tells agents of the origin when %s', (_, plan, allowAgentCredentials) => {
    const task = taskFor(planOf(plan), 'agent', { ...policy, allowAgentCredentials });
    expect(task.source?.url).toBe(planOf().record.url);
  });

  it.each([
    ['topUp does not name it', { headers: {} }],
    [
      'it does not honour ranges',
      {
        headers: {},
        delivery,
        record: { ...planOf().record, source: { ...planOf().record.source, ranges: false } },
      },
    ],
  ])('does not tell agents of the origin when %s', (_, plan) => {
    expect(taskFor(planOf(plan), 'agent', policy).source).toBeUndefined();
  });
});

describe('what a process is told', () => {
  const task = taskFor(planOf(), 'agent', undefined);
  const work: Work = { task, peers: [], removals: [] };

  it('is what it does not know yet, and nothing twice', () => {
    const messages = difference(undefined, work);
    expect(messages.map(({ type }) => type)).toEqual(['task', 'peers']);
    expect(difference(work, work)).toEqual([]);
    const again = { ...work, task: taskFor(planOf(), 'agent', undefined) };
    expect(difference(work, again)).toEqual([]);
  });

  it('is of another epoch its task, with whom it works on it, and what becomes of the one before', () => {
    const old = { type: 'remove', uid: 'u', epoch: 1, deleteFiles: true } as const;
    const next = { ...work, task: taskFor(planOf({}, 2), 'agent', undefined), removals: [old] };
    expect(difference(work, next)).toMatchObject([old, { type: 'task' }, { epoch: 2, peers: [] }]);
    expect(difference(next, { ...next, removals: [] })).toEqual([]);
  });

  it('is to stop what is not its own any more; only a tombstone deletes', () => {
    const stop = { type: 'remove', uid: 'u', epoch: 1, deleteFiles: false };
    expect(difference(work, undefined)).toEqual([stop]);
    const kept = { type: 'remove', uid: 'u', deleteFiles: false } as const;
    const gone = { type: 'remove', uid: 'u', deleteFiles: true } as const;
    const removedBy = (...removals: Work['removals']) => ({ peers: [], removals });
    expect(difference(work, removedBy(gone))).toEqual([gone]);
    expect(difference(removedBy(kept), removedBy(gone))).toEqual([gone]);
    expect(difference(removedBy(gone), removedBy(gone))).toEqual([]);
    expect(difference(removedBy(gone), undefined)).toEqual([]);
  });
});

it('a list of peers is written as JSON writes it', () => {
  const peer = { id: 'a"b', role: 'relay', host: '::1', port: 1, httpPort: 2 } as const;
  const message: WorkMessage = { type: 'peers', uid: 'u', epoch: 3, peers: [peer, { ...peer }] };
  for (const peers of [message.peers, [], [peer]]) {
    const line = lineOf({ ...message, peers }).toString();
    expect(line).toBe(`${JSON.stringify({ ...message, peers })}\n`);
  }
});
