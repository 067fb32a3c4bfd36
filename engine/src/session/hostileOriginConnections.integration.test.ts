/** Origins that are slow, uneven or lose connections. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it, onTestFinished } from 'vitest';
import { NodeHttpSource } from '../adapters/http/nodeHttpSource.ts';
import { systemClock } from '../adapters/systemClock.ts';
import { BODY, type Case, HostilePulls, problemsOf } from '../testing/adapters/hostilePulls.ts';
import { cutAt, headOf, honest, sometimes, withHead } from '../testing/originScripts.ts';
import { RawOrigin, type Script } from '../testing/rawOrigin.ts';
import { selfSigned } from '../testing/selfSigned.ts';

const pulls = new HostilePulls();
afterEach(() => pulls.stop());

function after(delayMs: number): Script {
  return async (request, wire, body) => {
    await sleep(delayMs);
    await honest(request, wire, body);
  };
}

/** Nothing for the most of each period, on any connection, and then everything at once. */
const stalling: Script = async (request, wire, body) => {
  const phase = performance.now() % 600;
  if (phase < 450) await sleep(450 - phase);
  await honest(request, wire, body);
};

const trickling: Script = async (request, wire, body) => {
  await wire.send(headOf(request, body));
  for (let at = request.start; at < request.end && wire.isOpen; at += 1) {
    await wire.send(body.subarray(at, at + 1));
    await sleep(40);
  }
};

/** Ends the connection after the answer, without a word of it. */
const endingAfterwards: Script = async (request, wire, body) => {
  await honest(request, wire, body);
  wire.end();
};

/** Holds back what is asked for in its first moments, and then resets every connection at once. */
function dyingOnce(): Script {
  let diesAtMs: number | undefined;
  return async (request, wire, body) => {
    const now = performance.now();
    diesAtMs ??= now + 600;
    if (now > diesAtMs - 100) return honest(request, wire, body);
    await sleep(diesAtMs - now);
    wire.reset();
  };
}

const CASES: readonly Case[] = [
  // Slow and uneven, but right.
  { origin: 'is right', script: honest, ends: 'completed' },
  { origin: 'answers after 100 ms', script: after(100), ends: 'completed' },
  { origin: 'answers after 500 ms', script: after(500), ends: 'completed' },
  { origin: 'stalls and then bursts', script: stalling, ends: 'completed' },
  {
    origin: 'stalls and bursts, over 16 connections',
    script: stalling,
    ends: 'completed',
    connections: 16,
  },
  {
    origin: 'trickles some answers, a byte at a time',
    script: sometimes((count) => count <= 2, trickling),
    ends: 'completed',
    idleTimeoutMs: 400,
  },
  // Connections.
  {
    origin: 'ends each connection after an answer, and says so',
    script: withHead({ Connection: 'close' }),
    ends: 'completed',
  },
  {
    origin: 'ends each connection after an answer, unsaid',
    script: endingAfterwards,
    ends: 'completed',
  },
  { origin: 'ends answers half way', script: cutAt(0.6, 'end'), ends: 'completed', speed: 5 },
  {
    origin: 'resets some answers half way',
    script: sometimes((count) => count % 4 === 0, cutAt(0.6, 'reset')),
    ends: 'completed',
  },
  {
    origin: 'loses all its connections at once',
    script: dyingOnce(),
    slackBytes: 1_300_000,
    ends: 'completed',
    connections: 16,
  },
  {
    origin: 'ends each connection before the head',
    script: async (_, wire) => wire.end(),
    ends: 'SourceUnavailable',
    speed: 10,
    mostRequests: 10,
  },
  {
    origin: 'resets each connection before the head',
    script: async (_, wire) => wire.reset(),
    ends: 'SourceUnavailable',
    speed: 10,
    mostRequests: 10,
  },
  {
    origin: 'ends in the middle of the head',
    script: async (_, wire) => {
      await wire.send('HTTP/1.1 206 Part');
      wire.end();
    },
    ends: 'SourceUnavailable',
    speed: 10,
    mostRequests: 10,
  },
  {
    origin: 'brings next to nothing of each answer',
    script: cutAt(0.01, 'end'),
    ends: 'SourceUnavailable',
    speed: 10,
    mostRequests: 10,
  },
];

describe('a pull in ranges from an origin that', () => {
  it.each(CASES)('$origin: $ends', async (each) => {
    expect(await problemsOf(await pulls.pull(each), each)).toEqual([]);
  });
});

describe('a pull over TLS', () => {
  it('takes the file from an origin whose certificate is trusted', async () => {
    const tls = await selfSigned();
    const run = await pulls.pull({ script: honest }, { tls, scheme: 'https', ca: tls.cert });
    expect(await problemsOf(run, { ends: 'completed' })).toEqual([]);
  });

  it.each([
    { what: 'a certificate that nobody trusts', secured: true, says: /self.signed certificate/ },
    { what: 'no TLS', secured: false, says: /no connection to the server/ },
  ])('ends with a reason where the origin has $what', async ({ secured, says }) => {
    const tls = secured ? await selfSigned() : undefined;
    // Nothing ever answers a TLS greeting there.
    const plain = { scheme: 'https', connectTimeoutMs: 100 } as const;
    const options = tls === undefined ? plain : ({ scheme: 'https', tls } as const);
    const run = await pulls.pull({ script: honest, speed: 10 }, options);
    expect(await problemsOf(run, { ends: 'SourceUnavailable' })).toEqual([]);
    expect(run.end.kind === 'failed' ? run.end.error.message : '').toMatch(says);
    expect(run.origin.requests).toBe(0);
  });
});

describe('a connection to an origin', () => {
  it('ends when the origin speaks without being asked, and what it said is counted', async () => {
    const extra = 'nobody asked for this';
    const origin = new RawOrigin({
      body: BODY,
      clock: systemClock,
      script: async (request, wire, body) => {
        await honest(request, wire, body);
        await sleep(50);
        if (request.count === 1) await wire.send(extra);
      },
    });
    const url = new URL(`http://127.0.0.1:${await origin.start()}/`);
    const connection = new NodeHttpSource().connection(url);
    onTestFinished(async () => {
      await connection.close();
      await origin.stop();
    });
    const request = {
      headers: {},
      range: { start: 0, end: 9 },
      onHead: () => {},
      onChunk: () => {},
    };
    const { signal } = new AbortController();
    const first = await connection.request(request, signal);
    await sleep(150);
    expect(origin.meter.openConnections).toBe(0);
    const second = await connection.request(request, signal);
    expect(origin.connections).toBe(2);
    expect(second.wireBytes).toBe(first.wireBytes + extra.length);
  });
});
