import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LeasePacer, type PacedGrant, type Reservation } from './leasePacer.ts';

const grant: PacedGrant = {
  rateBytesPerSecond: 1_000_000,
  slackBytes: 80_000,
  connections: 4,
  maxBytes: 1e12,
  ttlMs: 1e9,
};

type Event =
  | { kind: 'pass'; ms: number }
  | { kind: 'request' }
  | { kind: 'burst'; which: number; share: number }
  | { kind: 'finish'; which: number }
  | { kind: 'break'; which: number }
  | { kind: 'raise'; factor: number }
  | { kind: 'lose'; which: number };

const event: fc.Arbitrary<Event> = fc.oneof(
  fc.record({ kind: fc.constant('pass' as const), ms: fc.nat(300) }),
  fc.record({ kind: fc.constant('request' as const) }),
  fc.record({
    kind: fc.constant('burst' as const),
    which: fc.nat(10),
    share: fc.double({ min: 0, max: 1, noNaN: true }),
  }),
  fc.record({ kind: fc.constant('finish' as const), which: fc.nat(10) }),
  fc.record({ kind: fc.constant('break' as const), which: fc.nat(10) }),
  fc.record({
    kind: fc.constant('raise' as const),
    factor: fc.double({ min: 1, max: 1.1, noNaN: true }),
  }),
  fc.record({ kind: fc.constant('lose' as const), which: fc.nat(10) }),
);

function raisedBy(before: PacedGrant, factor: number): PacedGrant {
  return {
    ...before,
    rateBytesPerSecond: Math.floor(before.rateBytesPerSecond * factor),
    slackBytes: Math.floor(before.slackBytes * factor),
  };
}

