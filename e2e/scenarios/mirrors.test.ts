import { describe, expect } from 'vitest';
import type { OriginFile } from '../origin/origin.ts';
import { MIB, type Scenario, scenario, untilEverywhere } from './scenario.ts';

const SIZE = 24 * MIB;

interface Mirrored {
  readonly name: string;
  readonly source: OriginFile;
  readonly mirror: OriginFile;
}

/** Applies it with a mirror of the same bytes, and lets the source fail once both were asked. */
async function withoutSource(on: Scenario, name: string, lies = false): Promise<Mirrored> {
  const source = await on.putFile(`${name}.bin`, SIZE);
  const content = { sizeBytes: SIZE, seed: source.name };
  const mirror = await on.cluster.origin.putFile(`mirror-of-${name}.bin`, content);
  if (lies) await on.behave(mirror, { corruptAtByte: SIZE - 1 });
  const spec = {
    source: { url: source.url, digest: `sha256:${source.sha256}`, mirrors: [mirror.url] },
    target: { path: name },
  };
  await on.distribute(source, { spec });
  await on.sluice.until('both are known', async () => {
    const { status } = await on.sluice.distribution(name);
    const known = status?.conditions?.find(({ type }) => type === 'MirrorsAvailable');
    return known?.status === 'True' ? true : undefined;
  });
  await on.behave(source, { cutConnections: true });
  return { name, source, mirror };
}

describe('a source with a mirror', () => {
  scenario('that fails in mid-pull is done without', async (on) => {
    const { name, source } = await withoutSource(on, 'mirrored');
    await untilEverywhere(on.sluice, source);
    expect((await on.sluice.distribution(name)).status?.epoch?.number).toBe(1);
  });

  scenario('that gives other bytes drops the mirror, and nobody gets a wrong file', async (on) => {
    const { name, source, mirror } = await withoutSource(on, 'lied-to', true);
    await on.sluice.until('the bytes are found to be others', async () => {
      const { status } = await on.sluice.distribution(name);
      const wrong = status?.failedNodes?.some(({ reason }) => reason === 'DigestMismatch');
      return wrong ? true : undefined;
    });
    // The next epoch, without the mirror, begins when the source says what it has.
    await on.behave(source, {});
    await on.sluice.until('the mirror is dropped', async () => {
      const events = await on.sluice.events(name);
      return events.some(({ reason }) => reason === 'MirrorDropped') ? true : undefined;
    });
    await untilEverywhere(on.sluice, source);
    const { status } = await on.sluice.distribution(name);
    expect(status?.epoch?.number).toBeGreaterThan(1);
    const said = status?.conditions?.find(({ type }) => type === 'MirrorsAvailable');
    expect(said).toMatchObject({ status: 'False', reason: 'MirrorDropped' });
    await on.behave(mirror, {});
  });
});
