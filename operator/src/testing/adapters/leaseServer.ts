/** A process that grants leases, for a test that kills it. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { ControlError } from '@sluice/protocol/client/controlError.ts';
import type { LeaseAnswer, LeaseRequest } from '@sluice/protocol/leaseMessages.ts';
import type { OriginPolicy } from '../../controllers/dataSide.ts';
import type { LeasedDistribution } from '../../quota/leases.ts';

export interface LeaseServerOptions {
  /** Of the database. */
  readonly uri: string;
  /** How much faster than real time its clock is. */
  readonly clockFactor: number;
  readonly origins: readonly Pick<OriginPolicy, 'name' | 'hosts' | 'limits'>[];
  readonly distributions: readonly LeasedDistribution[];
}

export type ToServer =
  | { readonly kind: 'serve'; readonly options: LeaseServerOptions }
  | { readonly kind: 'lead'; readonly term: number }
  | {
      readonly kind: 'ask';
      readonly id: number;
      readonly holder: string;
      readonly request: LeaseRequest;
    };

export type FromServer =
  | 'ready'
  | { readonly id: number; readonly answer: LeaseAnswer }
  | { readonly id: number; readonly refusal: string };

interface Asked {
  readonly resolve: (answer: LeaseAnswer) => void;
  readonly reject: (error: ControlError) => void;
}

const PROGRAM = path.join(import.meta.dirname, 'leaseServerProgram.ts');

export class LeaseServer {
  readonly #child: ChildProcess;
  readonly #asked = new Map<number, Asked>();
  #id = 0;

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  /** Stands by until it is told to lead. */
  static async start(options: LeaseServerOptions): Promise<LeaseServer> {
    const child = fork(PROGRAM, { execArgv: [], serialization: 'advanced' });
    const server = new LeaseServer(child);
    await new Promise<void>((resolve, reject) => {
      child.once('exit', (code) => reject(new Error(`a lease server ended with ${code}`)));
      child.on('message', (message: FromServer) => {
        if (message === 'ready') resolve();
        else server.#answered(message);
      });
      server.#tell({ kind: 'serve', options });
    });
    child.once('exit', () => server.#died());
    return server;
  }

  lead(term: number): void {
    this.#tell({ kind: 'lead', term });
  }

  /** Rejects with a ControlError, as a request over the network does. */
  ask(holder: string, request: LeaseRequest): Promise<LeaseAnswer> {
    this.#id += 1;
    const id = this.#id;
    return new Promise((resolve, reject) => {
      this.#asked.set(id, { resolve, reject });
      this.#tell({ kind: 'ask', id, holder, request });
    });
  }

  /** How many it has been asked and has not answered. */
  get unanswered(): number {
    return this.#asked.size;
  }

  /** SIGKILL. What it had sent by then was received. */
  async kill(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const closed = once(this.#child, 'close');
    this.#child.kill('SIGKILL');
    await closed;
  }

  #tell(message: ToServer): void {
    // It may have been killed.
    this.#child.send(message, (error) => error && this.#died());
  }

  #answered(message: Exclude<FromServer, 'ready'>): void {
    const asked = this.#asked.get(message.id);
    this.#asked.delete(message.id);
    if ('answer' in message) asked?.resolve(message.answer);
    else asked?.reject(new ControlError('Unavailable', message.refusal));
  }

  #died(): void {
    for (const { reject } of this.#asked.values()) {
      reject(new ControlError('Unreachable', 'the lease server was killed'));
    }
    this.#asked.clear();
  }
}
