import { once } from 'node:events';
import http from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { Writable } from 'node:stream';
import { linesOf } from '@sluice/protocol/lines.ts';
import type { Task, WorkMessage } from '@sluice/protocol/messages.ts';
import { describe, expect, it, onTestFinished } from 'vitest';
import { FakeClock } from '../testing/fakeClock.ts';
import { aPlanOf, aRecord } from '../testing/objects.ts';
import { SendingTurns } from './sendingTurns.ts';
import { lineOf, taskFor } from './work.ts';
import { QueuedStream } from './workStream.ts';

const MIB = 1024 * 1024;

/** About as long as one of a thousand files. */
function aTask(uid: string, name = 'n', epoch = 1): Task {
  const task = taskFor(aPlanOf(aRecord({ uid, epoch })), 'agent', undefined, {});
  return { ...task, name, relayToken: 'x'.repeat(300_000) };
}

function toldOf(message: WorkMessage): string {
  if (message.type === 'task') {
    return `task ${message.task.uid}/${message.task.epoch} ${message.task.name}`;
  }
  return 'uid' in message ? `${message.type} ${message.uid}` : message.type;
}

/** A connection that takes what is written when it is told to. */
class SlowSink extends Writable {
  readonly chunks: Buffer[] = [];
  #taken: (() => void) | undefined;

  override _write(chunk: Buffer, _encoding: string, taken: () => void): void {
    this.chunks.push(chunk);
    this.#taken = taken;
  }

  /** Whether there was something. */
  async take(): Promise<boolean> {
    const taken = this.#taken;
    this.#taken = undefined;
    taken?.();
    await new Promise(setImmediate);
    return taken !== undefined;
  }

  async takeAll(): Promise<string[]> {
    while (await this.take());
    const lines = Buffer.concat(this.chunks).toString().split('\n').filter(Boolean);
    return lines.map((line) => toldOf(JSON.parse(line)));
  }
}

function aStream(sink: Writable) {
  const clock = new FakeClock();
  const hung: number[] = [];
  const onHung = () => void hung.push(clock.now());
  const turns = new SendingTurns({ clock });
  return { clock, hung, stream: new QueuedStream(sink, { clock, turns, onHung }).start() };
}

