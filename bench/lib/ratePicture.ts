/** Rates over time as SVG, a panel an episode, a curve a node, with the floor below them. PURE. */
import { COLOURS, document, fixed, line, text } from './svg.ts';
import type { RateAt } from './windows.ts';

export interface Panel {
  readonly name: string;
  /** Of each node; seconds count from the episode. */
  readonly curves: readonly (readonly RateAt[])[];
}

export interface RatePicture {
  readonly title: string;
  readonly subtitle: string;
  readonly floorBytesPerSecond: number;
  readonly fromSeconds: number;
  readonly toSeconds: number;
  readonly panels: readonly Panel[];
}

const MIB = 1024 * 1024;
const WIDTH = 860;
const LEFT = 60;
const COLUMNS = 2;
const PANEL = { width: 360, height: 150, gapX: 50, gapY: 70, top: 84 };
const TICK_SECONDS = 4;
/** Rows of the grid. */
const ROWS = 4;

export function ratePicture(picture: RatePicture): string {
  const { title, subtitle, panels, floorBytesPerSecond } = picture;
  const rates = panels.flatMap(({ curves }) => curves.flat());
  const mostMib = Math.ceil(
    Math.max(1, floorBytesPerSecond, ...rates.map(({ bytesPerSecond }) => bytesPerSecond)) / MIB,
  );
  const rows = Math.ceil(panels.length / COLUMNS);
  const height = PANEL.top + rows * (PANEL.height + PANEL.gapY);
  return document({ width: WIDTH, height, left: LEFT, title, subtitle }, [
    ...panels.flatMap((panel, at) => drawn(panel, at, mostMib, picture)),
    text(LEFT, height - 12, 'MiB/s of each node over the second before', 'start'),
  ]);
}

function drawn({ name, curves }: Panel, at: number, mostMib: number, scale: RatePicture): string[] {
  const { fromSeconds, toSeconds, floorBytesPerSecond } = scale;
  const left = LEFT + (at % COLUMNS) * (PANEL.width + PANEL.gapX);
  const top = PANEL.top + Math.floor(at / COLUMNS) * (PANEL.height + PANEL.gapY);
  const [right, bottom] = [left + PANEL.width, top + PANEL.height];
  const x = (seconds: number) =>
    left + (PANEL.width * (seconds - fromSeconds)) / (toSeconds - fromSeconds);
  const y = (mib: number) => bottom - (PANEL.height * mib) / mostMib;
  const rows = Array.from({ length: ROWS + 1 }, (_, row) => (mostMib * row) / ROWS).flatMap(
    (mib) => [
      line(left, y(mib), right, y(mib), '#e5e5e5'),
      text(left - 8, y(mib) + 4, `${Number(mib.toFixed(1))}`, 'end'),
    ],
  );
  const ticks: string[] = [];
  const first = Math.ceil(fromSeconds / TICK_SECONDS) * TICK_SECONDS;
  for (let tick = first; tick <= toSeconds; tick += TICK_SECONDS) {
    ticks.push(
      line(x(tick), top, x(tick), bottom, '#e5e5e5'),
      text(x(tick), bottom + 16, `${tick} s`, 'middle'),
    );
  }
  const lines = curves.flatMap((curve, node) => {
    const within = curve.filter(({ seconds }) => seconds >= fromSeconds && seconds <= toSeconds);
    // A path of no points is none.
    if (within.length === 0) return [];
    const points = within.map(
      ({ seconds, bytesPerSecond }) => `${fixed(x(seconds))} ${fixed(y(bytesPerSecond / MIB))}`,
    );
    const colour = COLOURS[node % COLOURS.length];
    const path = `<path d="M${points.join('L')}" fill="none" stroke="${colour}" stroke-width="1.5"/>`;
    return [path];
  });
  const floor = y(floorBytesPerSecond / MIB);
  return [
    text(left, top - 8, name, 'start'),
    ...rows,
    ...ticks,
    line(x(0), top, x(0), bottom, '#000'),
    `<path d="M${fixed(left)} ${fixed(floor)}H${fixed(right)}" stroke="#000" stroke-dasharray="5 4"/>`,
    text(right + 4, floor + 4, 'floor', 'start'),
    ...lines,
  ];
}
