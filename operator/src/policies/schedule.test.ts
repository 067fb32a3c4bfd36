import { describe, expect, it } from 'vitest';
import { isTimeZone, type LimitWindow, limitsAt, lowestWithin, nextChangeAt } from './schedule.ts';

const BASE = { maxConnections: 8, maxBandwidthBytesPerSecond: 1000 };
const EVERY_DAY = [0, 1, 2, 3, 4, 5, 6];

function at(text: string): number {
  const [hours, minutes] = text.split(':').map(Number);
  return (hours as number) * 60 + (minutes as number);
}

/** One connection from a time to another. */
function aWindow(
  from: string,
  to: string,
  timeZone: string | undefined = 'Europe/Berlin',
  days: readonly number[] = EVERY_DAY,
): LimitWindow {
  return { days, from: at(from), to: at(to), timeZone, limits: { maxConnections: 1 } };
}

function isInForce(window: LimitWindow, iso: string): boolean {
  return limitsAt(BASE, [window], Date.parse(iso)).maxConnections === 1;
}

function changes(window: LimitWindow, fromIso: string, toIso: string): string[] {
  const found: string[] = [];
  let ms = nextChangeAt(BASE, [window], Date.parse(fromIso));
  while (ms !== undefined && ms <= Date.parse(toIso)) {
    found.push(new Date(ms).toISOString().replace(':00.000Z', 'Z'));
    ms = nextChangeAt(BASE, [window], ms);
  }
  return found;
}

describe('a window', () => {
  // 2026-11-25 is a Wednesday, in Berlin an hour ahead of UTC.
  it.each([
    ['begins at its first minute', aWindow('08:00', '20:00'), '2026-11-25T07:00:00Z', true],
    ['not before', aWindow('08:00', '20:00'), '2026-11-25T06:59:59Z', false],
    [
      'ends with the minute before its end',
      aWindow('08:00', '20:00'),
      '2026-11-25T18:59:59Z',
      true,
    ],
    ['not after', aWindow('08:00', '20:00'), '2026-11-25T19:00:00Z', false],
    ['holds on its days', aWindow('08:00', '20:00', 'UTC', [3]), '2026-11-25T12:00:00Z', true],
    ['and on no other', aWindow('08:00', '20:00', 'UTC', [2, 4]), '2026-11-25T12:00:00Z', false],
    ['may end at midnight', aWindow('20:00', '24:00', 'UTC', [3]), '2026-11-25T23:59:59Z', true],
    ['and is over then', aWindow('20:00', '24:00', 'UTC', [3]), '2026-11-26T00:00:00Z', false],
    [
      'over midnight: the evening',
      aWindow('22:00', '06:00', 'UTC', [3]),
      '2026-11-25T22:30:00Z',
      true,
    ],
    ['the morning after', aWindow('22:00', '06:00', 'UTC', [3]), '2026-11-26T05:59:00Z', true],
    [
      'not the morning before',
      aWindow('22:00', '06:00', 'UTC', [3]),
      '2026-11-25T05:59:00Z',
      false,
    ],
    ['over the end of a week', aWindow('22:00', '06:00', 'UTC', [6]), '2026-11-29T01:00:00Z', true],
    ['of a whole day', aWindow('06:00', '06:00', 'UTC', [3]), '2026-11-26T05:59:00Z', true],
    ['not of two', aWindow('06:00', '06:00', 'UTC', [3]), '2026-11-26T06:00:00Z', false],
    ['elsewhere', aWindow('08:00', '09:00', 'Asia/Kathmandu'), '2026-11-25T02:20:00Z', true],
  ])('%s', (_name, window, iso, expected) => {
    expect(isInForce(window, iso)).toBe(expected);
  });
});

