import { describe, expect, it } from 'vitest';
import { PeerRate } from './peerRate.ts';

describe('how much a peer owes us', () => {
  it('is 128 KiB and a part of its rate, up to 2 MiB', () => {
    const rate = new PeerRate();
    expect(rate.windowBytes).toBe(131_072);
    rate.received(200_000);
    rate.tick(100, true);
    expect(rate.windowBytes).toBe(381_072);
    rate.received(50_000_000);
    rate.tick(100, true);
    expect(rate.windowBytes).toBe(2_097_152);
  });

  it('makes the rates of those equal who share an uplink, whoever was ahead', () => {
    const uplinkBytesPerSecond = 25_000_000;
    const takers = [80, 10, 5, 5].map((percent) => {
      const rate = new PeerRate();
      rate.received((uplinkBytesPerSecond / 10) * (percent / 100));
      rate.tick(100, true);
      return rate;
    });
    let shares: number[] = [];
    for (let tick = 0; tick < 200; tick += 1) {
      const queuedBytes = takers.reduce((sum, { windowBytes }) => sum + windowBytes, 0);
      shares = takers.map(({ windowBytes }) => windowBytes / queuedBytes);
      takers.forEach((rate, at) => {
        rate.received((uplinkBytesPerSecond / 10) * (shares[at] as number));
        rate.tick(100, true);
      });
    }
    for (const share of shares) expect(share).toBeCloseTo(0.25, 2);
  });

  it('is late after three times what its rate says, and never before two seconds', () => {
    const rate = new PeerRate();
    expect(rate.deadlineMs(1_000_000, 0)).toBe(2000);
    rate.received(10_000);
    rate.tick(100, true);
    expect(rate.deadlineMs(262_144, 0)).toBeCloseTo(7864.32);
    expect(rate.deadlineMs(2_621_440, 0)).toBe(20_000);
  });

  it('is not late while all that peers owe takes longer than that', () => {
    const rate = new PeerRate();
    expect(rate.deadlineMs(131_072, 500)).toBe(2000);
    expect(rate.deadlineMs(131_072, 9000)).toBe(27_000);
    expect(rate.deadlineMs(131_072, 90_000)).toBe(60_000);
  });
});
