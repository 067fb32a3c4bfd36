/**
 * A way to bring the origin's file to all nodes: Sluice, or what a user would take instead. It is
 * brought up until it waits, gets its start signal, and says when each node has the file.
 */
import type { Host } from './links.ts';
import type { Origin } from './origin.ts';
import type { Processes } from './processes.ts';
import type { Setup } from './setups.ts';

/** What a system is given for one run. */
export interface Rig {
  readonly setup: Setup;
  readonly relays: readonly Host[];
  readonly nodes: readonly Host[];
  readonly origin: Origin;
  /** Of this run alone. */
  readonly folder: string;
  readonly processes: Processes;
  readonly signal: AbortSignal;
  /** To be called when a node has the whole file. */
  readonly done: (node: Host) => void;
}

export interface RunningSystem {
  /** The start signal, for these nodes; the first one is also the relays'. */
  begin(nodes: readonly Host[]): void;
  /** Where the file is on the node. */
  fileOf(node: Host): string;
  /** Ends the relay's process as a crash does. */
  killRelay(relay: Host): void;
  /** Process ids by host. */
  readonly pids: ReadonlyMap<string, number>;
  /** Throws when something that must run has ended. */
  check(): void;
  /** What only this system knows of its run. */
  facts(): Facts;
  stop(): Promise<void>;
}

export interface Facts {
  /** Nodes received so many bytes twice. */
  readonly duplicateBytes?: number;
  readonly receivedBytes?: Readonly<Record<string, number>>;
  /** By relay: bytes of the file that it gave away. */
  readonly relayUploadedBytes?: Readonly<Record<string, number>>;
  /** Whole pieces that a killed relay had and nobody else. */
  readonly lost?: { readonly pieces: number; readonly pieceLengthBytes: number };
}

export interface System {
  readonly name: string;
  readonly about: string;
  /** Whether nodes get anything from relays: without, a relay that dies is none of its business. */
  readonly usesRelays: boolean;
  prepare(rig: Rig): Promise<RunningSystem>;
}
