import { expect, it } from 'vitest';
import { ratePicture } from './ratePicture.ts';

const MIB = 1024 * 1024;

it('a node at its floor runs along the line of the floor, from the time of the episode on', () => {
  const picture = ratePicture({
    title: 'the floor',
    subtitle: 'one node',
    floorBytesPerSecond: 3 * MIB,
    fromSeconds: -4,
    toSeconds: 12,
    panels: [
      {
        name: 'relayDead',
        curves: [
          [
            { seconds: -8, bytesPerSecond: 3 * MIB },
            { seconds: 0, bytesPerSecond: 3 * MIB },
            { seconds: 12, bytesPerSecond: 3 * MIB },
          ],
        ],
      },
    ],
  });
  const floor = /M60\.0 ([\d.]+)H420\.0" stroke="#000" stroke-dasharray/.exec(picture)?.[1];
  expect(picture).toContain(`M150.0 ${floor}L420.0 ${floor}"`);
});
