import { describe, expect, it } from 'vitest';
import { type FeedSource, subscribeTo } from './feedSources.ts';

const relay = (number: number, subscribed = false): FeedSource => ({
  number,
  role: 'relay',
  subscribed,
});
const agent = (number: number, subscribed = false): FeedSource => ({
  number,
  role: 'agent',
  subscribed,
});

describe('whom to ask for the feed', () => {
  it.each([
    ['every relay', [relay(1), agent(2), relay(3), relay(4), agent(5)], [1, 3, 4]],
    ['an agent beside a single relay', [agent(1), relay(2), agent(3)], [2, 1]],
    ['two agents when there is no relay', [agent(1), agent(2), agent(3)], [1, 2]],
    ['nobody else when there are enough', [agent(1, true), agent(2), agent(3, true)], []],
    ['a relay that came later', [agent(1, true), agent(2, true), relay(3)], [3]],
    ['another one when one has left', [relay(1, true), agent(2), agent(3)], [2]],
  ])('is %s', (_, peers, expected) => {
    expect(subscribeTo(peers)).toEqual(expected);
  });
});
