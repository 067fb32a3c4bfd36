import { describe, expect, it } from 'vitest';
import { Schema, type SchemaStep, STEPS, schema, WITHOUT_STEPS } from './schema.ts';

/** To 1, where there were no versions; to 2, with another name; to 3, with another unit. */
const SAMPLE: readonly SchemaStep[] = [
  { up: {}, down: {} },
  {
    up: { distributions: ({ folder, ...rest }) => ({ ...rest, path: folder }) },
    down: { distributions: ({ path, ...rest }) => ({ ...rest, folder: path }) },
  },
  {
    up: { distributions: ({ seconds, ...rest }) => ({ ...rest, ms: Number(seconds) * 1000 }) },
    down: { distributions: ({ ms, ...rest }) => ({ ...rest, seconds: Number(ms) / 1000 }) },
  },
];
const NOW = { path: 'a', ms: 5_000 };

describe('what is kept', () => {
  it.each([
    { version: 'none', row: { folder: 'a', seconds: 5 } },
    { version: 1, row: { schema: 1, folder: 'a', seconds: 5 } },
    { version: 2, row: { schema: 2, path: 'a', seconds: 5 } },
    { version: 3, row: { schema: 3, path: 'a', ms: 5_000 } },
  ])('of version $version is read as it is in the newest one', ({ row }) => {
    expect(new Schema(SAMPLE, 3).read('distributions', 'a row', row)).toEqual(NOW);
  });

  it('of other kinds is not changed by their steps', () => {
    const row = { schema: 1, folder: 'a', seconds: 5 };
    const { schema: _, ...fields } = row;
    expect(new Schema(SAMPLE, 3).read('journal', 'a document', row)).toEqual(fields);
  });

  it.each([
    { written: 3, row: { schema: 3, path: 'a', ms: 5_000 } },
    { written: 2, row: { schema: 2, path: 'a', seconds: 5 } },
    { written: 1, row: { schema: 1, folder: 'a', seconds: 5 } },
  ])('is written in version $written where the release before reads no newer one', (each) => {
    const made = new Schema(SAMPLE, each.written);
    expect(made.stamp('distributions', NOW)).toEqual(each.row);
    expect(made.read('distributions', 'a row', made.stamp('distributions', NOW))).toEqual(NOW);
  });

  it('of a release to come is refused by name, with what to do', () => {
    const read = () =>
      new Schema(SAMPLE, 3).read('distributions', 'distribution u1', { schema: 4 });
    expect(read).toThrow(expect.objectContaining({ code: 'NewerSchema' }));
    expect(read).toThrow('distribution u1 has schema version 4, and this release reads up to 3');
  });
});

type Kind = keyof typeof WITHOUT_STEPS;
type Row = Readonly<Record<string, unknown>>;

const FILE = { path: 'a', sizeBytes: 1 };
/**
 * One of each kind, as version 1 has it: what the first step after it is given. It stays so when the
 * types go on, and has all that is without steps.
 */
const FIRST: Readonly<Record<Kind, Row>> = {
  journal: {
    ...{ _id: 'h:80/1', origin: 'h:80', sequence: 1, term: 1, nonce: 'n', fence: false },
    entries: [{ kind: 'settle', leaseId: 'l', usedBytes: 1, atMs: 1 }],
  },
  snapshots: {
    ...{ origin: 'h:80', sequence: 1 },
    ledger: {
      ...{ leases: [], periodStartMs: 1, periodMs: 1, settledBytes: 1, term: 1 },
      ...{ history: { sinceMs: 1 }, recent: [], latest: { second: 1, bytes: 1 } },
      charges: { newer: [], older: [] },
    },
  },
  distributions: {
    ...{ uid: 'u', owner: 'o', namespace: 'ml', name: 'llama', epoch: 1, url: 'http://h/a' },
    ...{ source: { sizeBytes: 1, validator: {}, ranges: true }, files: [FILE], digest: 'd' },
    ...{ pieceLengthBytes: 262_144, pieceCount: 1, swarmId: '0', feedPublicKey: '', feedSeed: '' },
    ...{ swarmSecret: '', relayToken: '', startedAt: '2026-01-01T00:00:00Z', unproven: true },
    ...{
      revokedPullers: ['k'],
      droppedMirrors: ['http://n/a'],
      completedAt: '2026-01-01T00:00:00Z',
    },
    mirrors: [{ id: 'm', url: 'http://m/a', validators: [{}] }],
    plot: { path: 'a', dueAtMs: 1, condemned: false },
  },
  assignments: {
    ...{ uid: 'u', number: 0 },
    rows: [{ uid: 'u', epoch: 1, node: 'n', nodeUid: 'o', progress: { state: 'ready' } }],
  },
  marks: {
    ...{ host: 'h:80', identity: 'i', written: 1, sequence: 2, trafficBytes: 1 },
    periodStart: '2026-01-01T00:00:00Z',
  },
};

/** What a step up or down changes of that which has none, as `<kind>.<field>`. `steps`: from version 1. */
function changedWithoutSteps(steps: readonly SchemaStep[]): string[] {
  const changes = [...steps.map(({ up }) => up), ...steps.toReversed().map(({ down }) => down)];
  return (Object.keys(FIRST) as Kind[]).flatMap((kind) => {
    let row = FIRST[kind];
    const changed = new Set<string>();
    for (const change of changes) {
      row = change[kind]?.(row) ?? row;
      for (const name of WITHOUT_STEPS[kind]) {
        if (row[name] !== FIRST[kind][name]) changed.add(`${kind}.${name}`);
      }
    }
    return [...changed];
  });
}

describe('this release', () => {
  it('has no step for what is looked for or changed without the rest of its document', () => {
    expect(changedWithoutSteps(STEPS.slice(1))).toEqual([]);
  });

  it('would be found to have one, up or down, beside steps that read what is in a document', () => {
    for (const [kind, names] of Object.entries(WITHOUT_STEPS)) {
      expect(Object.keys(FIRST[kind as Kind])).toEqual(expect.arrayContaining([...names]));
    }
    const each = (change: (row: Row) => Row) => {
      return ({ rows, ...rest }: Row) => ({ ...rest, rows: (rows as Row[]).map(change) });
    };
    const rename: SchemaStep = {
      up: { assignments: each(({ node, ...row }) => ({ ...row, host: node })) },
      down: { assignments: each(({ host, ...row }) => ({ ...row, node: host })) },
    };
    expect(changedWithoutSteps([rename])).toEqual([]);
    const plotless = { distributions: ({ plot, ...rest }: Row) => rest };
    const renumbered = { assignments: (row: Row) => ({ ...row, number: 1 }) };
    expect(changedWithoutSteps([rename, { up: plotless, down: renumbered }])).toEqual([
      'distributions.plot',
      'assignments.number',
    ]);
  });

  it('writes a version that it reads, and that is older than its newest by one at most', () => {
    expect(schema.newest - schema.written).toBeGreaterThanOrEqual(0);
    expect(schema.newest - schema.written).toBeLessThanOrEqual(1);
  });

  it('reads what was written before there were versions', () => {
    expect(schema.read('assignments', 'a row', { uid: 'u' })).toEqual({ uid: 'u' });
  });
});
