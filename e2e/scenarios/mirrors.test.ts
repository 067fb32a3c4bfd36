import { describe, expect } from 'vitest';
import { conditionOf } from '../install/sluice.ts';
import type { OriginFile } from '../origin/origin.ts';
import { MIB, type Scenario, scenario, untilEverywhere } from './scenario.ts';

const SIZE = 24 * MIB;

/** Applies it with a mirror of the same bytes, and lets the source fail once both were asked. */
async function withoutSource(
  on: Scenario,
  name: string,
  lies = false,
): Promise<{ name: string; source: OriginFile }> {
  const source = await on.putFile(`${name}.bin`, SIZE);
  const mirror = await on.putFile(`mirror-of-${name}.bin`, SIZE, source.name);
  if (lies) await on.behave(mirror, { corruptAtByte: SIZE - 1 });
  const spec = {
    source: { url: source.url, digest: `sha256:${source.sha256}`, mirrors: [mirror.url] },
    target: { path: name },
  };
  await on.distribute(source, { spec });
  await on.sluice.until('both are known', async () => {
    const { status } = await on.sluice.distribution(name);
    return conditionOf(status, 'MirrorsAvailable')?.status === 'True' || undefined;
  });
  await on.behave(source, { cutConnections: true });
  return { name, source };
}

describe('a source with a mirror', () => {
  scenario('that fails in mid-pull is done without', async (on) => {
    const { name, source } = await withoutSource(on, 'mirrored');
    await untilEverywhere(on.sluice, source);
    expect((await on.sluice.distribution(name)).status?.epoch?.number).toBe(1);
  });

  scenario('that gives other bytes drops the mirror, and nobody gets a wrong file', async (on) => {
    const { name, source } = await withoutSource(on, 'lied-to', true);
    await on.sluice.until('the bytes are found to be others', async () => {
      const { status } = await on.sluice.distribution(name);
      const wrong = status?.failedNodes?.some(({ reason }) => reason === 'DigestMismatch');
      return wrong ? true : undefined;
    });
    // The next epoch, without the mirror, begins when the source says what it has.
    await on.behave(source, {});
    await on.sluice.untilEvent(name, 'MirrorDropped');
    await untilEverywhere(on.sluice, source);
    const { status } = await on.sluice.distribution(name);
    expect(status?.epoch?.number).toBeGreaterThan(1);
    const said = conditionOf(status, 'MirrorsAvailable');
    expect(said).toMatchObject({ status: 'False', reason: 'MirrorDropped' });
  });
});
