import type { SeededRandom } from '@sluice/engine/sim/seededRandom.ts';
import type { OriginPolicy } from '../controllers/dataSide.ts';
import type { JournalStore } from '../quota/journal.ts';
import { LeaseService } from '../quota/leaseService.ts';
import type { LeasedDistribution } from '../quota/leases.ts';
import type { Machine } from './machine.ts';

export interface ControlServerDependencies {
  readonly machine: Machine;
  /** Of clocks, as the operator is told. */
  readonly clockDrift: number;
  readonly store: JournalStore;
  readonly random: SeededRandom;
  readonly wallClock: () => number;
  readonly onLost: () => void;
  readonly onBroken: (error: Error) => void;
  readonly onAsk: (holder: string, uid: string, epoch: number) => void;
}

/** Serves nobody whom no Origin covers. */
const OPTIONS = {
  defaultLimits: { maxConnections: 1, maxBandwidthBytesPerSecond: 1 },
  requireOrigin: true,
};

/** One run of the operator's process: the real lease service, and whether it takes itself for the leader. */
export class ControlServer {
  readonly machine: Machine;
  readonly service: LeaseService;
  leads = false;

  constructor({ machine, clockDrift, onAsk, onLost, ...rest }: ControlServerDependencies) {
    this.machine = machine;
    this.service = new LeaseService(
      { ...OPTIONS, clockDrift },
      {
        clock: machine,
        onLost: () => {
          this.stepDown();
          onLost();
        },
        onRetry: () => {},
        ...rest,
      },
    );
    this.service.onAsk(onAsk);
  }

  know(policies: readonly OriginPolicy[], distributions: readonly LeasedDistribution[]): void {
    this.service.setOrigins(policies);
    for (const each of distributions) this.service.setDistribution(each);
  }

  lead(term: number): void {
    this.leads = true;
    this.service.lead(term);
  }

  stepDown(): void {
    this.leads = false;
    this.service.stepDown();
  }
}