describe('what a process is told', () => {
  it('comes whole and in order, however much is said in one turn of the event loop', async () => {
    const { clock, hung } = aStream(new SlowSink());
    const server = http.createServer((_request, response) => {
      const stream = new QueuedStream(response, {
        clock,
        turns: new SendingTurns({ clock }),
        onHung: () => hung.push(0),
      }).start();
      for (let each = 0; each < 80; each += 1) {
        stream.send({ type: 'task', task: aTask(`u${each}`) });
      }
      stream.send({ type: 'synced' });
    });
    await once(server.listen(0, '127.0.0.1'), 'listening');
    onTestFinished(() => {
      server.closeAllConnections();
      server.close();
    });
    const { port } = server.address() as AddressInfo;
    const request = http.get({ host: '127.0.0.1', port });
    const [response] = (await once(request, 'response')) as [http.IncomingMessage];
    const told: string[] = [];
    for await (const line of linesOf(response, MIB)) {
      told.push(toldOf(JSON.parse(line)));
      if (told.at(-1) === 'synced') break;
    }
    const tasks = Array.from({ length: 80 }, (_, each) => `task u${each}/1 n`);
    expect(told).toEqual([...tasks, 'synced']);
    expect(hung).toEqual([]);
  });

  it('waits as messages: of forty megabytes little is in the hands of the connection', () => {
    const sink = new SlowSink();
    const { stream } = aStream(sink);
    for (let each = 0; each < 130; each += 1) {
      stream.send({ type: 'task', task: aTask(`u${each}`) });
    }
    expect(sink.writableLength).toBeLessThan(MIB / 4);
  });

  it('is what is so now: what was superseded while it waited is not said', async () => {
    const sink = new SlowSink();
    const { stream } = aStream(sink);
    stream.send({ type: 'task', task: aTask('first') });
    stream.send({ type: 'task', task: aTask('u', 'old') });
    stream.send({ type: 'peers', uid: 'u', epoch: 1, peers: [] });
    stream.send({ type: 'synced' });
    for (let each = 0; each < 1_000; each += 1) {
      stream.send({ type: 'task', task: aTask('u', `newer ${each}`) });
      stream.send({ type: 'peers', uid: 'u', epoch: 1, peers: [] });
      stream.send({ type: 'heartbeat' });
    }
    stream.send({ type: 'task', task: aTask('u', 'other', 2) });
    expect(await sink.takeAll()).toEqual([
      'task first/1 n',
      // Before `synced`: what is not named by then is not the process's any more.
      'task u/1 newer 999',
      'peers u',
      'synced',
      'heartbeat',
      'task u/2 other',
    ]);
  });

  it('after a removal does not come before it', async () => {
    const sink = new SlowSink();
    const { stream } = aStream(sink);
    stream.send({ type: 'task', task: aTask('first') });
    stream.send({ type: 'task', task: aTask('u', 'before') });
    stream.send({ type: 'remove', uid: 'u', deleteFiles: false });
    stream.send({ type: 'task', task: aTask('u', 'after') });
    expect(await sink.takeAll()).toEqual([
      'task first/1 n',
      'task u/1 before',
      'remove u',
      'task u/1 after',
    ]);
  });

  it('is one write when it waits for its turn together', async () => {
    const sink = new SlowSink();
    let next = () => {};
    const turns = new SendingTurns({
      clock: new FakeClock(),
      afterLook: (callback) => {
        next = callback;
      },
    });
    for (let at = 0; at < 100; at += 1) turns.ask({ write: () => {} });
    const dependencies = { clock: new FakeClock(), turns, onHung: () => {} };
    const stream = new QueuedStream(sink, dependencies).start();
    stream.send({ type: 'peers', uid: 'u', epoch: 1, peers: [] });
    stream.send({ type: 'synced' });
    stream.send({ type: 'heartbeat' });
    for (let turn = 0; turn < 4; turn += 1) next();
    expect(await sink.takeAll()).toEqual(['peers u', 'synced', 'heartbeat']);
    expect(sink.chunks).toHaveLength(1);
  });

  it('is with the connection when its turn is over, not after the turns of others', () => {
    const sink = new SlowSink();
    const did: string[] = [];
    const socket = { cork: () => did.push('cork'), uncork: () => did.push('uncork') };
    const write = sink.write.bind(sink);
    const answer = Object.assign(sink, {
      socket: socket as unknown as Socket,
      write: (chunk: Buffer) => {
        did.push('write');
        return write(chunk);
      },
    });
    const { stream } = aStream(answer);
    stream.send({ type: 'synced' });
    expect(did).toEqual(['cork', 'write', 'uncork']);
  });

  it('is made into bytes once for all', () => {
    const task = aTask('u');
    expect(lineOf({ type: 'task', task })).toBe(lineOf({ type: 'task', task }));
  });
});

describe('a process that takes nothing for 15 seconds', () => {
  it('is cut off', async () => {
    const sink = new SlowSink();
    const { clock, hung, stream } = aStream(sink);
    stream.send({ type: 'task', task: aTask('u') });
    await clock.advance(14_999);
    expect(sink.destroyed).toBe(false);
    await clock.advance(1);
    expect(sink.destroyed).toBe(true);
    expect(hung).toEqual([15_000]);
  });

  it('is not one that takes a part now and then, or has nothing to take', async () => {
    const sink = new SlowSink();
    const { clock, hung, stream } = aStream(sink);
    stream.send({ type: 'task', task: aTask('u') });
    do await clock.advance(14_000);
    while (await sink.take());
    await clock.advance(60_000);
    expect(await sink.takeAll()).toEqual(['task u/1 n']);
    expect(hung).toEqual([]);
  });

  it('is not one whose stream was closed: what waited is not said any more', async () => {
    const sink = new SlowSink();
    const { clock, hung, stream } = aStream(sink);
    stream.send({ type: 'task', task: aTask('u') });
    stream.send({ type: 'synced' });
    stream.close();
    stream.send({ type: 'heartbeat' });
    await clock.advance(60_000);
    while (await sink.take());
    expect(Buffer.concat(sink.chunks)).toHaveLength(64 * 1024);
    expect(hung).toEqual([]);
  });
});
