import { defineConfig } from 'vitest/config';
import { LastOnesLast } from './e2e/sequencer.ts';

/** In process like unit tests, but of hundreds of random worlds each. */
const LONG = [
  '*/src/sim/**/*.test.ts',
  '*/src/**/*.{crash,fault}.test.ts',
  'operator/src/quota/lease{Truth,dPull}.test.ts',
];

/**
 * unit: in process, no network beyond loopback, seconds.
 * simulation: whole swarms, leases and disks under faults, on a virtual clock, in process; longer than `make verify` may take.
 * integration: real servers (FerretDB, kube-apiserver, etcd, BitTorrent clients) on loopback.
 * cluster and e2e: the real test cluster, one file after the other.
 */
export default defineConfig({
  test: {
    sequence: { sequencer: LastOnesLast },
    projects: [
      {
        test: {
          name: 'unit',
          include: [
            '*/src/**/*.test.ts',
            'scripts/**/*.test.ts',
            'e2e/{demo,install,health,randomRun}/**/*.test.ts',
            'bench/**/*.test.ts',
          ],
          exclude: ['**/*.integration.test.ts', ...LONG, '**/node_modules/**'],
          // Of one processor fewer than there are, half of a small machine would stand idle.
          maxWorkers: '100%',
          // What a file needs of a fresh process it makes itself; to load everything anew for each
          // file took a third of the time.
          pool: 'threads',
          isolate: false,
          // A test that hangs fails; one on a busy machine does not.
          testTimeout: 60_000,
        },
      },
      {
        test: {
          name: 'simulation',
          include: LONG,
          maxWorkers: '100%',
          testTimeout: 60_000,
        },
      },
      {
        test: {
          name: 'integration',
          include: [
            '*/src/**/*.integration.test.ts',
            '{scripts,e2e/interop,e2e/health}/**/*.integration.test.ts',
          ],
          testTimeout: 120_000,
          hookTimeout: 120_000,
          fileParallelism: false,
        },
      },
      {
        test: {
          name: 'cluster',
          include: ['e2e/cluster/**/*.test.ts', 'e2e/origin/**/*.test.ts'],
          testTimeout: 180_000,
          hookTimeout: 300_000,
          fileParallelism: false,
        },
      },
      {
        test: {
          name: 'e2e',
          include: ['e2e/scenarios/**/*.test.ts'],
          globalSetup: ['e2e/scenarios/sharedCluster.ts'],
          testTimeout: 300_000,
          hookTimeout: 600_000,
          fileParallelism: false,
        },
      },
    ],
  },
});
