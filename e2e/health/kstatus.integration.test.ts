import path from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { buildKstatus } from '../cluster/build.ts';
import { run } from '../cluster/run.ts';
import { JUDGED } from './statuses.ts';

/** Once, from nothing, on a machine that does other things too. */
const BUILD_TIMEOUT_MS = 900_000;

interface Verdict {
  readonly status: string;
  readonly message: string;
}

describe('the kstatus library', () => {
  let verdicts: readonly Verdict[];

  beforeAll(async () => {
    const program = path.join(await buildKstatus(), 'kstatus');
    const input = JSON.stringify(JUDGED.map(({ object }) => object));
    verdicts = JSON.parse(await run(program, [], { input, timeoutMs: 60_000 })) as Verdict[];
  }, BUILD_TIMEOUT_MS);

  it.each(JUDGED.map(({ turn, kstatus }, at) => ({ turn, kstatus, at })))(
    'takes $turn for $kstatus',
    ({ kstatus, at }) => {
      expect(verdicts[at]).toMatchObject({ status: kstatus });
    },
  );

  it('says the reason of what has failed', () => {
    const at = JUDGED.findIndex(({ turn }) => turn.endsWith('whose file is gone'));
    expect(verdicts[at]?.message).toMatch(/404; put the file there/);
  });
});
