import { certify } from '@sluice/engine/feed/certificate.ts';
import type { FeedKeyPair } from '@sluice/engine/feed/keys.ts';
import type { Extent, LeaseAnswer, LeaseRequest } from '@sluice/protocol/leaseMessages.ts';
import type { Task } from '@sluice/protocol/messages.ts';

export interface LeasedTask {
  readonly task: Task;
  readonly keys: FeedKeyPair;
  readonly rateBytesPerSecond: number;
  readonly extentPieces: number;
  /** Not handed out, in file order. */
  readonly free: number[];
  /** Granted when the source has failed. */
  readonly mirror?: string;
}

export interface Lease {
  readonly id: string;
  readonly uid: string;
  /** Empty for top-up. */
  readonly pullerKey: string;
  readonly mirror?: string | undefined;
  version: number;
  pieces: number[];
  /** By the newest version: its answer may be lost. */
  added: number[];
}

const MAX_BYTES = 1024 ** 3;

/** Grants extents in file order to whoever asks; to a node that is short, what it would take. */
export class LeaseTable<Of extends LeasedTask> {
  /** By uid. */
  readonly distributions = new Map<string, Of>();
  /** Open ones. */
  readonly leases = new Map<string, Lease>();
  /** Of which distributions, in order. */
  readonly settled: string[] = [];
  /** Distributions whose source gave nothing. */
  readonly failed = new Set<string>();
  readonly #pieceBytes: number;
  #granted = 0;

  constructor(pieceBytes: number) {
    this.#pieceBytes = pieceBytes;
  }

  answer(request: LeaseRequest): LeaseAnswer {
    if (request.op === 'certify') return this.#certify(request);
    if (request.op === 'acquire') {
      this.#granted += 1;
      const { uid, epoch, pullerKey = '', topUp, mirrors = [] } = request;
      const known = this.distributions.get(uid);
      if (known?.task.epoch !== epoch) {
        return { outcome: 'wait', reason: 'NotReady', retryAfterMs: 500 };
      }
      const usesMirror = this.failed.has(uid) && mirrors.includes(known.mirror ?? '');
      const mirror = usesMirror ? known.mirror : undefined;
      const lease = { id: `lease-${this.#granted}`, uid, pullerKey, mirror, version: 0, added: [] };
      if (topUp === undefined) return this.#grant({ ...lease, pieces: [] });
      const pieces = piecesOfField(Buffer.from(topUp.acceptable, 'base64'));
      const count = Math.ceil(topUp.wantBytes / this.#pieceBytes);
      return this.#grant({ ...lease, pieces: pieces.slice(0, count) });
    }
    const lease = this.leases.get(request.leaseId);
    if (lease === undefined) return { outcome: 'gone' };
    const unheard = request.version < lease.version ? lease.added : [];
    lease.pieces = [...new Set([...request.unfinished.flatMap(piecesOf), ...unheard])];
    if (request.op === 'renew') return this.#grant(lease);
    this.settled.push(lease.uid);
    if (request.failure !== undefined && lease.mirror === undefined) this.failed.add(lease.uid);
    if (lease.pullerKey !== '') {
      this.distributions.get(lease.uid)?.free.unshift(...lease.pieces);
    }
    this.leases.delete(lease.id);
    return { outcome: 'settled' };
  }

  /** For all of it: the test decides who is told to ask. */
  #certify({ uid, pullerKey }: Extract<LeaseRequest, { op: 'certify' }>): LeaseAnswer {
    const distribution = this.distributions.get(uid);
    if (distribution === undefined) {
      return { outcome: 'wait', reason: 'NotReady', retryAfterMs: 500 };
    }
    const { task, keys } = distribution;
    const pieces = task.files.reduce(
      (sum, { sizeBytes }) => sum + Math.ceil(sizeBytes / this.#pieceBytes),
      0,
    );
    const extents = [{ first: 0, count: pieces }];
    const swarmId = Buffer.from(task.swarmId, 'hex');
    const certificate = certify(keys, swarmId, Buffer.from(pullerKey, 'base64'), extents);
    return { outcome: 'certified', certificates: [certificate] };
  }

  #grant(lease: Lease): LeaseAnswer {
    const { id: leaseId, uid, pullerKey, mirror, pieces } = lease;
    const distribution = this.distributions.get(uid);
    if (distribution === undefined) throw new Error(`no distribution ${uid}`);
    const { task, keys, free, extentPieces, rateBytesPerSecond } = distribution;
    const isPull = pullerKey !== '';
    lease.added = isPull ? free.splice(0, Math.max(0, extentPieces - pieces.length)) : [];
    pieces.push(...lease.added);
    if (pieces.length === 0) return { outcome: 'wait', reason: 'NothingToPull', retryAfterMs: 500 };
    lease.version += 1;
    this.leases.set(leaseId, lease);
    const extents = pieces.map((first): Extent => ({ first, count: 1 }));
    const swarmId = Buffer.from(task.swarmId, 'hex');
    return {
      outcome: 'granted',
      grant: {
        leaseId,
        version: lease.version,
        uid,
        epoch: task.epoch,
        ...(mirror !== undefined && { mirror }),
        extents,
        maxBytes: MAX_BYTES,
        rateBytesPerSecond,
        slackBytes: Math.ceil(rateBytesPerSecond / 10),
        connections: 2,
        ttlMs: 10_000,
        ...(isPull && {
          certificate: certify(keys, swarmId, Buffer.from(pullerKey, 'base64'), extents),
        }),
      },
    };
  }
}

function piecesOf({ first, count }: Extent): number[] {
  return Array.from({ length: count }, (_, index) => first + index);
}

/** Of a BitTorrent bitfield. */
function piecesOfField(field: Uint8Array): number[] {
  return [...field].flatMap((bits, byte) =>
    Array.from({ length: 8 }, (_, bit) => bit)
      .filter((bit) => (bits & (128 >> bit)) !== 0)
      .map((bit) => byte * 8 + bit),
  );
}
