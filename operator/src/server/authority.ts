/**
 * The control API's own CA: what is in the Secret now, and what should be. Issuing is in
 * certificates.ts, keeping it in keyring.ts.
 *
 * A new CA is published a day before it signs and stays published a day after it was replaced, so
 * that a client that reads the ConfigMap now and then trusts every certificate it meets.
 */
export interface Authority {
  /** PEM, PKCS #8. */
  readonly key: string;
  readonly certificate: string;
  /** Milliseconds since the Unix epoch. */
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

export interface Authorities {
  /** Signs. */
  readonly current: Authority;
  /** Will sign. */
  readonly next: Authority | undefined;
  /** Has signed what may still be in use. */
  readonly previous: string | undefined;
}

export const CA_DAYS = 365;
export const CERTIFICATE_DAYS = 90;
const DAY_MS = 24 * 3600 * 1000;
const OVERLAP_MS = DAY_MS;

/** What to do with the authorities now; undefined: nothing. */
export type Rotation = 'create' | 'prepare' | 'promote' | 'forget' | undefined;

export function rotationDue(authorities: Authorities | undefined, nowMs: number): Rotation {
  if (authorities === undefined || authorities.current.notAfterMs <= nowMs) return 'create';
  const { current, next, previous } = authorities;
  if (next !== undefined) return nowMs - next.notBeforeMs >= OVERLAP_MS ? 'promote' : undefined;
  const lifeMs = current.notAfterMs - current.notBeforeMs;
  if (nowMs - current.notBeforeMs > (lifeMs * 2) / 3) return 'prepare';
  const promotedMs = current.notBeforeMs + OVERLAP_MS;
  if (previous !== undefined && nowMs - promotedMs >= OVERLAP_MS) return 'forget';
  return undefined;
}

export function rotate(
  authorities: Authorities | undefined,
  rotation: Exclude<Rotation, undefined>,
  make: () => Authority,
): Authorities {
  if (rotation === 'create' || authorities === undefined) {
    return { current: make(), next: undefined, previous: authorities?.current.certificate };
  }
  switch (rotation) {
    case 'prepare':
      return { ...authorities, next: make() };
    case 'promote': {
      const { current, next = make() } = authorities;
      return { current: next, next: undefined, previous: current.certificate };
    }
    case 'forget':
      return { ...authorities, previous: undefined };
  }
}

/** The ConfigMap's `ca.crt`: whom clients trust. */
export function bundleOf({ current, next, previous }: Authorities): string {
  const all = [current.certificate, next?.certificate, previous];
  return all
    .filter((certificate) => certificate !== undefined)
    .map((certificate) => certificate.trimEnd())
    .join('\n')
    .concat('\n');
}
