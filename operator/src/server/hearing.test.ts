import type { TransferState } from '@sluice/protocol/messages.ts';
import { expect, it } from 'vitest';
import { createLogger } from 'winston';
import type { Assignment } from '../store/assignments.ts';
import { FakeClock, settle } from '../testing/fakeClock.ts';
import { aPlanOf, aRecord } from '../testing/objects.ts';
import { AssignmentWriter } from './assignmentWriter.ts';
import type { FleetProcess } from './fleetView.ts';
import { Hearing, type HearingDependencies } from './hearing.ts';
import { NodeBook } from './nodeBook.ts';

const UID = 'u';

/** Two nodes, and what they say. */
function build() {
  const written: Assignment[] = [];
  const rows = new AssignmentWriter({
    assignments: {
      load: async () => [],
      save: async ({ rows: all }) => void written.push(...all),
      delete: async () => {},
    },
    clock: new FakeClock(),
    logger: createLogger({ silent: true }),
  });
  const nodes = ['n1', 'n2'].map((name) => ({ name, domain: 'a', uid: `uid-${name}` }));
  const plan = aPlanOf(aRecord({ uid: UID }), { nodes });
  const book = new NodeBook(plan);
  book.apply(plan, 0);
  const leasedAgain: boolean[] = [];
  const hearing = new Hearing({
    rows,
    departures: { seeOff: () => {} },
    distributions: () => new Map([[UID, { book, entrusted: new Set() }]]),
    leaseAgain: () => leasedAgain.push(book.isEverywhere),
    heard: () => {},
    tellSoon: () => {},
  } as unknown as HearingDependencies);
  const says = (node: string, state: TransferState, verifiedBytes = 0) => {
    const { epoch } = plan.record;
    const process = { kind: 'agent', node } as FleetProcess;
    const received = { fromPeers: 0, fromRelays: 0, fromRelayHttp: 0, fromOrigin: 0 };
    const progress = {
      verifiedPieces: 0,
      verifiedBytes,
      rateBytesPerSecond: 0,
      received,
      uploadedBytes: 0,
    };
    hearing.reported(process, [{ uid: UID, epoch, state, ...progress }], []);
  };
  return { written, book, leasedAgain, says, sizeBytes: plan.record.source.sizeBytes };
}

it('that every node has a file is written at once, before anybody else leads', async () => {
  const { written, says } = build();
  says('n1', 'ready');
  says('n2', 'transferring');
  await settle();
  expect(written).toEqual([]);
  says('n2', 'ready');
  await settle();
  expect(written.map(({ node, progress }) => `${node} ${progress.state}`).sort()).toEqual([
    'n1 ready',
    'n2 ready',
  ]);
});

it('of a node that has a file nothing is to be pulled while its agent, which has begun anew, looks at it', () => {
  const { book, leasedAgain, says, sizeBytes } = build();
  for (const node of ['n1', 'n2']) says(node, 'ready', sizeBytes);
  says('n1', 'pending');
  says('n1', 'verifying', sizeBytes);
  says('n1', 'transferring', sizeBytes);
  expect([book.isEverywhere, leasedAgain]).toEqual([true, [true]]);
  says('n1', 'transferring', sizeBytes - 1);
  expect([book.isEverywhere, leasedAgain]).toEqual([false, [true, false]]);
  says('n2', 'failed', sizeBytes);
  expect(book.recordOf('n2').state).toBe('failed');
});
