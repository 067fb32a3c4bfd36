/**
 * The leases of a control server in a process of their own, which a test kills: leaseServer.ts runs
 * it and tells it what to serve. It grants when it is told to lead.
 */
import { systemClock } from '@sluice/engine/adapters/systemClock.ts';
import type { MongoClient } from 'mongodb';
import { MongoJournalStore } from '../../quota/journalStore.ts';
import type { LeaseService } from '../../quota/leaseService.ts';
import { databaseOf, newMongoClient } from '../../store/database.ts';
import { fasterClock } from '../fasterClock.ts';
import { anOriginPolicy } from '../leasing.ts';
import type { FromServer, LeaseServerOptions, ToServer } from './leaseServer.ts';
import { systemLeases } from './systemLeases.ts';

interface Served {
  readonly options: LeaseServerOptions;
  readonly client: MongoClient;
  readonly service: LeaseService;
}

let served: Served | undefined;

process.on('message', (message: ToServer) => {
  switch (message.kind) {
    case 'serve':
      void serve(message.options).then(() => say('ready'));
      break;
    case 'lead':
      lead(message.term);
      break;
    case 'ask':
      answer(message);
  }
});
// Whoever started it has died: nothing is left then that would keep it.
process.on('disconnect', () => {
  served?.service.stepDown();
  void served?.client.close();
});

async function serve(options: LeaseServerOptions): Promise<void> {
  const { uri, clockFactor, origins } = options;
  const client = newMongoClient(uri);
  await client.connect();
  const service = systemLeases(
    {
      defaultLimits: { maxConnections: 1, maxBandwidthBytesPerSecond: 100_000 },
      requireOrigin: true,
    },
    new MongoJournalStore(databaseOf(client)),
    fasterClock(systemClock, clockFactor),
  );
  service.setOrigins(origins.map(({ limits, ...rest }) => anOriginPolicy(limits, rest)));
  served = { options, client, service };
}

/** What was donated is told to each leader anew. */
function lead(term: number): void {
  served?.service.lead(term);
  for (const each of served?.options.distributions ?? []) served?.service.setDistribution(each);
}

function answer({ id, holder, request }: Extract<ToServer, { kind: 'ask' }>): void {
  served?.service.answer({ id: holder, kind: 'relay' }, request).then(
    (answer) => say({ id, answer }),
    (error: Error) => say({ id, refusal: error.message }),
  );
}

function say(message: FromServer): void {
  process.send?.(message);
}
