import { expect, it, vi } from 'vitest';
import type { ControlClient, ReportContent, WorkEvent } from './controlClient.ts';
import { ControlWorker } from './controlWorker.ts';

/** A control server that says what it is given to say, and hears what is reported. */
function build() {
  const said: string[] = [];
  const events: WorkEvent[] = [{ type: 'opened' }];
  let wake = () => {};
  const client = {
    reportIntervalMs: 5,
    spreadMs: 0,
    connected: true,
    async *work(signal: AbortSignal) {
      signal.addEventListener('abort', () => wake());
      while (!signal.aborted) {
        yield* events.splice(0);
        await new Promise<void>((resolve) => {
          wake = resolve;
          if (events.length > 0) resolve();
        });
      }
    },
    report: async ({ transfers }: ReportContent) => {
      said.push(...transfers.map(({ uid, epoch, state }) => `${uid}/${epoch} ${state}`));
    },
    close: () => {},
  };
  const host = {
    create: () => {
      throw new Error('there are no tasks');
    },
    deleteFiles: async () => [],
    synced: async () => {},
  };
  const worker = new ControlWorker(
    { newestOnly: true },
    {
      client: client as unknown as ControlClient,
      host,
      disk: async () => undefined,
      onProblem: () => {},
    },
  );
  const hear = (event: WorkEvent) => {
    events.push(event);
    wake();
  };
  return { said, hear, worker };
}

it('a tombstone that comes again is confirmed again, though nothing has changed', async () => {
  const { said, hear, worker } = build();
  worker.start();
  for (const count of [1, 2, 3]) {
    hear({ type: 'remove', uid: 'a', deleteFiles: true });
    await vi.waitFor(() => expect(said).toEqual(Array(count).fill('a/1 removed')));
  }
  await worker.stop();
});
