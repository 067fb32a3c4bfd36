/** Whether the domains of a Distribution have the relays that they are to have. */
import type { DistributionProgress, EpochRecord, Troubles } from '../controllers/dataSide.ts';
import type { Verdict } from './distribution.ts';
import type { DistributionCondition } from './distributionConditions.ts';
import { type Failure, failure } from './failures.ts';
import { listed } from './idleFailures.ts';

export interface RelayState {
  readonly domain: string;
  readonly desired: number;
  readonly available: number;
  /** Since when it has had none; absent when it has one. */
  readonly missingForMs?: number | undefined;
  /** Where it gets fewer than spec.relays asks for; with the keys that it may name, if it names another. */
  readonly bound?: {
    readonly asked: number;
    readonly granted: number;
    readonly topologyKeys?: readonly string[];
  };
}

export interface RelaysInput {
  readonly verdict: Verdict;
  readonly record: EpochRecord | undefined;
  readonly progress: DistributionProgress | undefined;
  readonly relays: readonly RelayState[];
  readonly troubles: Troubles;
}

/** No relay for so long: agents pull themselves, and the user should know. */
export const RELAYS_MISSING_MS = 30_000;

/** Undefined: they are none of its business now. */
export function relaysAvailable(
  input: RelaysInput,
): DistributionCondition<'RelaysAvailable'> | undefined {
  const { verdict, relays, troubles } = input;
  if (verdict.action !== 'serve' && verdict.action !== 'resolve') return undefined;
  const type = 'RelaysAvailable';
  const without = relays.filter((relay) => relay.desired > 0 && relay.available === 0);
  if (without.length === 0) {
    const failed = failedRelaysIn(input);
    if (failed !== undefined) return { type, status: 'False', ...failed };
    const bounds = boundsOf(relays);
    if (bounds !== undefined && relays.some(({ bound }) => bound?.granted === 0)) {
      return { type, status: 'False', reason: bounds.reason, message: bounds.message };
    }
    const all = 'each domain has a relay';
    const message = bounds === undefined ? all : `${all}; ${bounds.message}`;
    return relays.some((relay) => relay.desired > 0)
      ? { type, status: 'True', reason: 'RelaysReady', message }
      : {
          type,
          status: 'True',
          reason: 'RelaysNotNeeded',
          message: 'no node with an agent waits for bytes',
        };
  }
  const names = listed(without.map((relay) => relay.domain));
  const image = without.map(({ domain }) => troubles.relayImage(domain)).find((said) => said);
  if (image !== undefined) {
    const { reason, message } = failure('ImageNotPullable', `relays of ${names}: ${image}`);
    return { type, status: 'False', reason, message };
  }
  if (without.some((relay) => (relay.missingForMs ?? 0) > RELAYS_MISSING_MS)) {
    const { reason, message } = failure('RelaysMissing', `no relay runs in ${names}`);
    return { type, status: 'False', reason, message };
  }
  return { type, status: 'False', reason: 'RelaysStarting', message: `relays start in ${names}` };
}

/** Domains all of whose relays have failed with the epoch that is served. */
function failedRelaysIn({
  relays,
  progress,
  record,
}: RelaysInput): Pick<Failure<'RelaysFailed'>, 'reason' | 'message'> | undefined {
  if (progress === undefined || progress.epoch !== record?.epoch) return undefined;
  const { failedRelays = [] } = progress;
  const failedIn = (domain: string) => failedRelays.filter((failed) => failed.domain === domain);
  const domains = relays
    .filter(({ desired, available }) => desired > 0 && available > 0)
    .filter(({ domain, available }) => failedIn(domain).length >= available)
    .map(({ domain }) => domain);
  if (domains.length === 0) return undefined;
  const { reason, message } = failedIn(domains[0]!)[0]!;
  return failure(
    'RelaysFailed',
    `no relay of ${listed(domains)} can work on it: ${reason}: ${message}`,
  );
}

/** What who runs the cluster does not let it have of what spec.relays asks for. */
function boundsOf(relays: readonly RelayState[]): Failure<'RelaysLimited'> | undefined {
  const bounded = relays.filter(({ bound }) => bound !== undefined);
  const [first] = bounded;
  if (first?.bound === undefined) return undefined;
  const { topologyKeys } = first.bound;
  if (topologyKeys !== undefined) {
    const message = `spec.relays.topologyKey is none of those that relay.topologyKeys of the chart allows (${topologyKeys.join(', ')}), so it gets no relays`;
    return failure('RelaysLimited', message);
  }
  const parts = listed(
    bounded.map(({ domain, bound }) => `${domain} (${bound!.granted} of ${bound!.asked})`),
  );
  return failure(
    'RelaysLimited',
    `fewer relays than spec.relays asks for in ${parts}: relay.maxPerDomain and relay.maxRelays of the chart leave no more`,
  );
}
