import { randomBytes } from 'node:crypto';
import { generateFeedKeyPair } from '@sluice/engine/feed/keys.ts';
import { swarmIdOf } from '@sluice/engine/feed/swarmId.ts';
import { layoutOf } from '@sluice/engine/pieces/layout.ts';
import type { Task } from '@sluice/protocol/messages.ts';
import type { LeasedTask, LeaseTable } from './leaseTable.ts';
import { type ProcessFleet, sha256Of } from './processFleet.ts';
import type { TestOrigin } from './testOrigin.ts';

const PIECE = 262_144;
const FAST = 100 * 1024 * 1024;
const DELIVERY: Task['delivery'] = { topUp: ['Relay'], transport: 'Hybrid' };

export interface OneFile {
  readonly uid: string;
  readonly epoch?: number;
  readonly namespace?: string;
  readonly body: Buffer;
  readonly delivery?: Task['delivery'];
}

export interface Tenants {
  readonly origin: TestOrigin;
  /** Absent: nobody is told, or the test tells whom it likes. */
  readonly fleet?: ProcessFleet;
  readonly table: LeaseTable<LeasedTask>;
}

/** Makes an epoch of one file, `<uid>.bin`, with its digest, and tells it to every process of the fleet. */
export function distributeFile(
  { origin, fleet, table }: Tenants,
  { uid, epoch = 1, namespace = 'team', body, delivery = DELIVERY }: OneFile,
): Task {
  const files = [{ path: `${uid}.bin`, sizeBytes: body.length, sha256: sha256Of(body) }];
  const layout = layoutOf(files, PIECE);
  const keys = generateFeedKeyPair();
  const owner = { uid, epoch, feedKey: keys.publicKey };
  const etag = origin.put(`/${uid}.bin`, body);
  const task: Task = {
    uid,
    namespace,
    name: uid,
    epoch,
    swarmId: swarmIdOf(layout, owner).toString('hex'),
    pieceLengthBytes: PIECE,
    files,
    feedKey: keys.publicKey.toString('base64'),
    swarmSecret: randomBytes(32).toString('base64'),
    relayToken: randomBytes(16).toString('hex'),
    delivery,
    source: {
      url: `${origin.url}/${uid}.bin`,
      headers: {},
      files: [{ path: `${uid}.bin`, validator: { etag } }],
      ranges: true,
    },
    target: { path: uid, fileMode: '0644' },
  };
  table.distributions.set(uid, {
    task,
    keys,
    rateBytesPerSecond: FAST,
    extentPieces: 64,
    free: Array.from({ length: layout.pieceCount }, (_, piece) => piece),
  });
  if (fleet !== undefined) tell(fleet, task);
  return task;
}

/** Also once more: a task that was removed begins anew, and one that runs may be told otherwise. */
export function tell(fleet: ProcessFleet, task: Task): void {
  for (const { name } of fleet.programs) {
    for (const message of fleet.messagesFor(task, name)) fleet.control.send(message, { name });
  }
}
