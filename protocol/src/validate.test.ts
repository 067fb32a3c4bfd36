import { describe, expect, it } from 'vitest';
import {
  InvalidMessageError,
  parseLeaseRequest,
  parseReport,
  parseWorkMessage,
} from './validate.ts';

function messageOf(parse: (value: unknown) => unknown, value: unknown): string {
  try {
    parse(value);
  } catch (error) {
    expect(error).toBeInstanceOf(InvalidMessageError);
    return (error as Error).message;
  }
  return 'no error';
}

describe('the check of messages', () => {
  it('takes what the schema says', () => {
    const message = { type: 'askLease', uid: 'a-1', epoch: 1 };
    expect(parseWorkMessage(message)).toBe(message);
  });

  it.each([
    [{ type: 'askLease', uid: 'a', epoch: 0 }, 'work message askLease: /epoch must be >= 1'],
    [{ type: 'nonsense' }, 'work message: type is none of task, remove, peers, askLease'],
    ['text', 'work message: type is none of'],
    [null, 'work message: type is none of'],
    [{ type: 'remove', uid: '../..', deleteFiles: true }, 'work message remove: /uid must match'],
  ])('says of %j what is wrong with the member that was meant', (value, expected) => {
    expect(messageOf(parseWorkMessage, value)).toContain(expected);
  });

  it('names an unknown property and never repeats a value', () => {
    const report = { incarnation: '12345678', sequence: 1, transfers: [] };
    expect(messageOf(parseReport, { ...report, extra: 1 })).toContain('(extra)');
    const secret = { op: 'acquire', incarnation: '12345678', sequence: 'hunter2hunter2' };
    expect(messageOf(parseLeaseRequest, secret)).not.toContain('hunter2');
  });

  it('keeps its text short however long the message is', () => {
    const long = { incarnation: '12345678', sequence: 1, transfers: [], ['x'.repeat(100_000)]: 1 };
    expect(messageOf(parseReport, long).length).toBeLessThan(320);
  });
});
