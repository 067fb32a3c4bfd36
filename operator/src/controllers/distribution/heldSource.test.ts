import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { LeadingController } from '../../testing/leadingController.ts';
import { anOriginPolicy } from '../../testing/leasing.ts';
import { aReport, aSpec } from '../../testing/objects.ts';

const NODES = ['n1', 'n2', 'n3'];
const UID = 'uid-first';
const BAD_PORT = 'http://origin.example.com:99999/file.bin';
/** Of one that was deleted a moment ago. */
const graced = { deletionGraceSeconds: 60 };

let leading: LeadingController;

beforeEach(async () => {
  leading = new LeadingController(NODES);
  await leading.start();
});
afterEach(() => leading.stop());

/** The Origin of the source does not allow the namespace any more, or does again. */
function allow(namespace: string): void {
  const hosts = ['origin.example.com'];
  leading.data.policies = [anOriginPolicy({}, { hosts, namespaces: [namespace] })];
  leading.wakeAll();
}

function plan(uid = UID) {
  return leading.data.plans.get(uid);
}

function transferring(verifiedBytes: number): void {
  leading.data.report(UID, [
    aReport('n1', { state: 'ready', verifiedBytes: 1_000 }),
    aReport('n2', { verifiedBytes }),
    aReport('n3', { verifiedBytes }),
  ]);
}

function delivered(): void {
  const ready = NODES.map((name) => aReport(name, { state: 'ready', verifiedBytes: 1_000 }));
  leading.data.report(UID, ready);
}

async function begun(spec: Parameters<LeadingController['apply']>[1] = {}): Promise<void> {
  leading.apply('first', spec);
  await leading.pass(1_000);
  transferring(10);
  await leading.pass(1_000);
}

describe('a Distribution whose Origin refuses it in mid-transfer', () => {
  it('does as it is told from then on', async () => {
    await begun();
    allow('other');
    await leading.pass(2_000);
    leading.apply('first', {
      deletionPolicy: 'Retain',
      target: { nodeSelector: { no: 'node' } },
      delivery: { ...aSpec().delivery, maxUploadRate: 7 },
    });
    await leading.pass(1_000);
    expect(plan()).toMatchObject({
      nodes: [],
      leaving: { deleteFiles: false },
      delivery: { maxUploadRate: 7 },
      suspend: false,
    });
    leading.apply('first', { suspend: true });
    await leading.pass(1_000);
    expect(plan()).toMatchObject({ suspend: true });
    expect(leading.condition('first', 'Ready')).toBe('False/Suspended');
  });

  it('says so when nothing moves, and not before', async () => {
    await begun();
    allow('other');
    for (let bytes = 20; bytes < 30; bytes += 1) {
      transferring(bytes);
      await leading.pass(1_000);
    }
    expect(leading.condition('first', 'Ready')).toBe('False/Transferring');
    await leading.pass(12_000);
    expect(leading.condition('first', 'Stalled')).toBe('True/NamespaceNotAllowed');
    expect(leading.condition('first', 'SourceResolved')).toBe('True/Resolved');
    allow('ml');
    await leading.pass(2_000);
    expect(leading.condition('first', 'Stalled')).toBeUndefined();
  });

  it('is told to its processes by the next leader', async () => {
    await begun();
    allow('other');
    await leading.next();
    await leading.pass(1_000);
    expect(leading.data.primedWith).toEqual([UID]);
    expect(plan()?.nodes).toHaveLength(3);
    expect(leading.statuses.get('first')?.nodes?.ready).toBe(1);
  });

  it('stays Ready if it was delivered', async () => {
    await begun();
    delivered();
    await leading.pass(2_000);
    expect(leading.condition('first', 'Ready')).toBe('True/Delivered');
    allow('other');
    await leading.pass(70_000);
    expect(leading.condition('first', 'Ready')).toBe('True/Delivered');
    expect(leading.condition('first', 'Stalled')).toBeUndefined();
  });
});

