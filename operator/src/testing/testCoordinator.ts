import type { WorkMessage } from '@sluice/protocol/messages.ts';
import { createLogger } from 'winston';
import { Coordinator } from '../server/coordinator.ts';
import type { FleetProcess } from '../server/fleetView.ts';
import { FakeClock, settle } from './fakeClock.ts';
import { aLeaseService } from './leasing.ts';
import { MemoryJournal } from './memoryJournal.ts';
import { noRows } from './noRows.ts';

/**
 * A coordinator that leads, on a clock of its own, with nothing in its store unless a test says so;
 * and processes that it meets.
 */
export class TestCoordinator {
  readonly clock = new FakeClock();
  readonly leases = aLeaseService({ store: new MemoryJournal(), clock: this.clock });
  readonly coordinator: Coordinator;
  /** What each process was told, by node. */
  readonly told = new Map<string, WorkMessage[]>();

  /** `startedAtUnixMs`: what the wall's clock says when its own begins. */
  constructor(store = noRows, startedAtUnixMs = 0) {
    this.coordinator = new Coordinator({
      leases: this.leases,
      ...store,
      clock: this.clock,
      wallClock: () => startedAtUnixMs + this.clock.now(),
      logger: createLogger({ silent: true }),
    });
  }

  async start(): Promise<this> {
    this.leases.lead(1);
    this.coordinator.start();
    this.coordinator.setOrigins([]);
    await settle();
    return this;
  }

  stop(): void {
    this.coordinator.stop();
    this.leases.stepDown();
  }

  connect(kind: 'relay' | 'agent', node: string, domain = 'a'): FleetProcess {
    const messages: WorkMessage[] = [];
    this.told.set(node, messages);
    const session = {
      id: `${kind}-${node}`,
      kind,
      node,
      domain: kind === 'relay' ? domain : undefined,
      host: node,
      bitTorrentPort: 6881,
      httpPort: undefined,
      pod: node,
      podUid: node,
      protocolVersion: 1,
      expiresAtMs: Number.POSITIVE_INFINITY,
    };
    const stream = { send: (message: WorkMessage) => messages.push(message), close: () => {} };
    return this.coordinator.fleet.open(session, stream, this.clock.now());
  }
}
