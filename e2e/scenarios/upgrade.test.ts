/** All processes are replaced by those of another minor release while they work. */
import { describe, expect } from 'vitest';
import { nextMinorImages, type SluiceImages } from '../cluster/images.ts';
import { askPod } from '../install/askPod.ts';
import { changeImages } from '../install/sluice.ts';
import { SETTINGS } from './limits.ts';
import {
  expectOneEpoch,
  MIB,
  type Scenario,
  scenario,
  takenFromOrigin,
  untilEverywhere,
} from './scenario.ts';

const HEALTH_PORT = 8082;
const TIMEOUT_MS = 400_000;

/** In which version of the protocol each agent and relay speaks with the operator. */
async function versionsSpoken({ cluster, sluice }: Scenario): Promise<number[]> {
  const pods = [...(await sluice.pods('agent')), ...(await sluice.pods('relay'))];
  const versions: number[] = [];
  for (const pod of pods) {
    const { text } = await askPod(cluster, pod, HEALTH_PORT, '/metrics');
    const found = /^sluice_(?:agent|relay)_control_protocol_version (\d+)$/m.exec(text);
    versions.push(Number(found?.[1]));
  }
  return versions;
}

async function podsOf({ sluice }: Scenario): Promise<string[]> {
  const components = ['operator', 'relay', 'agent'] as const;
  const pods = await Promise.all(components.map((component) => sluice.pods(component)));
  return pods.flat().map(({ uid }) => uid);
}

/** Rolls everything to these images half way; answers which version all of them speak then. */
async function replaceHalfWay(
  on: Scenario,
  name: string,
  images: SluiceImages | undefined,
): Promise<number> {
  const { sluice } = on;
  const file = await on.putFile(name, 160 * MIB);
  // Nodes take a minute, longer than to replace all processes: to pull it takes 20 s.
  const delivery = { maxRate: '3Mi' };
  const uid = await on.distribute(file, { spec: { delivery } });
  await sluice.untilVerified(uid, 4 * MIB);
  const before = await podsOf(on);
  await changeImages(sluice, images, SETTINGS);
  await sluice.until('all pods are others', async () => {
    const left = (await podsOf(on)).filter((pod) => before.includes(pod));
    return left.length === 0 ? true : undefined;
  });
  const spoken = new Set(await versionsSpoken(on));
  expect(spoken.size, 'versions of the protocol').toBe(1);

  await untilEverywhere(sluice, file);
  const copies = (await takenFromOrigin(on)) / file.sizeBytes;
  expect(copies, 'copies from the origin').toBeLessThan(1.1);
  await expectOneEpoch(on, file);
  return Math.max(...spoken);
}

describe('a release of another minor version', () => {
  let newer = 0;

  scenario(
    'replaces every process in mid-transfer, and the transfer does not notice',
    async (on) => {
      newer = await replaceHalfWay(on, 'upgrade.bin', await nextMinorImages());
    },
    { timeoutMs: TIMEOUT_MS },
  );

  scenario(
    'is replaced by the one before in the same way',
    async (on) => {
      expect(await replaceHalfWay(on, 'downgrade.bin', undefined)).toBe(newer - 1);
    },
    { timeoutMs: TIMEOUT_MS },
  );
});
