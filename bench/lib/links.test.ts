import { expect, it } from 'vitest';
import { parseLinks } from './links.ts';

const TABLE = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     100       1    0    0    0     0          0         0      100       1    0    0    0     0       0          0
v-node1: 1500       10    0    0    0     0          0         0   2700000    1800    0    0    0     0       0          0
v-origin:12345678901 10    0    0    0     0          0         0      7       1    0    0    0     0       0          0
`;

it('what the outer end of a link receives is what its host has sent', () => {
  expect(parseLinks(TABLE)).toEqual(
    new Map([
      ['node1', { sent: 1500, received: 2_700_000 }],
      ['origin', { sent: 12_345_678_901, received: 7 }],
    ]),
  );
});
