/**
 * Why nothing moves though nodes wait: the first dependency that is short. What moves has no
 * trouble worth a condition: peers may have what the origin does not give.
 */
import type { NodeProgress, PullTrouble, Troubles } from '../controllers/dataSide.ts';
import { classifyError, type Failure, failure, type ReadyFailure } from './failures.ts';

export interface Idleness {
  /** Since a byte moved or a node changed its state. */
  readonly idleForMs: number;
  readonly troubles: Troubles;
  readonly pull: PullTrouble | undefined;
  /** Topology domains that are to have relays and have none that runs. */
  readonly domainsWithoutRelay: readonly string[];
  /** Nodes that are neither ready nor failed. */
  readonly open: readonly NodeProgress[];
}

/** Shorter pauses are part of every transfer. */
export const IDLE_MS = 5_000;
/** An agent that was restarted is back sooner. */
export const AGENTS_MISSING_MS = 30_000;
const MAX_NAMES = 3;

export function idleFailure(idleness: Idleness): Failure<ReadyFailure> | undefined {
  if (idleness.idleForMs < IDLE_MS || idleness.open.length === 0) return undefined;
  return database(idleness) ?? origin(idleness) ?? agents(idleness) ?? relayImage(idleness);
}

function database({ troubles }: Idleness): Failure<ReadyFailure> | undefined {
  return troubles.isDatabaseAway() ? databaseAway() : undefined;
}

/** Without a time that grows: it would be another status each second. */
export function databaseAway(): Failure<'DatabaseUnavailable'> {
  return failure('DatabaseUnavailable', 'the database does not answer');
}

function origin({ pull }: Idleness): Failure<ReadyFailure> | undefined {
  return pull === undefined ? undefined : classifyError(pull);
}

function agents({ idleForMs, open, troubles }: Idleness): Failure<ReadyFailure> | undefined {
  if (idleForMs < AGENTS_MISSING_MS || open.some(({ connected }) => connected)) return undefined;
  const names = open.map(({ name }) => name);
  const image = names.map((name) => troubles.agentImage(name)).find((said) => said !== undefined);
  if (image !== undefined) return failure('ImageNotPullable', `agents do not start: ${image}`);
  const message = `no agent is connected on ${listed(names)}`;
  return failure('AgentsMissing', message);
}

function relayImage({
  domainsWithoutRelay,
  troubles,
}: Idleness): Failure<ReadyFailure> | undefined {
  const image = domainsWithoutRelay
    .map((domain) => troubles.relayImage(domain))
    .find((said) => said !== undefined);
  return image === undefined
    ? undefined
    : failure('ImageNotPullable', `relays do not start: ${image}`);
}

/** `a, b, c and 7 more` */
export function listed(names: readonly string[]): string {
  const more = names.length - MAX_NAMES;
  const first = names.slice(0, MAX_NAMES).join(', ');
  return more > 0 ? `${first} and ${more} more` : first;
}
