import type { SeededRandom } from '@sluice/engine/sim/seededRandom.ts';
import type { OriginPolicy } from '../controllers/dataSide.ts';
import type { SnapshotEvery } from '../quota/compaction.ts';
import type { JournalStore } from '../quota/journal.ts';
import { LeaseService } from '../quota/leaseService.ts';
import type { LeasedDistribution } from '../quota/leases.ts';
import type { LoadMarks } from '../quota/originBooks.ts';
import type { Machine } from './machine.ts';
import type { OracleLimits } from './originOracle.ts';

export interface ControlServerDependencies {
  readonly machine: Machine;
  /** Of clocks, as the operator is told. */
  readonly clockDrift: number;
  /** Of hosts that no Origin covers; undefined: nothing is taken there. */
  readonly uncovered: OracleLimits | undefined;
  readonly snapshotEvery: SnapshotEvery;
  readonly store: JournalStore;
  readonly random: SeededRandom;
  readonly wallClock: () => number;
  readonly onLost: () => void;
  readonly onBroken: (error: Error) => void;
  readonly onAsk: (holder: string, uid: string, epoch: number) => void;
}

const NOTHING: Pick<OracleLimits, 'connections' | 'bandwidthBytesPerSecond'> = {
  connections: 1,
  bandwidthBytesPerSecond: 1,
};

/** One run of the operator's process: the real lease service, and whether it takes itself for the leader. */
export class ControlServer {
  readonly machine: Machine;
  readonly service: LeaseService;
  leads = false;

  constructor(dependencies: ControlServerDependencies) {
    const { machine, clockDrift, uncovered, snapshotEvery, onAsk, onLost, ...rest } = dependencies;
    const { connections, bandwidthBytesPerSecond } = uncovered ?? NOTHING;
    const defaultLimits = {
      maxConnections: connections,
      maxBandwidthBytesPerSecond: bandwidthBytesPerSecond,
    };
    this.machine = machine;
    this.service = new LeaseService(
      { defaultLimits, requireOrigin: uncovered === undefined, clockDrift, snapshotEvery },
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

  lead(term: number, loadMarks: LoadMarks | undefined): void {
    this.leads = true;
    this.service.lead(term, loadMarks);
  }

  stepDown(): void {
    this.leads = false;
    this.service.stepDown();
  }
}
