import { describe, expect, it } from 'vitest';
import { type Authorities, type Authority, bundleOf, rotate, rotationDue } from './authority.ts';

const DAY_MS = 24 * 3600 * 1000;

function authority(name: string, notBeforeMs: number): Authority {
  return { key: '', certificate: name, notBeforeMs, notAfterMs: notBeforeMs + 365 * DAY_MS };
}

describe('the CA of the control API', () => {
  it('is made when there is none, and when it is too old to be used', () => {
    expect(rotationDue(undefined, 0)).toBe('create');
    const old = { current: authority('a', 0), next: undefined, previous: undefined };
    expect(rotationDue(old, 365 * DAY_MS)).toBe('create');
  });

  it('is replaced so that clients always trust who signs and who has signed', () => {
    let now = 0;
    let made = 0;
    let authorities: Authorities | undefined;
    const published: string[] = [];
    const signed: string[] = [];
    for (; now < 800 * DAY_MS; now += DAY_MS / 4) {
      const due = rotationDue(authorities, now);
      if (due !== undefined) {
        made += 1;
        authorities = rotate(authorities, due, () => authority(`ca-${made}`, now));
      }
      if (authorities === undefined) throw new Error('no authority');
      const before = published.at(-1);
      published.push(bundleOf(authorities));
      signed.push(authorities.current.certificate);
      // Whoever has read the ConfigMap a quarter of a day ago trusts who signs now.
      if (before !== undefined) expect(before).toContain(authorities.current.certificate);
      const signer = signed.at(-2);
      if (signer !== undefined) expect(published.at(-1)).toContain(signer);
    }
    expect(new Set(signed).size).toBeGreaterThanOrEqual(3);
    expect(published.at(-1)?.trim().split('\n').length).toBeLessThanOrEqual(3);
  });
});
