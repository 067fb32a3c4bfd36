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

/** The kinds of which a step changes a field that has none, as `<kind>.<field>`. */
function changedWithoutSteps(steps: readonly SchemaStep[]): string[] {
  return Object.entries(WITHOUT_STEPS).flatMap(([kind, names]) => {
    const row = Object.fromEntries(names.map((name) => [name, [name]]));
    const changes = steps.flatMap(({ up, down }) => [up, down]);
    const made = changes.map((change) => change[kind as keyof typeof change]?.(row) ?? row);
    return names
      .filter((name) => made.some((each) => each[name] !== row[name]))
      .map((name) => `${kind}.${name}`);
  });
}

describe('this release', () => {
  it('has no step for what is looked for or changed without the rest of its document', () => {
    expect(changedWithoutSteps(STEPS)).toEqual([]);
    const up = { distributions: ({ plot, ...rest }: object & { plot?: unknown }) => rest };
    expect(changedWithoutSteps([{ up, down: {} }])).toEqual(['distributions.plot']);
  });

  it('writes a version that it reads, and that is older than its newest by one at most', () => {
    expect(schema.newest - schema.written).toBeGreaterThanOrEqual(0);
    expect(schema.newest - schema.written).toBeLessThanOrEqual(1);
  });

  it('reads what was written before there were versions', () => {
    expect(schema.read('assignments', 'a row', { uid: 'u' })).toEqual({ uid: 'u' });
  });
});
