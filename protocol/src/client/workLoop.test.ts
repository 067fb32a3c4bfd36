import { describe, expect, it } from 'vitest';
import type { Task, TransferReport, TransferState } from '../messages.ts';
import type { WorkEvent } from './controlClient.ts';
import { reportOf } from './taskReport.ts';
import { type TaskHost, type TaskRunner, WorkLoop } from './workLoop.ts';

function task(uid: string, epoch = 1, change: Partial<Task> = {}): Task {
  return {
    uid,
    namespace: 'ns',
    name: uid,
    epoch,
    swarmId: '0'.repeat(40),
    pieceLengthBytes: 262_144,
    files: [{ path: 'f', sizeBytes: 1 }],
    feedKey: '',
    swarmSecret: '',
    relayToken: 't',
    delivery: { topUp: [], transport: 'Hybrid' },
    ...change,
  };
}

class FakeRunner implements TaskRunner {
  given: Promise<void> = Promise.resolve();
  state: TransferState = 'transferring';
  error: TransferReport['error'];
  readonly #task: Task;
  readonly #say: (what: string) => void;
  readonly changed: () => void;

  constructor(given: Task, say: (what: string) => void, changed: () => void) {
    this.#task = given;
    this.#say = (what) => say(`${given.uid}/${given.epoch} ${what}`);
    this.changed = changed;
  }

