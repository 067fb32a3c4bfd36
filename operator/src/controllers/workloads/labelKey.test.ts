import { describe, expect, it } from 'vitest';
import { labelKey } from './labelKey.ts';

const VALID = /^[a-z0-9.-]{1,253}\/[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$/;

describe('the key of a label', () => {
  it('is named after the distribution', () => {
    expect(labelKey({ namespace: 'ml', name: 'llama.v2' })).toBe('ml.dist.sluice.dev/llama.v2');
    const longest = 'x'.repeat(63);
    expect(labelKey({ namespace: 'ml', name: longest })).toBe(`ml.dist.sluice.dev/${longest}`);
  });

  it('is cut where the name is too long for a label, and stays its own', () => {
    const names = ['a', 'b'].map((end) => `${'x.'.repeat(100)}${end}`);
    const namespace = 'n'.repeat(63);
    const keys = names.map((name) => labelKey({ namespace, name }));
    expect(new Set(keys).size).toBe(2);
    for (const key of keys) expect(key).toMatch(VALID);
  });
});
