/** What the journal holds. Every limit is computed from these entries alone. */
import type { Extent } from '@sluice/protocol/leaseMessages.ts';

/** What one version of a lease allows. */
export interface Terms {
  readonly rateBytesPerSecond: number;
  /** Most bytes requested and not yet received. */
  readonly slackBytes: number;
  readonly connections: number;
  /** All bytes that the lease may ever take, headers included. */
  readonly maxBytes: number;
}

/** Connections that the origin may have open still, and what it may send over them. */
export interface Unproven {
  readonly connections: number;
  readonly slackBytes: number;
}

export type Entry =
  | {
      readonly kind: 'grant';
      readonly leaseId: string;
      /** One run of one process. */
      readonly holder: string;
      /** Of the holder's request: one that comes late does not end what a later one was granted. */
      readonly sequence?: number;
      readonly uid: string;
      readonly epoch: number;
      /** Raw Ed25519, base64; a later leader certifies it, too. Empty for all but pullers. */
      readonly pullerKey: string;
      /** A node that is short brings pieces that relays have brought already; absent: anything else. */
      readonly purpose?: 'topUp';
      /** Id of the mirror that it is for; absent: the source itself. */
      readonly mirror?: string;
      readonly wantConnections: number;
      readonly terms: Terms;
      readonly extents: readonly Extent[];
    }
  | {
      /**
       * A new version, or the newest one again with terms that are nowhere smaller; versions before
       * `acknowledged` do not count any more.
       */
      readonly kind: 'renew';
      readonly leaseId: string;
      readonly version: number;
      readonly acknowledged: number;
      readonly terms: Terms;
      readonly extents: readonly Extent[];
    }
  /**
   * Every socket is closed; `usedBytes` is what the origin wrote at most. `atMs` is the leader's
   * wall clock, milliseconds since the Unix epoch: which periods the bytes are in. What is unproven
   * stays counted until a `close`.
   */
  | {
      readonly kind: 'settle';
      readonly leaseId: string;
      readonly usedBytes: number;
      readonly atMs: number;
      readonly unproven?: Unproven;
    }
  /** Its time is over: its rate returns, nothing else. */
  | { readonly kind: 'expire'; readonly leaseId: string }
  /**
   * Its connections are surely closed, its use stays unknown: it is charged whole, or with
   * `usedBytes`, which its holder has proven by then, when that is more.
   */
  | {
      readonly kind: 'close';
      readonly leaseId: string;
      readonly atMs: number;
      readonly usedBytes?: number;
    }
  /**
   * From here on the period that began at `startMs` is the one that counts. `fromMs`: its length is
   * another one now, and by that it began then; `startMs` never goes back.
   */
  | {
      readonly kind: 'period';
      readonly startMs: number;
      readonly periodMs?: number;
      readonly fromMs?: number;
    }
  /**
   * A leader's first document of its term: whoever led before collides with it. The first one of all
   * names the journal.
   */
  | { readonly kind: 'fence'; readonly term: number; readonly identity?: string }
  | {
      /**
       * The database had lost what came after `after`: the journal goes on from the mark in the
       * Origin's status. All that the mark allows was taken, for want of knowledge; every lease that
       * is missing has ended by time.
       */
      readonly kind: 'restart';
      readonly after: number;
      readonly identity: string;
      readonly trafficBytes: number;
      readonly periodStartMs: number;
      readonly atMs: number;
    };

/** One insert: entries that became durable together. */
export interface JournalDocument {
  /** `<origin>/<sequence>`, dense but for restarts. */
  readonly _id: string;
  /** Host and port: what is taken there stays counted when another Origin covers it. */
  readonly origin: string;
  readonly sequence: number;
  readonly term: number;
  /** Random per leader: tells its own documents from a stranger's. */
  readonly nonce: string;
  readonly fence: boolean;
  readonly entries: readonly Entry[];
}

export function documentId(origin: string, sequence: number): string {
  return `${origin}/${sequence}`;
}
