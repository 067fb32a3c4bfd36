/**
 * The journal of an origin and the sharing of its limits: durable grants a second over FerretDB
 * beside this process, replay of a million entries and the first grant after it, fairness among a
 * thousand holders, and how much of a limit is used while holders come and go.
 *   node bench/quota.ts [--rounds 1]
 */
import { parseArgs } from 'node:util';
import {
  startTestDatabase,
  type TestDatabase,
} from '@sluice/operator/testing/adapters/testDatabase.ts';
import { abortOnSignal, failWith } from '../e2e/cluster/command.ts';
import { type Figure, figureOf } from './lib/figures.ts';
import { type GrantRun, grantRun } from './lib/quotaGrants.ts';
import { type ReplayRun, replayRun } from './lib/quotaReplay.ts';
import { type ChurnRun, churnRun, type FairnessRun, fairnessRun } from './lib/quotaSharing.ts';
import { record } from './lib/record.ts';

const GOAL_PER_SECOND = 10_000;
const LEASES = 1_000;
const SECONDS = 10;
const AT_ONCE = 256;
const ENTRIES = 1_000_000;
/** A snapshot is due after so many; what came since the last one is left. */
const SNAPSHOT_ENTRIES = 16_384;
const CHURN_HOLDERS = [2, 8, 32];

const { values } = parseArgs({ options: { rounds: { type: 'string', default: '1' } } });
const rounds = Number(values.rounds);
const signal = abortOnSignal();

interface Round {
  readonly most: GrantRun;
  readonly steady: GrantRun;
  readonly withSnapshot: ReplayRun;
  readonly withoutSnapshot: ReplayRun;
  readonly equal: FairnessRun;
  readonly weighted: FairnessRun;
  readonly churn: readonly ChurnRun[];
}

try {
  const measured: Round[] = [];
  for (let round = 1; round <= rounds; round += 1) measured.push(await measure(round));
  const holds = await record({
    name: 'quota',
    about: `Leases of one origin. Grants: ${LEASES} leases open, each new one settles the oldest, so every grant is two entries; FerretDB (SQLite) on the same machine, with majority and journal acknowledgement. Replay: ${ENTRIES} entries. Sharing: the operator's lease service on a virtual clock.`,
    runs: measured,
    figures: figuresOf(measured),
  });
  if (!holds) process.exitCode = 1;
} catch (error) {
  failWith('bench', error);
}

async function measure(round: number): Promise<Round> {
  const most = await withDatabase((database) =>
    grantRun(database, { host: 'most:443', leases: LEASES, seconds: SECONDS, atOnce: AT_ONCE }),
  );
  tell(round, 'grants, as many as become durable', most);
  const steady = await withDatabase((database) => {
    const perSecond = GOAL_PER_SECOND;
    return grantRun(database, { host: 'steady:443', leases: LEASES, seconds: SECONDS, perSecond });
  });
  tell(round, `grants, ${GOAL_PER_SECOND} a second asked for`, steady);
  const withSnapshot = await withDatabase((database) => replayRun(database, ENTRIES, 'with'));
  tell(round, 'replay with snapshot', withSnapshot);
  const withoutSnapshot = await withDatabase((database) => replayRun(database, ENTRIES, 'without'));
  tell(round, 'replay without snapshot', withoutSnapshot);
  const equal = await fairnessRun('equal');
  tell(round, 'fairness, equal weights', equal);
  const weighted = await fairnessRun('priorities');
  tell(round, 'fairness, weights 1 to 4', weighted);
  const churn: ChurnRun[] = [];
  for (const holders of CHURN_HOLDERS) {
    signal.throwIfAborted();
    churn.push(await churnRun(holders, round));
    tell(round, 'churn', churn.at(-1));
  }
  return { most, steady, withSnapshot, withoutSnapshot, equal, weighted, churn };
}

/** A fresh one: what is in it slows FerretDB down. */
async function withDatabase<T>(act: (database: TestDatabase) => Promise<T>): Promise<T> {
  signal.throwIfAborted();
  const database = await startTestDatabase();
  try {
    return await act(database);
  } finally {
    await database.stop();
  }
}

function figuresOf(measured: readonly Round[]): Figure[] {
  const of = (pick: (round: Round) => number) => measured.map(pick);
  const median = 'median' as const;
  return [
    figureOf(
      'durable grants',
      '/s',
      of(({ most }) => most.grantsPerSecond),
      {
        atLeast: GOAL_PER_SECOND,
        judgedBy: median,
      },
    ),
    figureOf(
      'until durable, half of them, at 10,000/s',
      'ms',
      of(({ steady }) => steady.p50Ms),
    ),
    figureOf(
      'until durable, 99 %, at 10,000/s',
      'ms',
      of(({ steady }) => steady.p99Ms),
    ),
    figureOf(
      'grants in a document, at 10,000/s',
      '',
      of(({ steady }) => steady.grantsPerDocument),
    ),
    figureOf(
      "the database's own commit, half",
      'ms',
      of(({ steady }) => steady.commitP50Ms),
    ),
    figureOf(
      "the database's own commit, 99 %",
      'ms',
      of(({ steady }) => steady.commitP99Ms),
    ),
    figureOf(
      'until durable, 99 %, in commits of that kind',
      '',
      of(({ steady }) => steady.p99Ms / steady.commitP99Ms),
    ),
    figureOf(
      'processor at 10,000/s',
      'cores',
      of(({ steady }) => steady.cores),
      {
        atMost: 1,
        judgedBy: median,
      },
    ),
    figureOf(
      'replay with snapshot',
      's',
      of(({ withSnapshot }) => withSnapshot.seconds),
      {
        atMost: 2,
        judgedBy: median,
      },
    ),
    figureOf(
      'taking over to the first grant, with snapshot',
      's',
      of(({ withSnapshot }) => withSnapshot.grantSeconds),
      {
        atMost: 2,
        judgedBy: median,
      },
    ),
    figureOf(
      'replay without snapshot',
      's',
      of(({ withoutSnapshot }) => withoutSnapshot.seconds),
    ),
    figureOf(
      'entries left of a million, half a minute later',
      '',
      of(({ withSnapshot }) => withSnapshot.entriesLeft),
      { atMost: 2 * SNAPSHOT_ENTRIES, judgedBy: median },
    ),
    figureOf(
      'Jain, equal weights, 60 s',
      '',
      of(({ equal }) => equal.jain),
      {
        atLeast: 0.98,
        judgedBy: 'everyRun',
      },
    ),
    figureOf(
      'Jain over weighted shares, 60 s',
      '',
      of(({ weighted }) => weighted.jain),
      {
        atLeast: 0.98,
        judgedBy: 'everyRun',
      },
    ),
    figureOf(
      'Jain, equal weights, from the first second',
      '',
      of(({ equal }) => equal.jainFromStart),
    ),
    ...CHURN_HOLDERS.map((holders, at) =>
      figureOf(
        `of the limit, ${holders} holders come and go`,
        '',
        of(({ churn }) => churn[at]?.usedShare ?? 0),
        {
          atLeast: 0.95,
          judgedBy: median,
        },
      ),
    ),
    figureOf(
      'most bytes in a second at the meter / limit, holders come and go',
      '',
      measured.flatMap(({ churn }) => churn.map(({ worstSecondShare }) => worstSecondShare)),
      { atMost: 1, judgedBy: 'everyRun' },
    ),
  ];
}

function tell(round: number, what: string, run: unknown): void {
  console.log(`round ${round}: ${what} ${JSON.stringify(run)}`);
}
