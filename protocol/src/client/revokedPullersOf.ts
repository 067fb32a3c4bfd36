import type { Task } from '../messages.ts';

/** The raw keys of pullers whose signatures do not count. */
export function revokedPullersOf({ revokedPullers = [] }: Task): Buffer[] {
  return revokedPullers.map((key) => Buffer.from(key, 'base64'));
}