  start() {
    this.#say('start');
  }
  update({ relayToken }: Task) {
    this.#say(`update ${relayToken}`);
  }
  setPeers(peers: readonly unknown[]) {
    this.#say(`peers ${peers.length}`);
  }
  askLease() {
    this.#say('askLease');
  }
  report() {
    const { state, error } = this;
    return reportOf(this.#task, { state, ...(error && { error }) });
  }
  drain() {
    return this.given;
  }
  async stop() {
    await Promise.resolve();
    this.#say('stop');
  }
}

function build(newestOnly = false) {
  const said: string[] = [];
  const runners = new Map<string, FakeRunner>();
  const host: TaskHost = {
    create: (given, onChange) => {
      const runner = new FakeRunner(given, (what) => said.push(what), onChange);
      runners.set(`${given.uid}/${given.epoch}`, runner);
      return runner;
    },
    deleteFiles: async (uid, epoch) => {
      said.push(`${uid}/${epoch ?? 'all'} delete`);
      return uid === 'unknown' ? [] : [1];
    },
    synced: async (epochs, resting) => {
      said.push(['synced', ...epochs, ...resting.map((uid) => `(${uid})`)].join(' '));
    },
  };
  const problems: unknown[] = [];
  const changes: string[] = [];
  const loop = new WorkLoop(
    { newestOnly },
    {
      host,
      onChange: (isAwaited) => changes.push(isAwaited ? 'awaited' : 'changed'),
      onTombstone: (uid) => said.push(`${uid} said anew`),
      onProblem: (error) => problems.push(error),
    },
  );
  const hear = async (...events: WorkEvent[]) => {
    for (const event of events) loop.handle(event);
    await new Promise((resolve) => setImmediate(resolve));
  };
  return { loop, said, changes, runners, hear, problems };
}

const states = (loop: WorkLoop) =>
  loop.reports().map(({ uid, epoch, state }) => `${uid}/${epoch} ${state}`);

describe('the work loop', () => {
  it('lets every task give away what it has before it is stopped, and begins none meanwhile', async () => {
    const { said, hear, loop, runners } = build();
    await hear({ type: 'task', task: task('a') }, { type: 'task', task: task('b') });
    const given = Promise.withResolvers<void>();
    const runner = runners.get('a/1') as FakeRunner;
    runner.given = given.promise;
    const draining = loop.drain(new AbortController().signal).then(() => said.push('drained'));
    await hear(
      { type: 'task', task: task('c') },
      { type: 'task', task: task('b', 1, { relayToken: 'new' }) },
      { type: 'peers', uid: 'a', epoch: 1, peers: [] },
    );
    given.resolve();
    await draining;
    await loop.stop();
    const before = ['a/1 start', 'b/1 start', 'b/1 update new', 'a/1 peers 0'];
    expect(said).toEqual([...before, 'drained', 'a/1 stop', 'b/1 stop']);
  });

  it('says of each change whether others may wait for it', async () => {
    const { changes, hear, runners } = build();
    await hear({ type: 'task', task: task('a') });
    const runner = runners.get('a/1') as FakeRunner;
    const becomes = (state: TransferState, error?: TransferReport['error']) => {
      runner.state = state;
      runner.error = error;
      runner.changed();
      return changes.at(-1);
    };
    expect(changes, 'it has begun').toEqual(['changed']);
    expect(becomes('verifying')).toBe('changed');
    expect(becomes('transferring')).toBe('changed');
    const error = { reason: 'SourceChanged', message: 'the source is another one' };
    expect(becomes('transferring', error)).toBe('awaited');
    expect(becomes('failed', error)).toBe('awaited');
    expect(becomes('ready')).toBe('awaited');
    await hear({ type: 'remove', uid: 'a', deleteFiles: true });
    expect(changes.at(-1)).toBe('awaited');
  });

  it('starts a task once, changes it in place, and passes on what is meant for it', async () => {
    const { said, hear } = build();
    await hear({ type: 'opened' }, { type: 'task', task: task('a') }, { type: 'synced' });
    await hear({ type: 'opened' }, { type: 'task', task: task('a') });
    await hear(
      { type: 'task', task: task('a', 1, { relayToken: 'new' }) },
      { type: 'peers', uid: 'a', epoch: 1, peers: [] },
      { type: 'peers', uid: 'nobody', epoch: 1, peers: [] },
      { type: 'askLease', uid: 'a', epoch: 1 },
    );
    expect(said.sort()).toEqual(
      ['a/1 askLease', 'a/1 peers 0', 'a/1 start', 'a/1 update new', 'synced a/1'].sort(),
    );
  });

  it('ends what a whole stream did not name, and keeps the files', async () => {
    const { said, hear, loop } = build();
    await hear({ type: 'task', task: task('a') }, { type: 'task', task: task('b') });
    await hear({ type: 'opened' }, { type: 'task', task: task('b') }, { type: 'synced' });
    await hear();
    expect(said).toEqual(['a/1 start', 'b/1 start', 'a/1 stop', 'synced b/1']);
    expect(states(loop)).toEqual(['b/1 transferring']);
  });

  it('passes on what rests, each time that it is said, and goes on with the rest', async () => {
    const { said, hear, loop } = build();
    await hear({ type: 'opened' }, { type: 'task', task: task('a') }, { type: 'synced' });
    await hear({ type: 'task', task: task('b') }, { type: 'synced', resting: ['c', 'd'] });
    await hear({ type: 'synced', resting: [] });
    await hear();
    const synced = ['synced a/1', 'synced a/1 b/1 (c) (d)', 'synced a/1 b/1'];
    expect(said.filter((each) => each.startsWith('synced'))).toEqual(synced);
    expect(states(loop)).toEqual(['a/1 transferring', 'b/1 transferring']);
  });

  it('ends nothing when the stream breaks before it is synced', async () => {
    const { hear, loop } = build();
    await hear({ type: 'task', task: task('a') });
    await hear({ type: 'opened' }, { type: 'opened' });
    expect(states(loop)).toEqual(['a/1 transferring']);
  });

  it('deletes files after the transfer has ended and says so until it is heard', async () => {
    const { said, hear, loop } = build();
    await hear({ type: 'task', task: task('a') });
    await hear({ type: 'remove', uid: 'a', deleteFiles: true });
    expect(said).toEqual(['a/1 start', 'a/1 stop', 'a/all delete', 'a said anew']);
    expect(states(loop)).toEqual(['a/1 removed']);
    loop.acknowledged(loop.reports());
    expect(states(loop)).toEqual([]);
  });

  it('confirms a tombstone of files that it does not have', async () => {
    const { hear, loop } = build();
    await hear({ type: 'remove', uid: 'unknown', epoch: 3, deleteFiles: true });
    expect(states(loop)).toEqual(['unknown/3 removed']);
  });

  it('keeps files and says nothing when it is to stop only', async () => {
    const { said, hear, loop } = build();
    await hear({ type: 'task', task: task('a') });
    await hear({ type: 'remove', uid: 'a', deleteFiles: false });
    expect(said).toEqual(['a/1 start', 'a/1 stop', 'a said anew']);
    expect(states(loop)).toEqual([]);
  });

  it('runs a new epoch beside the old one until it is ready, and never goes back', async () => {
    const { said, hear, runners, loop } = build(true);
    await hear({ type: 'task', task: task('a', 1) }, { type: 'task', task: task('a', 2) });
    expect(states(loop)).toEqual(['a/1 transferring', 'a/2 transferring']);
    const second = runners.get('a/2') as FakeRunner;
    second.state = 'ready';
    second.changed();
    await hear();
    expect(states(loop)).toEqual(['a/2 ready']);
    await hear({ type: 'opened' }, { type: 'task', task: task('a', 1) });
    expect(states(loop)).toEqual(['a/2 ready']);
    expect(said.filter((each) => each === 'a/1 start')).toHaveLength(1);
  });

  it('stops everything at the end and starts nothing more', async () => {
    const { said, hear, loop } = build();
    await hear({ type: 'task', task: task('a') });
    await loop.stop();
    await hear({ type: 'task', task: task('b') });
    expect(said).toEqual(['a/1 start', 'a/1 stop']);
  });
});
