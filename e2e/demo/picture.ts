/** The live picture of a delivery: a bar a node. PURE: a snapshot in, lines out. */
import type { Received } from '../install/readClient.ts';
import type { Snapshot } from './delivery.ts';
import { mebibytes } from './verdict.ts';

export interface PictureOptions {
  /** Characters in a line. */
  readonly width: number;
  readonly colour: boolean;
}

/** Where bytes came from, as the bar shows it. */
const SOURCES: readonly {
  readonly of: keyof Received;
  readonly fill: string;
  readonly code: number;
}[] = [
  { of: 'fromPeers', fill: '█', code: 32 },
  { of: 'fromRelays', fill: '▓', code: 36 },
  { of: 'fromRelayHttp', fill: '▒', code: 33 },
  { of: 'fromOrigin', fill: '░', code: 31 },
];
const MIN_BAR = 10;
const MAX_BAR = 50;
/** Brackets, percent, rate and the longest state, with a space between each two. */
const BESIDE_BAR = 34;
/** Of a line with the shortest bar, and of the legend. */
export const MIN_WIDTH = 60;

export function picture(snapshot: Snapshot, options: PictureOptions): string[] {
  const { nodes, relays, elapsedSeconds, sizeBytes, originBytes } = snapshot;
  const names = Math.max(6, ...[...nodes, ...relays].map(({ name }) => shortName(name).length));
  const bar = Math.max(MIN_BAR, Math.min(MAX_BAR, options.width - BESIDE_BAR - names));
  const line = (view: (typeof nodes)[number] | (typeof relays)[number]) => {
    const share = sizeBytes === 0 ? 1 : view.verifiedBytes / sizeBytes;
    return [
      shortName(view.name).padEnd(names),
      drawBar(view.received, share, bar, options.colour),
      `${Math.floor(share * 100)}%`.padStart(4),
      `${mebibytes(view.rateBytesPerSecond)}/s`.padStart(12),
      view.state,
    ].join(' ');
  };
  const copies = sizeBytes === 0 ? 0 : originBytes / sizeBytes;
  return [
    `${elapsedSeconds.toFixed(0)} s   from the origin: ${mebibytes(originBytes)} (${copies.toFixed(2)} copies)`,
    ...relays.map(line),
    ...nodes.map(line),
    legend(options.colour),
  ];
}

/** For pipes and logs: one line now and then. */
export function plainLine({ nodes, elapsedSeconds, sizeBytes, originBytes }: Snapshot): string {
  const percents = nodes.map(({ verifiedBytes }) => {
    const share = sizeBytes === 0 ? 1 : verifiedBytes / sizeBytes;
    return `${Math.floor(share * 100)}%`;
  });
  const rate = nodes.reduce((sum, { rateBytesPerSecond }) => sum + rateBytesPerSecond, 0);
  const parts = [
    `${elapsedSeconds.toFixed(0)} s`,
    `nodes ${percents.join(' ') || 'wait'}`,
    `${mebibytes(rate)}/s`,
    `origin ${mebibytes(originBytes)}`,
  ];
  return parts.join('   ');
}

function drawBar(received: Received, share: number, width: number, colour: boolean): string {
  const filled = Math.round(share * width);
  const total = SOURCES.reduce((sum, { of }) => sum + received[of], 0);
  let text = '';
  let drawn = 0;
  let seen = 0;
  for (const { of, fill, code } of SOURCES) {
    seen += received[of];
    const upTo = total === 0 ? 0 : Math.round((seen / total) * filled);
    const cells = fill.repeat(Math.max(0, upTo - drawn));
    drawn = Math.max(drawn, upTo);
    text += colour && cells !== '' ? `\x1b[${code}m${cells}\x1b[0m` : cells;
  }
  return `[${text}${'·'.repeat(Math.max(0, width - drawn))}]`;
}

function legend(colour: boolean): string {
  const names = {
    fromPeers: 'nodes',
    fromRelays: 'relays',
    fromRelayHttp: 'relays, HTTP',
    fromOrigin: 'origin',
  };
  const keys = SOURCES.map(({ of, fill, code }) => {
    return `${colour ? `\x1b[${code}m${fill}\x1b[0m` : fill} ${names[of]}`;
  });
  return `received from: ${keys.join('  ')}`;
}

/** Pods of a Deployment carry two hashes that nobody reads. */
function shortName(name: string): string {
  return name.replace(/^sluice-/, '').replace(/-[0-9a-f]{8}-[a-z0-9]{6,10}-[a-z0-9]{5}$/, '');
}
