import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Distribution } from '../../api/v1alpha1/distribution.ts';
import { decideDistribution } from '../../policies/distribution.ts';
import { aRecord, aSpec } from '../../testing/objects.ts';
import { Neighbours } from './neighbours.ts';

function at(uid: string, path: string, namespace = 'ml'): Distribution {
  const metadata = { uid, name: uid, namespace, creationTimestamp: '2026-01-01T00:00:00Z' };
  return { metadata, spec: aSpec({ target: { path } }) } as Distribution;
}

function setUp(all: Distribution[]) {
  let looks = 0;
  const neighbours = new Neighbours({
    indexed: (namespace) => {
      looks += 1;
      return all.filter(({ metadata }) => metadata.namespace === namespace);
    },
  });
  const uidsFor = (one: Distribution) =>
    neighbours
      .of(one)
      .map(({ uid }) => uid)
      .sort();
  return { neighbours, uidsFor, looks: () => looks };
}

const SEGMENTS = fc.array(fc.constantFrom('a', 'b', 'ab'), { minLength: 1, maxLength: 4 });

describe('distributions whose paths meet', () => {
  it('are all that the decision about a path would find among all', () => {
    fc.assert(
      fc.property(fc.array(SEGMENTS, { minLength: 1, maxLength: 12 }), (paths) => {
        const all = paths.map((segments, index) => at(`uid-${index}`, segments.join('/')));
        const { neighbours, uidsFor } = setUp(all);
        for (const one of all) {
          const { uid, name } = one.metadata;
          const verdictAmong = (others: ReturnType<typeof neighbours.of>) =>
            decideDistribution({
              uid,
              name,
              createdAt: '2026-01-01T00:00:00Z',
              deleting: false,
              spec: one.spec,
              neighbours: others,
              record: aRecord(),
              sourceChanged: false,
              wrongMirrors: [],
              failure: undefined,
              nodes: [],
              refusal: undefined,
            }).action;
          const everyone = all.map(({ metadata, spec }) => ({
            uid: metadata.uid,
            name: metadata.name,
            path: spec.target.path,
            createdAt: metadata.creationTimestamp,
          }));
          expect(verdictAmong(neighbours.of(one))).toBe(verdictAmong(everyone));
          const meets = ({ path }: { path: string }) =>
            `${path}/`.startsWith(`${one.spec.target.path}/`) ||
            `${one.spec.target.path}/`.startsWith(`${path}/`);
          const expected = everyone.filter(meets).map((each) => each.uid);
          expect(uidsFor(one)).toEqual(expected.sort());
        }
      }),
    );
  });

  it('are those of one namespace', () => {
    const { uidsFor } = setUp([at('one', 'a'), at('two', 'a', 'elsewhere')]);
    expect(uidsFor(at('one', 'a'))).toEqual(['one']);
  });

  it('are found without a look at all others, until one comes, goes or moves', () => {
    const all = [at('one', 'a'), at('two', 'b')];
    const { neighbours, uidsFor, looks } = setUp(all);
    for (let look = 0; look < 5; look += 1) expect(uidsFor(all[0]!)).toEqual(['one']);
    neighbours.changed(all[1], { ...all[1]! });
    expect(uidsFor(all[0]!)).toEqual(['one']);
    expect(looks()).toBe(1);
    const moved = at('two', 'a/b');
    neighbours.changed(moved, all[1]);
    all[1] = moved;
    expect(uidsFor(all[0]!)).toEqual(['one', 'two']);
    all.push(at('three', 'a'));
    neighbours.changed(all[2], undefined);
    expect(uidsFor(all[0]!)).toEqual(['one', 'three', 'two']);
    neighbours.changed(undefined, all.shift());
    expect(uidsFor(moved)).toEqual(['three', 'two']);
  });
});
