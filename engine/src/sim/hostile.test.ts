import { describe, expect, it, vi } from 'vitest';
import { fuzzDecoders } from './decoderFuzz.ts';
import { tryDeafWorld, tryHostileWorld } from './hostileWorld.ts';
import { mutate } from './mutation.ts';
import { fuzzRelayAnswers } from './relayAnswerFuzz.ts';
import { SeededRandom } from './seededRandom.ts';
import { trySpoiledSessions, trySpoiledStockSessions } from './strangersWorld.ts';

// A world takes as long as the machine needs, whatever its clock says.
vi.setConfig({ testTimeout: 60_000 });

it('mistakes are the same for the same seed, and leave what they are made of alone', () => {
  const bytes = Buffer.from('what a peer would say');
  const before = Buffer.from(bytes);
  for (let seed = 1; seed < 200; seed += 1) {
    const mutant = mutate(bytes, new SeededRandom(seed));
    expect(mutate(bytes, new SeededRandom(seed))).toEqual(mutant);
    expect(bytes).toEqual(before);
  }
});

it('decoders make nothing of mutated inputs but a refusal (make bench NAME=fuzz for more)', () => {
  expect(fuzzDecoders(1, 20_000)).toEqual([]);
});

it('a node makes nothing of what relays answer but a refusal', async () => {
  expect(await fuzzRelayAnswers(1, 2_000)).toEqual([]);
});

describe('one that is called by strangers, who say right and spoiled messages in any order,', () => {
  it.each([1, 2])('is done in time as a swarm: seed %d', async (seed) => {
    const { problems, spoiled, closed } = await trySpoiledSessions(seed);
    expect(problems).toEqual([]);
    expect(spoiled).toBeGreaterThan(1_000);
    for (const reason of ['Malformed', 'Oversized', 'OutOfOrder']) {
      expect([...closed.keys()]).toContain(reason);
    }
  });

  it.each([1, 2])('is done in time as an ordinary client: seed %d', async (seed) => {
    const { problems, spoiled, closed } = await trySpoiledStockSessions(seed);
    expect(problems).toEqual([]);
    expect(spoiled).toBeGreaterThan(1_000);
    for (const reason of ['Malformed', 'Oversized', 'OutOfOrder']) {
      expect([...closed.keys()]).toContain(reason);
    }
  });
});

describe('a swarm with members that spoil what they say', () => {
  it.each(Array.from({ length: 8 }, (_, at) => ({ seed: at + 1 })))(
    'serves the others: seed $seed (make bench NAME=fuzz ARGS="--inputs 0 --strangers 0 --worlds 1 --seed $seed")',
    async ({ seed }) => {
      expect((await tryHostileWorld(seed)).problems).toEqual([]);
    },
  );

  it.each([1, 2, 3, 4])(
    'is not held up when they have all and refuse every block: seed %d',
    async (seed) => {
      const { problems, seconds, spoiled } = await tryHostileWorld(seed, { refuses: true });
      expect(problems).toEqual([]);
      expect(seconds).toBeLessThan(20);
      expect(spoiled).toBeGreaterThan(0);
    },
  );

  it.each([1, 24, 100])(
    'is done in the 7 s that it takes without them, though %d of them read nothing',
    async (count) => {
      const { problems, seconds, closed } = await tryDeafWorld(1, count);
      expect(problems).toEqual([]);
      expect(seconds).toBeLessThan(8);
      // By a relay and four nodes.
      expect(closed.get('NotReading')).toBe(5 * count);
    },
  );

  it('closes for reasons that have a name', async () => {
    const seen = new Set<string>();
    for (let seed = 1; seed <= 8; seed += 1) {
      for (const reason of (await tryHostileWorld(seed)).closed.keys()) seen.add(reason);
    }
    for (const reason of ['Malformed', 'Oversized', 'OutOfOrder', 'WrongBytes', 'BadFeed']) {
      expect(seen).toContain(reason);
    }
  });
});
