/** Completion curves as SVG: how many nodes have the file, over time, a curve a system. PURE. */
import { COLOURS, document, fixed, line, text } from './svg.ts';

export interface Curve {
  readonly name: string;
  /** Of each node, in any order. */
  readonly nodeSeconds: readonly number[];
}

export interface Picture {
  readonly title: string;
  readonly subtitle: string;
  readonly boundSeconds: number;
  readonly curves: readonly Curve[];
}

const WIDTH = 860;
const HEIGHT = 440;
const LEFT = 60;
const RIGHT = 130;
const TOP = 64;
const BOTTOM = 52;
const TICKS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000];

export function completionPicture({ title, subtitle, boundSeconds, curves }: Picture): string {
  const all = [boundSeconds, ...curves.flatMap(({ nodeSeconds }) => nodeSeconds)];
  const from = Math.min(...all) * 0.8;
  const to = Math.max(...all) * 1.1;
  const nodes = Math.max(1, ...curves.map(({ nodeSeconds }) => nodeSeconds.length));
  // Systems differ by a factor of ten: the axis is logarithmic.
  const x = (seconds: number) =>
    LEFT + ((WIDTH - LEFT - RIGHT) * Math.log(seconds / from)) / Math.log(to / from);
  const y = (count: number) => HEIGHT - BOTTOM - ((HEIGHT - TOP - BOTTOM) * count) / nodes;
  const ticks = TICKS.filter((tick) => tick > from && tick < to).flatMap((tick) => [
    line(x(tick), TOP, x(tick), HEIGHT - BOTTOM, '#e5e5e5'),
    text(x(tick), HEIGHT - BOTTOM + 18, `${tick} s`, 'middle'),
  ]);
  const rows = [0, nodes / 4, nodes / 2, (3 * nodes) / 4, nodes].flatMap((count) => [
    line(LEFT, y(count), WIDTH - RIGHT, y(count), '#e5e5e5'),
    text(LEFT - 8, y(count) + 4, `${Math.round(count)}`, 'end'),
  ]);
  const drawn = curves.flatMap(({ name, nodeSeconds }, at) => {
    const colour = COLOURS[at % COLOURS.length] as string;
    const sorted = [...nodeSeconds].sort((a, b) => a - b);
    const steps = sorted.map((seconds, index) => `H${fixed(x(seconds))}V${fixed(y(index + 1))}`);
    const legendY = TOP + 16 + at * 22;
    return [
      `<path d="M${LEFT} ${fixed(y(0))}${steps.join('')}" fill="none" stroke="${colour}" stroke-width="2.5"/>`,
      line(WIDTH - RIGHT + 14, legendY, WIDTH - RIGHT + 34, legendY, colour, 3),
      text(WIDTH - RIGHT + 40, legendY + 4, name, 'start'),
    ];
  });
  const bound = [
    `<path d="M${fixed(x(boundSeconds))} ${TOP}V${HEIGHT - BOTTOM}" stroke="#000" stroke-dasharray="5 4"/>`,
    text(x(boundSeconds), TOP - 6, 'fluid bound', 'middle'),
  ];
  const below = 'nodes that have the file, over the time since the start signal';
  return document({ width: WIDTH, height: HEIGHT, left: LEFT, title, subtitle }, [
    ...ticks,
    ...rows,
    ...bound,
    ...drawn,
    text(LEFT, HEIGHT - 12, below, 'start'),
  ]);
}
