/** What a request for a lease asks for, and whether its holder may have such a thing. PURE. */
import type { LeaseRequest } from '@sluice/protocol/leaseMessages.ts';
import type { LeaseHolder } from './leases.ts';
import type { Pull, TopUpAsk } from './pulls.ts';

type Acquire = Extract<LeaseRequest, { op: 'acquire' }>;

/** Nothing besides what it has. */
export const NO_MORE: TopUpAsk = { acceptable: new Uint8Array(), wantBytes: 0 };

/** Of a node that is short; undefined: it pulls extents. */
export function askOf({ topUp }: Pick<Acquire, 'topUp'>): TopUpAsk | undefined {
  if (topUp === undefined) return undefined;
  return { acceptable: Buffer.from(topUp.acceptable, 'base64'), wantBytes: topUp.wantBytes };
}

/**
 * A relay pulls, or an agent in its place; a node tops up where its distribution lets it, in pieces
 * and not in streams.
 */
export function mayHave(
  { kind, standsIn = false }: LeaseHolder,
  { topUp, pullerKey = '' }: Acquire,
  { distribution }: Pull,
): boolean {
  if (topUp === undefined) {
    const isRevoked = distribution.revokedPullers.includes(pullerKey);
    return (kind === 'relay' || standsIn) && pullerKey !== '' && !isRevoked;
  }
  return distribution.topUpBytes !== undefined && distribution.ranges;
}
