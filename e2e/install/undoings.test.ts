import { describe, expect, it } from 'vitest';
import { Undoings } from './undoings.ts';

function undoingsOf(names: readonly string[]) {
  const undoings = new Undoings();
  const undone: string[] = [];
  const now = names.map((name) => undoings.add(async () => undone.push(name)));
  return { undoings, undone, now };
}

describe('what is to be undone', () => {
  it('is undone once, the last one first', async () => {
    const { undoings, undone } = undoingsOf(['a', 'b', 'c']);
    await undoings.all();
    await undoings.all();
    expect(undone).toEqual(['c', 'b', 'a']);
  });

  it('before the end is not undone again', async () => {
    const { undoings, undone, now } = undoingsOf(['a', 'b', 'c']);
    await now[1]!();
    await undoings.all();
    expect(undone).toEqual(['b', 'c', 'a']);
  });

  it('is undone though others fail, and all that failed is told', async () => {
    const { undoings, undone } = undoingsOf(['a']);
    undoings.add(async () => Promise.reject(new Error('one')));
    undoings.add(async () => undone.push('b'));
    undoings.add(() => {
      throw new Error('two');
    });
    const failed = await undoings.all().catch((error: unknown) => error);
    expect(failed).toBeInstanceOf(AggregateError);
    expect(String((failed as AggregateError).errors)).toBe('Error: two,Error: one');
    expect(undone).toEqual(['b', 'a']);
  });

  it('and fails before the end is tried again at the end', async () => {
    const undoings = new Undoings();
    let calls = 0;
    const now = undoings.add(async () => {
      calls += 1;
      if (calls === 1) throw new Error('not yet');
    });
    await expect(now()).rejects.toThrow('not yet');
    await undoings.all();
    expect(calls).toBe(2);
  });
});
