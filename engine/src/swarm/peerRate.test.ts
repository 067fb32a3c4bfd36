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
    expect(rate.deadlines(1_000_000)).toEqual({ helpMs: 2000, lateMs: 2000 });
    rate.received(10_000);
    rate.tick(100, true);
    expect(rate.deadlines(262_144).lateMs).toBeCloseTo(7864.32);
    expect(rate.deadlines(2_621_440)).toEqual({ helpMs: 20_000, lateMs: 20_000 });
  });

  it('is not asked of another while all that peers owe takes longer; help may bring it', () => {
    const rate = new PeerRate();
    const lateMs = (allMs: number) => rate.deadlines(131_072, allMs).lateMs;
    expect([lateMs(500), lateMs(9000), lateMs(90_000)]).toEqual([2000, 27_000, 60_000]);
    expect(rate.deadlines(131_072, 9000).helpMs).toBe(2000);
  });
});
