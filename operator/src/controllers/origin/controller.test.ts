import { beforeEach, expect, it } from 'vitest';
import { createLogger } from 'winston';
import type { Origin } from '../../api/v1alpha1/origin.ts';
import { KubeError } from '../../kube/client.ts';
import { journalStatus, marksOf } from '../../policies/originJournals.ts';
import type { JournalMark } from '../../quota/marks.ts';
import { FakeClock, steadyRandom } from '../../testing/fakeClock.ts';
import { FakeDataSide } from '../../testing/fakeDataSide.ts';
import { anOrigin } from '../../testing/objects.ts';
import { OriginController, type OriginControllerDependencies } from './controller.ts';

const HOST = 'origin.example.com:443';

function markAt(sequence: number): JournalMark {
  const written = sequence - 8;
  return { host: HOST, identity: 'a', written, sequence, trafficBytes: 4_000, periodStartMs: 0 };
}

/** One Origin at an API server that knows optimistic locking. */
class ApiServer {
  version = 1;
  origin: Origin = anOrigin('cdn', {}, '2026-11-26T00:00:00Z');

  get now(): Origin {
    const metadata = { ...this.origin.metadata, resourceVersion: `${this.version}` };
    return { ...this.origin, metadata };
  }

  get mark(): JournalMark | undefined {
    return marksOf([this.origin.status]).get(HOST);
  }

  write(status: Origin['status'] & {}): Origin {
    this.version += 1;
    this.origin = { ...this.origin, status };
    return this.now;
  }

  async request({ body }: { body?: Origin }): Promise<Origin | { items: Origin[] }> {
    if (body === undefined) return { items: [this.now] };
    if (body.metadata.resourceVersion !== `${this.version}`) {
      throw new KubeError('Conflict', 409, 'the object has been modified');
    }
    return this.write(body.status as Origin['status'] & {});
  }
}

let api: ApiServer;
let cached: Origin;
let data: FakeDataSide;
let clock: FakeClock;

beforeEach(async () => {
  [api, data, clock] = [new ApiServer(), new FakeDataSide(), new FakeClock()];
  cached = api.now;
  const controller = new OriginController({
    client: api as unknown as OriginControllerDependencies['client'],
    origins: {
      get: () => cached,
      list: () => [cached],
    } as unknown as OriginControllerDependencies['origins'],
    namespaces: { list: () => [] } as unknown as OriginControllerDependencies['namespaces'],
    onPolicies: () => {},
    coordinator: data,
    events: { record: () => {} } as unknown as OriginControllerDependencies['events'],
    clock,
    random: steadyRandom,
    wallTime: () => '2026-11-26T00:00:00Z',
    logger: createLogger({ silent: true }),
  });
  data.journals = { marks: [markAt(10)], behind: [] };
  controller.start();
  await clock.advance(100);
  expect(api.mark?.sequence).toBe(10);
});

/** As the next leader does, while this one is frozen: its copy is old. */
function nextLeaderWrites(sequence: number): void {
  const journals = { marks: [markAt(sequence)], behind: [] };
  api.write({
    ...api.origin.status,
    ...journalStatus(journals, undefined),
  } as Origin['status'] & {});
}

it('a leader of the past writes nothing over what the next one wrote', async () => {
  nextLeaderWrites(50);
  data.journals = { marks: [markAt(20)], behind: [] };
  data.originChanged('cdn');
  await clock.advance(100);
  expect(api.mark?.sequence).toBe(50);
  // Nor when it has seen that: it steps down soon.
  const { version } = api;
  await clock.advance(5_000);
  cached = api.now;
  data.originChanged('cdn');
  await clock.advance(5_000);
  expect([api.mark?.sequence, api.version]).toEqual([50, version]);
  // By now it knows that it leads no more, and so nothing of journals.
  data.journals = undefined;
  await clock.advance(5_000);
  expect(api.mark?.sequence).toBe(50);
});

it('a leader goes on after somebody else has changed the object, though the watch stands still', async () => {
  api.version += 1;
  data.journals = { marks: [markAt(20)], behind: [] };
  data.originChanged('cdn');
  await clock.advance(100);
  expect([api.mark?.sequence, data.marked.at(-1)?.sequence]).toEqual([10, 10]);
  await clock.advance(300);
  expect([api.mark?.sequence, data.marked.at(-1)?.sequence]).toEqual([20, 20]);
});

it('writes over its own last status before the watch has it', async () => {
  for (const sequence of [20, 30]) {
    data.journals = { marks: [markAt(sequence)], behind: [] };
    data.originChanged('cdn');
    await clock.advance(50);
    expect(api.mark?.sequence).toBe(sequence);
  }
});
