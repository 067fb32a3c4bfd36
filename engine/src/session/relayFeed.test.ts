import { beforeEach, expect, it } from 'vitest';
import { encodeBatchList, FEED_LOG_HEADER, FEED_NEXT_HEADER } from '../feed/batchList.ts';
import { type HttpSource, HttpSourceError } from '../ports/httpSource.ts';
import { VirtualClock } from '../sim/virtualClock.ts';
import { type FeedTarget, RelayFeed } from './relayFeed.ts';

const RELAY = { id: 'r', host: '10.0.0.1', httpPort: 80 };
const OTHER = { id: 'o', host: '10.0.0.2', httpPort: 80 };

let clock: VirtualClock;
/** When each relay was asked, by its host, and from which batch on. */
let asked: { host: string; atMs: number; from: number }[];
/** Batches of one byte that a relay has. */
let batches: Uint8Array[];
let down: Set<string>;
let open: number;
let opened: number;
let received: { bitTorrent: number; relayHttp: number };
let taken: number[];
let judge: (batch: Uint8Array) => boolean;
let broken: unknown[];

beforeEach(() => {
  clock = new VirtualClock();
  asked = [];
  batches = [];
  down = new Set();
  open = 0;
  opened = 0;
  received = { bitTorrent: 0, relayHttp: 0 };
  taken = [];
  judge = () => false;
  broken = [];
});

const http: HttpSource = {
  connection: (base) => {
    open += 1;
    opened += 1;
    return {
      unprovenEnds: 0,
      unaskedBytes: 0,
      request: async ({ url = base, onHead, onChunk }) => {
        const from = Number(url.searchParams.get('from'));
        asked.push({ host: url.hostname, atMs: clock.now(), from });
        if (down.has(url.hostname)) {
          throw new HttpSourceError('ConnectFailed', 'nobody', { wireBytes: 0, exact: true });
        }
        const headers = { [FEED_LOG_HEADER]: 'log', [FEED_NEXT_HEADER]: String(batches.length) };
        const head = { status: 200, headers, headerBytes: 0, timeToHeadMs: 0 };
        onHead(head);
        onChunk(encodeBatchList(batches.slice(from)));
        return { head, bodyBytes: 0, wireBytes: 0 };
      },
      close: async () => {
        open -= 1;
      },
    };
  },
};

function started(relays = [RELAY]): RelayFeed {
  const target: FeedTarget = {
    hasUnnamedPieces: () => true,
    acceptBatch: (batch) => {
      taken.push(batch[0] as number);
      return judge(batch);
    },
    receivedBytes: () => received,
    broke: (error) => broken.push(error),
  };
  const options = { swarmId: 'ab'.repeat(20), relayToken: 'token' };
  const feed = new RelayFeed(options, { clock, http, target });
  feed.setRelays(relays);
  feed.start();
  return feed;
}

function pass(ms: number): Promise<boolean> {
  return clock.run(() => false, ms);
}

it('asks a relay that has nothing new ever later, up to each 5 s, and holds no connection meanwhile', async () => {
  started();
  await pass(100_000);
  expect(asked.length).toBeLessThan(100);
  asked = [];
  await pass(600_000);
  expect(asked.length).toBeLessThanOrEqual(120);
  expect(asked.length).toBeGreaterThan(110);
  expect(open).toBe(0);
});

it.each([1, 5, 20, 60, 600])(
  'hears of what comes after %d s of nothing little later than without a pause',
  async (seconds) => {
    started();
    await pass(seconds * 1000);
    batches.push(Buffer.of(7));
    // As often as it looks, and a twentieth.
    await pass(Math.min(5_000, seconds * 50) + 400);
    expect(taken).toEqual([7]);
  },
);

it('takes what is given up of a block for nothing that came', async () => {
  received = { bitTorrent: 100, relayHttp: 0 };
  started();
  await pass(60_000);
  asked = [];
  received = { bitTorrent: 50, relayHttp: 0 };
  await pass(3_000);
  expect(asked.length).toBeLessThanOrEqual(1);
});

it('asks again at once, over the same connection, as long as there is news', async () => {
  started();
  await pass(60_000);
  asked = [];
  opened = 0;
  for (let count = 0; count < 10; count += 1) {
    batches.push(Buffer.of(count));
    await pass(count === 0 ? 5_300 : 300);
  }
  expect(taken).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  expect(asked.slice(-9).map(({ from }) => from)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9]);
  expect(opened).toBeLessThanOrEqual(3);
  expect(open).toBe(1);
});

it('asks soon when bytes come from relays: what they are is about to be named', async () => {
  started();
  await pass(200_000);
  asked = [];
  received = { bitTorrent: 0, relayHttp: 1 };
  await pass(700);
  expect(asked.length).toBeGreaterThanOrEqual(1);
  for (let count = 2; count < 12; count += 1) {
    received = { bitTorrent: 0, relayHttp: count };
    await pass(300);
  }
  expect(asked.length).toBeGreaterThanOrEqual(10);
});

it('asks nobody, and holds no connection, while BitTorrent brings something', async () => {
  batches.push(Buffer.of(1));
  started();
  await pass(400);
  expect(open).toBe(1);
  for (let count = 1; count < 20; count += 1) {
    received = { bitTorrent: count, relayHttp: 0 };
    await pass(300);
  }
  expect(asked).toHaveLength(1);
  expect(open).toBe(0);
});

it('is held up less and less by a relay that is down', async () => {
  down.add(RELAY.host);
  started([RELAY, OTHER]);
  for (let count = 0; count < 200; count += 1) {
    batches.push(Buffer.of(count));
    await pass(300);
  }
  expect(taken.length).toBeGreaterThan(195);
  const ofOther = asked.filter(({ host }) => host === OTHER.host).length;
  expect(ofOther).toBeGreaterThan(0.7 * asked.length);
});

it('has a relay tell all again, once and later, when what it told was not right', async () => {
  batches.push(Buffer.of(1), Buffer.of(2), Buffer.of(3));
  judge = ([first]) => first === 2;
  started();
  await pass(400);
  // What stands beside it counts.
  expect(taken).toEqual([1, 2, 3]);
  await pass(200_000);
  expect(asked.length).toBeLessThan(120);
  expect(asked.map(({ from }) => from)).toEqual(asked.map((_, at) => (at < 2 ? 0 : 3)));
  expect(broken).toEqual([]);
});

it('reads on behind what stays wrong', async () => {
  judge = ([number]) => number === 0;
  batches = [Buffer.of(0), Buffer.of(1)];
  started();
  await pass(20_000);
  batches.push(Buffer.of(2));
  await pass(20_000);
  expect(asked.filter(({ from }) => from === 0)).toHaveLength(2);
  expect(taken.at(-1)).toBe(2);
});

it('says what goes wrong here, which is not the relay to blame for', async () => {
  batches.push(Buffer.of(1));
  const mistake = new Error('a mistake of ours');
  judge = () => {
    throw mistake;
  };
  started();
  await pass(400);
  expect(broken).toEqual([mistake]);
});

it('closes what it has open when it is stopped', async () => {
  batches.push(Buffer.of(1));
  const feed = started();
  await pass(400);
  expect(open).toBe(1);
  await feed.stop();
  expect(open).toBe(0);
});