describe('the pacing of a lease', () => {
  it('starts empty and waits for a first quantum', () => {
    const pacer = new LeasePacer(grant, 0, 0);
    expect(pacer.permit(1e9, 0).kind).toBe('wait');
    expect(pacer.permit(1e9, 100).kind).toBe('request');
  });

  it('holds tokens + outstanding <= slack and every window <= rate x window + slack, however the origin stalls and bursts and the grant is raised', () => {
    fc.assert(
      fc.property(fc.array(event, { minLength: 20, maxLength: 300 }), (events) => {
        const pacer = new LeasePacer(grant, 0, 0);
        const open: Reservation[] = [];
        let current = grant;
        // What the rates in force have given by then, and the slack in force.
        const emitted: { bytes: number; givenBytes: number; slackBytes: number }[] = [];
        /** Of connections that ended without a word: it may come at any time. */
        const lost: number[] = [];
        let nowMs = 0;
        let givenBytes = 0;
        const emit = (reservation: Reservation, bytes: number) => {
          emitted.push({ bytes, givenBytes, slackBytes: current.slackBytes });
          pacer.received(reservation, bytes, nowMs);
        };
        for (const step of events) {
          if (step.kind === 'pass') {
            nowMs += step.ms;
            givenBytes += (step.ms / 1000) * current.rateBytesPerSecond;
            for (const bytes of lost.splice(0)) {
              emitted.push({ bytes, givenBytes, slackBytes: current.slackBytes });
            }
          }
          if (step.kind === 'raise') {
            current = raisedBy(current, step.factor);
            pacer.adopt(current, 0, nowMs);
          }
          if (step.kind === 'request') {
            const permission = pacer.permit(1e9, nowMs);
            if (permission.kind === 'request') open.push(pacer.start(permission.payloadBytes));
          }
          const index = 'which' in step && open.length > 0 ? step.which % open.length : undefined;
          const reservation = index === undefined ? undefined : open[index];
          if (reservation !== undefined && index !== undefined) {
            const left = reservation.reservedBytes - reservation.receivedBytes;
            if (step.kind === 'burst') emit(reservation, Math.floor(left * step.share));
            if (step.kind === 'finish') {
              emit(reservation, left);
              pacer.complete(reservation, 10, nowMs);
              open.splice(index, 1);
            }
            if (step.kind === 'break') {
              pacer.failed(reservation, false, 0, nowMs);
              open.splice(index, 1);
            }
            if (step.kind === 'lose') {
              const unseen = pacer.failed(reservation, false, 0, nowMs);
              pacer.lose(1, unseen, nowMs);
              lost.push(unseen);
              open.splice(index, 1);
            }
          }
          expect(pacer.tokens + pacer.outstandingBytes).toBeLessThanOrEqual(
            current.slackBytes + 1e-6,
          );
        }
        for (const [start, first] of emitted.entries()) {
          let sum = 0;
          for (const later of emitted.slice(start)) {
            sum += later.bytes;
            const bound = later.givenBytes - first.givenBytes + first.slackBytes;
            expect(sum).toBeLessThanOrEqual(bound + 1);
          }
        }
        const total = emitted.reduce((sum, { bytes }) => sum + bytes, 0);
        expect(pacer.usedBytes).toBeGreaterThanOrEqual(total);
      }),
      { numRuns: 300 },
    );
  });

  it('keeps what is saved up when the grant is renewed or raised, and comes down after a shrink', () => {
    const pacer = new LeasePacer(grant, 0, 0);
    pacer.permit(1, 60);
    expect(pacer.tokens).toBeGreaterThan(50_000);
    pacer.adopt(grant, 60, 60);
    expect(pacer.tokens).toBeGreaterThan(50_000);
    const saved = pacer.tokens;
    pacer.adopt({ ...grant, rateBytesPerSecond: 2_000_000, slackBytes: 160_000 }, 60, 60);
    expect(pacer.tokens).toBe(saved);
    pacer.permit(1e9, 100);
    const reservation = pacer.start(70_000);
    pacer.adopt({ ...grant, slackBytes: 20_000 }, 100, 100);
    expect(pacer.fits).toBe(false);
    expect(pacer.permit(1, 5000).kind).toBe('wait');
    pacer.received(reservation, 60_000, 5000);
    expect(pacer.fits).toBe(true);
  });

  it('starts nothing that would end after the lease, nor more than its bytes', () => {
    const short = new LeasePacer({ ...grant, ttlMs: 1000 }, 0, 0);
    expect(short.permit(1e9, 500).kind).toBe('request');
    expect(short.permit(1e9, 950)).toEqual({ kind: 'stop', reason: 'expiry' });
    const small = new LeasePacer({ ...grant, maxBytes: 10_000 }, 0, 0);
    const permission = small.permit(1e9, 1000);
    expect(permission).toEqual({ kind: 'request', payloadBytes: 10_000 - 1024 });
    small.start(10_000 - 1024);
    expect(small.permit(1e9, 2000)).toEqual({ kind: 'stop', reason: 'maxBytes' });
  });

  it('has no place and no slack any more for what ended without the word of the origin', () => {
    const pacer = new LeasePacer(grant, 0, 0);
    pacer.permit(1e9, 1000);
    const reservation = pacer.start(30_000);
    pacer.received(reservation, 1_000, 1000);
    const unseen = pacer.failed(reservation, false, 0, 1000);
    expect(unseen).toBe(reservation.reservedBytes - 1_000);
    pacer.lose(1, unseen, 1000);
    expect(pacer.connections).toBe(3);
    expect(pacer.lost).toEqual({ connections: 1, bytes: unseen });
    pacer.permit(1, 1e6);
    expect(pacer.tokens).toBe(grant.slackBytes - unseen);
    expect(pacer.usedBytes).toBe(reservation.reservedBytes);
    pacer.lose(3, grant.slackBytes, 1e6);
    expect(pacer.connections).toBe(0);
    expect(pacer.permit(1, 1e6)).toEqual({ kind: 'stop', reason: 'lost' });
  });

  it('pays for headers and error pages that are longer than was reserved', () => {
    const pacer = new LeasePacer(grant, 0, 0);
    pacer.permit(1e9, 1000);
    const reservation = pacer.start(1000);
    const before = pacer.tokens;
    pacer.received(reservation, 5000, 1000);
    expect(pacer.tokens).toBeCloseTo(before - (5000 - reservation.reservedBytes), 3);
    expect(pacer.usedBytes).toBe(5000);
  });
});