describe('when limits change', () => {
  it.each([
    ['a winter day', aWindow('08:00', '20:00'), '2026-11-25', ['25T07:00Z', '25T19:00Z']],
    ['a summer day', aWindow('08:00', '20:00'), '2026-07-25', ['25T06:00Z', '25T18:00Z']],
    // Berlin, 2026-03-29 01:00Z: the clock goes from 02:00 to 03:00.
    ['spring, around the gap', aWindow('01:30', '04:00'), '2026-03-29', ['29T00:30Z', '29T02:00Z']],
    [
      'spring, begins in the gap',
      aWindow('02:30', '04:00'),
      '2026-03-29',
      ['29T01:00Z', '29T02:00Z'],
    ],
    [
      'spring, ends in the gap',
      aWindow('01:30', '02:30'),
      '2026-03-29',
      ['29T00:30Z', '29T01:00Z'],
    ],
    ['spring, within the gap', aWindow('02:15', '02:45'), '2026-03-29', []],
    ['spring, over midnight', aWindow('22:00', '06:00'), '2026-03-29', ['29T04:00Z', '29T20:00Z']],
    // Berlin, 2026-10-25 01:00Z: the clock goes from 03:00 back to 02:00.
    [
      'autumn, around the hour',
      aWindow('01:30', '04:00'),
      '2026-10-25',
      ['24T23:30Z', '25T03:00Z'],
    ],
    [
      'autumn, within the hour: twice',
      aWindow('02:15', '02:45'),
      '2026-10-25',
      ['25T00:15Z', '25T00:45Z', '25T01:15Z', '25T01:45Z'],
    ],
    ['autumn, over midnight', aWindow('22:00', '06:00'), '2026-10-25', ['25T05:00Z', '25T21:00Z']],
    // Lord Howe, 2026-04-04 15:00Z: half an hour back, from 02:00 to 01:30.
    [
      'half an hour',
      aWindow('01:30', '02:00', 'Australia/Lord_Howe'),
      '2026-04-04',
      ['04T14:30Z', '04T15:30Z'],
    ],
  ])('%s', (_name, window, day, expected) => {
    const startMs = Date.parse(`${day}T00:00:00Z`) - 3_600_000;
    const found = changes(window, new Date(startMs).toISOString(), `${day}T23:00:00Z`);
    expect(found.map((each) => each.slice(8))).toEqual(expected);
  });

  it('is never without a schedule', () => {
    expect(nextChangeAt(BASE, [], 0)).toBeUndefined();
  });

  it('is never when a window holds always, or changes nothing', () => {
    expect(nextChangeAt(BASE, [aWindow('00:00', '24:00')], 0)).toBeUndefined();
    const same = { ...aWindow('08:00', '20:00'), limits: { maxConnections: 8 } };
    expect(nextChangeAt(BASE, [same], 0)).toBeUndefined();
  });

  it('is what a look at every minute of a year finds, too', () => {
    const windows = [aWindow('02:30', '03:30'), aWindow('23:15', '00:45', 'America/New_York', [1])];
    const startMs = Date.parse('2026-01-01T00:00:00Z');
    const found: number[] = [];
    let before = limitsAt(BASE, windows, startMs).maxConnections;
    // Around the changes of both time zones.
    for (const day of [66, 67, 68, 87, 88, 89, 297, 298, 299, 304, 305, 306]) {
      const dayMs = startMs + day * 86_400_000;
      before = limitsAt(BASE, windows, dayMs).maxConnections;
      for (let ms = dayMs + 60_000; ms <= dayMs + 86_400_000; ms += 60_000) {
        const now = limitsAt(BASE, windows, ms).maxConnections;
        if (now !== before) {
          found.push(ms);
          expect(nextChangeAt(BASE, windows, ms - 1)).toBe(ms);
        }
        before = now;
      }
    }
    expect(found.length).toBeGreaterThan(20);
  });
});

describe('limits that hold', () => {
  it('are those of the window, higher ones too', () => {
    const night = { ...aWindow('22:00', '06:00', 'UTC'), limits: { maxConnections: 64 } };
    expect(limitsAt(BASE, [night], at('23:00') * 60_000)).toEqual({ ...BASE, maxConnections: 64 });
  });

  it('are the lowest of each where windows overlap', () => {
    const one = { ...aWindow('00:00', '24:00', 'UTC'), limits: { maxConnections: 64 } };
    const other = { ...one, limits: { maxBandwidthBytesPerSecond: 10 } };
    expect(limitsAt(BASE, [one, other], 0)).toEqual({
      maxConnections: 8,
      maxBandwidthBytesPerSecond: 10,
    });
  });

  it('are never raised by a window whose time zone nobody knows, and always lowered by it', () => {
    const high = {
      ...aWindow('00:00', '01:00'),
      timeZone: undefined,
      limits: { maxConnections: 64 },
    };
    const low = { ...high, limits: { maxConnections: 2 } };
    expect(limitsAt(BASE, [high], 0)).toEqual(BASE);
    expect(limitsAt(BASE, [low], 0).maxConnections).toBe(2);
  });

  it('are the lowest ones across a boundary', () => {
    const day = { ...aWindow('08:00', '20:00', 'UTC'), limits: { maxConnections: 1 } };
    const seven = Date.parse('2026-11-25T07:00:00Z');
    const lowest = (toMs: number) => lowestWithin(BASE, [day], seven, toMs).maxConnections;
    expect(lowest(seven + 3_599_999)).toBe(8);
    expect(lowest(seven + 3_600_000)).toBe(1);
    expect(lowest(seven + 20 * 3_600_000)).toBe(1);
  });
});

describe('a time zone', () => {
  it.each([
    ['Europe/Berlin', true],
    ['UTC', true],
    ['Europe/Berln', false],
    ['', false],
  ])('%s: %s', (name, expected) => {
    expect(isTimeZone(name)).toBe(expected);
  });
});
