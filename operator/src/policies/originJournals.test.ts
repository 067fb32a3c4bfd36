import { describe, expect, it } from 'vitest';
import type { OriginStatus } from '../api/v1alpha1/origin.ts';
import type { JournalMark } from '../quota/marks.ts';
import { schema } from '../store/schema.ts';
import { behindMessage, journalStatus, journalTrouble, marksOf } from './originJournals.ts';

function mark(change: Partial<JournalMark> = {}): JournalMark {
  return {
    host: 'cdn.example.com:443',
    identity: 'a',
    written: 7,
    sequence: 8_200,
    trafficBytes: 1_000,
    periodStartMs: Date.UTC(2026, 10, 1),
    ...change,
  };
}

const statusWith = (...marks: JournalMark[]): OriginStatus => ({
  observedGeneration: 1,
  ...journalStatus({ marks, behind: [] }, undefined),
});

describe('the marks of journals in a status', () => {
  it('are read as they were written, with a period and without', () => {
    const marks = [mark(), mark({ host: 'cdn.example.com:80', periodStartMs: 0 })];
    const read = marksOf([statusWith(...marks), undefined]);
    expect([...read.values()]).toEqual(marks);
    const [first] = statusWith(mark()).journals ?? [];
    expect(first?.periodStart).toBe('2026-11-01T00:00:00.000Z');
    expect(first?.schema).toBe(schema.written);
  });

  it('are read as they were before they had a version, and not when a newer release wrote them', () => {
    const { journals = [], ...status } = statusWith(mark());
    const old = journals.map(({ schema: _, ...journal }) => journal);
    expect([...marksOf([{ ...status, journals: old }]).values()]).toEqual([mark()]);
    const newer = journals.map((journal) => ({ ...journal, schema: schema.newest + 1 }));
    expect(() => marksOf([{ ...status, journals: newer }])).toThrow(
      expect.objectContaining({ code: 'NewerSchema' }),
    );
  });

  it('are in the order of hosts, so that the same ones are the same status', () => {
    const [a, b] = [mark({ host: 'a:80' }), mark({ host: 'b:80' })];
    expect(statusWith(b, a)).toEqual(statusWith(a, b));
  });

  it('stay while nothing is known of the journals', () => {
    const previous = statusWith(mark());
    expect(journalStatus(undefined, previous)).toEqual({ journals: previous.journals });
    expect(journalStatus({ marks: undefined, behind: [] }, previous)).toEqual({
      journals: previous.journals,
    });
    expect(journalStatus({ marks: [], behind: [] }, previous)).toEqual({});
  });

  it('count from whichever Origin is further, where a host has moved', () => {
    const later = mark({ sequence: 20_000 });
    expect(marksOf([statusWith(later), statusWith(mark())])).toEqual(
      new Map([[later.host, later]]),
    );
  });
});

describe('a journal that is behind', () => {
  it('is told with its host, and until when nothing is granted', () => {
    expect(behindMessage({ marks: [mark()], behind: [] })).toBeUndefined();
    const untilMs = Date.UTC(2026, 10, 26, 2, 0, 10);
    const message = behindMessage({
      marks: [],
      behind: [{ host: 'cdn.example.com:443', untilMs }],
    });
    expect(message).toContain('cdn.example.com:443');
    expect(message).toContain('2026-11-26T02:00:10.000Z');
  });
});

describe('a journal that cannot be read', () => {
  it('is told with what is wrong, and with what to do', () => {
    expect(journalTrouble(undefined)).toBeUndefined();
    expect(journalTrouble({ marks: [], behind: [] })).toBeUndefined();
    const message = 'document 7 has schema version 2, and this release reads up to 1';
    const newer = { reason: 'NewerSchema', message } as const;
    expect(journalTrouble({ marks: [], behind: [], trouble: newer })).toEqual({
      reason: 'NewerSchema',
      message: `nothing is granted under this Origin: ${message}`,
    });
    const broken = { reason: 'JournalBroken', message: 'document 7 is missing' } as const;
    expect(journalTrouble({ marks: [], behind: [], trouble: broken })?.message).toContain(
      'document 7 is missing; restore the newest backup of the database',
    );
  });
});
