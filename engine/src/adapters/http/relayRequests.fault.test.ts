import { expect, it } from 'vitest';
import { fuzzRelayRequests } from './testing/relayRequestFuzz.ts';

it('a relay answers what it is asked wrongly by a refusal (make bench NAME=fuzz for more)', async () => {
  expect(await fuzzRelayRequests(1, 2_000)).toEqual([]);
});