describe('a Distribution whose source is edited to none', () => {
  it('is suspended by the same edit', async () => {
    await begun();
    leading.apply('first', { source: { url: BAD_PORT }, suspend: true });
    await leading.pass(1_000);
    expect(plan()).toMatchObject({ suspend: true });
    expect(leading.demands.has(UID)).toBe(false);
  });

  it('goes on with the epoch before, and with its claims and labels, under the next leader too', async () => {
    await begun();
    leading.apply('first', { source: { url: BAD_PORT }, priority: 7 });
    await leading.pass(1_000);
    expect(plan()).toMatchObject({ priority: 7, record: { epoch: 1 } });
    expect(leading.condition('first', 'Stalled')).toBe('True/InvalidSource');
    expect(leading.demands.has(UID), 'relays may have what no node has').toBe(true);
    leading.wanted.clear();
    await leading.next();
    await leading.pass(1_000);
    expect(leading.data.primedWith).toEqual([UID]);
    expect(plan()?.record.epoch).toBe(1);
    expect([...leading.wanted]).toEqual(['first']);
    expect(leading.statuses.get('first')?.nodes?.ready).toBe(1);
  });
});

describe('relays of an epoch that goes on while the source of the next one fails', () => {
  const waiting = () => {
    const { domains } = leading.demands.get(UID) ?? { domains: new Map() };
    return [...domains.values()].reduce((sum, domain) => sum + domain.waiting, 0);
  };

  beforeEach(async () => {
    await begun();
    leading.data.source = () => {
      throw Object.assign(new Error('404'), { code: 'HttpStatus', httpStatus: 404 });
    };
    leading.apply('first', { source: { url: 'http://origin.example.com/other.bin' } });
    await leading.pass(2_000);
    expect(leading.condition('first', 'Stalled')).toBe('True/SourceNotFound');
  });

  it('are there for nodes that wait, under the next leader too', async () => {
    expect(waiting()).toBe(2);
    leading.demands.clear();
    // The source fails before it is known what nodes had.
    leading.data.report(UID, [], { isUnread: true });
    await leading.next();
    await leading.pass(2_000);
    transferring(10);
    await leading.pass(120_000);
    expect(leading.condition('first', 'Stalled')).toBe('True/SourceNotFound');
    expect(plan()?.record.epoch).toBe(1);
    expect(waiting()).toBe(2);
  });

  it('are there no longer than that', async () => {
    delivered();
    await leading.pass(10_000);
    expect(waiting()).toBe(0);
  });
});

describe('a Distribution that is applied again within the grace', () => {
  beforeEach(async () => {
    await begun(graced);
    delivered();
    leading.data.confirm(UID);
    leading.delete('first');
    await leading.pass(2_000);
    expect(leading.data.plots.has(UID)).toBe(true);
  });

  it.each<[string, Parameters<LeadingController['apply']>[1], () => void]>([
    ['has a source that is none', { source: { url: BAD_PORT } }, () => {}],
    ['is refused by its Origin', {}, () => allow('other')],
    ['is suspended', { suspend: true }, () => {}],
  ])('adopts its files though it %s', async (_, spec, trouble) => {
    trouble();
    leading.apply('second', { ...graced, ...spec });
    await leading.pass(120_000);
    expect(plan()?.record.owner).toBe('uid-second');
    expect(leading.data.tombstones.get(UID)).not.toBe(true);
    expect(leading.data.records.has(UID)).toBe(true);
    expect(leading.wanted.has('second')).toBe(true);
  });

  it('is not told that it is delivered before the origin has said that the files are its own', async () => {
    leading.apply('second', { ...graced, suspend: true });
    await leading.pass(2_000);
    delivered();
    await leading.pass(5_000);
    expect(plan()?.record).toMatchObject({ owner: 'uid-second', unproven: true });
    expect(leading.condition('second', 'Ready')).toBe('False/Suspended');
    expect(leading.condition('second', 'SourceResolved')).toBe('Unknown/Resolving');
    expect(plan()?.record.completedAt).toBeUndefined();
    leading.apply('second', graced);
    await leading.pass(5_000);
    expect(leading.condition('second', 'Ready')).toBe('True/Delivered');
    leading.apply('second', { ...graced, suspend: true });
    await leading.pass(5_000);
    expect(leading.condition('second', 'Ready'), 'once proven').toBe('True/Delivered');
  });

  it('does not while an older one has the path', async () => {
    const creationTimestamp = '2025-01-01T00:00:00Z';
    leading.wanted.clear();
    leading.apply('older', { target: { path: 'model/in' } }, { creationTimestamp });
    leading.apply('second', graced);
    await leading.pass(5_000);
    expect(leading.condition('second', 'Stalled')).toBe('True/PathConflict');
    expect(leading.data.records.get(UID)?.owner).toBeUndefined();
    expect([...leading.wanted]).toEqual(['older']);
    expect(leading.demands.has('uid-second')).toBe(false);
  });
});
