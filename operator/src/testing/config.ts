/** Where the set-up of the test cluster keeps the binaries that tests use. */
import { homedir } from 'node:os';
import path from 'node:path';

export function toolCache(): string {
  return process.env.SLUICE_CACHE || path.join(homedir(), '.cache/sluice');
}
