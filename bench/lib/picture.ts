/** Completion curves as SVG: how many nodes have the file, over time, a curve a system. PURE. */

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
const COLOURS = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#7f7f7f', '#e69f00'];
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
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12">`,
    `<rect width="${WIDTH}" height="${HEIGHT}" fill="#fff"/>`,
    `<text x="${LEFT}" y="22" font-size="16" font-weight="bold">${escaped(title)}</text>`,
    text(LEFT, 40, subtitle, 'start'),
    ...ticks,
    ...rows,
    ...bound,
    ...drawn,
    text(
      LEFT,
      HEIGHT - 12,
      'nodes that have the file, over the time since the start signal',
      'start',
    ),
    '</svg>',
    '',
  ].join('\n');
}

function line(x1: number, y1: number, x2: number, y2: number, colour: string, width = 1): string {
  return `<path d="M${fixed(x1)} ${fixed(y1)}L${fixed(x2)} ${fixed(y2)}" stroke="${colour}" stroke-width="${width}"/>`;
}

function text(x: number, y: number, content: string, anchor: 'start' | 'middle' | 'end'): string {
  return `<text x="${fixed(x)}" y="${fixed(y)}" text-anchor="${anchor}">${escaped(content)}</text>`;
}

function fixed(value: number): string {
  return value.toFixed(1);
}

function escaped(content: string): string {
  return content.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
