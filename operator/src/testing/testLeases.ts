import { generateFeedKeyPair } from '@sluice/engine/feed/keys.ts';
import type { LeaseAnswer, LeaseGrant, LeaseRequest } from '@sluice/protocol/leaseMessages.ts';
import type { LeaseService } from '../quota/leaseService.ts';
import type { LeaseHolder } from '../quota/leases.ts';
import { apply, emptyLedger, type Usage, usageOf } from '../quota/ledger.ts';
import { FakeClock, settle } from './fakeClock.ts';
import { aLeasedDistribution, aLeaseService, anOriginPolicy } from './leasing.ts';
import { MemoryJournal } from './memoryJournal.ts';

export const MIB = 1024 * 1024;
export const LIMITS = {
  maxConnections: 4,
  maxBandwidthBytesPerSecond: 8 * MIB,
  maxTraffic: { bytes: 40 * MIB, periodSeconds: 3600 },
};
/** Of the journal of the origin under these limits. */
export const KEY = 'cdn.example.com:80';
export const PULLER = generateFeedKeyPair().publicKey.toString('base64');

/** A lease service for one origin, on a clock of its own, and relays that ask it for leases. */
export class TestLeases {
  readonly clock = new FakeClock();
  readonly journal = new MemoryJournal();
  service: LeaseService;
  /** Of the newest service: how it was told that another replica leads. */
  lost: Error[] = [];
  /** Of the newest service: which holders it called. */
  asks: string[] = [];
  /** Whether a relay runs that no service has heard of. */
  relayIsAway = false;
  #sequence = 0;

  constructor() {
    this.service = this.newService();
  }

  /** With one distribution. */
  static async leading(): Promise<TestLeases> {
    const leases = new TestLeases();
    leases.service.setDistribution(aLeasedDistribution());
    await leases.lead(1);
    return leases;
  }

  newService(limits: typeof LIMITS | Record<string, never> = LIMITS): LeaseService {
    const errors: Error[] = [];
    const asks: string[] = [];
    this.lost = errors;
    this.asks = asks;
    const made = aLeaseService({
      store: this.journal,
      clock: this.clock,
      onLost: (error) => errors.push(error),
      isRelayAway: () => this.relayIsAway,
    });
    made.onAsk((holder) => asks.push(holder));
    made.setOrigins([anOriginPolicy(limits)]);
    return made;
  }

  async lead(term: number): Promise<void> {
    this.service.lead(term);
    await settle();
    await this.clock.advance(1);
  }

  nextSequence(): number {
    this.#sequence += 1;
    return this.#sequence;
  }

  async ask(holder: string, request: Partial<LeaseRequest>): Promise<LeaseAnswer> {
    const base = { incarnation: holder.padEnd(8, '-'), sequence: this.nextSequence() };
    const common = { wantRateBytesPerSecond: 1e9, wantConnections: 8, pullerKey: PULLER };
    const acquire = { uid: 'a', epoch: 1, ...common };
    const full = { ...base, ...(request.op === 'acquire' ? acquire : common), ...request };
    const answer = this.service.answer(relay(holder), full as LeaseRequest);
    await settle();
    return answer;
  }

  async acquire(holder: string, change: Record<string, unknown> = {}): Promise<LeaseGrant> {
    const answer = await this.ask(holder, { op: 'acquire', timeToFirstByteMs: 10, ...change });
    if (answer.outcome !== 'granted') throw new Error(JSON.stringify(answer));
    return answer.grant;
  }

  /** What the journal, read by anybody at any time, says is granted. */
  durableUsage(): Usage {
    return usageOf(
      this.journal
        .of(KEY)
        .flatMap(({ entries }) => entries)
        .reduce(apply, emptyLedger),
    );
  }
}

export function relay(id: string): LeaseHolder {
  return { id, kind: 'relay' };
}

export function renewal(grant: LeaseGrant, usedBytes: number, unfinished = grant.extents) {
  const { leaseId, version } = grant;
  return { op: 'renew' as const, leaseId, version, usedBytes, unfinished, timeToFirstByteMs: 10 };
}

export function ended(
  grant: LeaseGrant,
  usedBytes: number,
  unfinished: LeaseGrant['extents'] = [],
) {
  const { leaseId, version } = grant;
  return { op: 'settle' as const, leaseId, version, usedBytes, unfinished };
}
