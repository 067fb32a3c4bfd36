import { expect, it } from 'vitest';
import { type Panel, ratePicture } from './ratePicture.ts';

const MIB = 1024 * 1024;

function pictureOf(curves: Panel['curves'], floorBytesPerSecond = 3 * MIB): string {
  return ratePicture({
    title: 'the floor',
    subtitle: 'one node',
    floorBytesPerSecond,
    fromSeconds: -4,
    toSeconds: 12,
    panels: [{ name: 'relayDead', curves }],
  });
}

it('a node at its floor runs along the line of the floor, from the time of the episode on', () => {
  const picture = pictureOf([
    [
      { seconds: -8, bytesPerSecond: 3 * MIB },
      { seconds: 0, bytesPerSecond: 3 * MIB },
      { seconds: 12, bytesPerSecond: 3 * MIB },
    ],
  ]);
  const floor = /M60\.0 ([\d.]+)H420\.0" stroke="#000" stroke-dasharray/.exec(picture)?.[1];
  expect(picture).toContain(`M150.0 ${floor}L420.0 ${floor}"`);
});

it('a node of which nothing is known in these seconds has no curve', () => {
  const outside = [{ seconds: -8, bytesPerSecond: MIB }];
  for (const picture of [pictureOf([[], outside]), pictureOf([], 0)]) {
    expect(picture).not.toMatch(/d="M"|NaN|Infinity/);
    expect(picture).not.toContain('stroke-width="1.5"');
  }
});
