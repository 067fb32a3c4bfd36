/** What a delivery promised against what the origin's meter and the disks say. PURE. */
import type { Delivery } from './delivery.ts';

export interface Row {
  readonly what: string;
  readonly measured: string;
  /** Empty: only told. */
  readonly limit: string;
  readonly holds: boolean;
}

/** The goals of the first slice; the engine's own issue takes the time to 1.10. */
export const GOALS = { copies: 1.03, timeRatio: 1.5 };

export function verdictOf(delivery: Delivery): Row[] {
  const { seconds, boundSeconds, sizeBytes, originBytes, limits, wrongNodes, nodes } = delivery;
  const ratio = seconds / boundSeconds;
  const copies = originBytes / sizeBytes;
  return [
    {
      what: 'SHA-256 of the file on every node',
      measured: `${nodes - wrongNodes.length} of ${nodes} equal`,
      limit: wrongNodes.length === 0 ? 'all' : `wrong on ${wrongNodes.join(', ')}`,
      holds: wrongNodes.length === 0,
    },
    {
      what: 'time of the last node / fluid bound',
      measured: `${seconds.toFixed(1)} s / ${boundSeconds.toFixed(1)} s = ${ratio.toFixed(2)}`,
      limit: `<= ${GOALS.timeRatio.toFixed(2)}`,
      holds: ratio <= GOALS.timeRatio,
    },
    {
      what: 'bytes from the origin, in copies',
      measured: `${mebibytes(originBytes)} = ${copies.toFixed(3)}`,
      limit: `<= ${GOALS.copies.toFixed(2)}`,
      holds: copies <= GOALS.copies,
    },
    {
      what: 'bytes from the origin, all together',
      measured: mebibytes(originBytes),
      limit: `<= ${mebibytes(limits.maxTraffic.bytes)}`,
      holds: originBytes <= limits.maxTraffic.bytes,
    },
    {
      what: 'highest second at the origin',
      measured: mebibytes(delivery.maxWindowBytes),
      limit: `<= ${mebibytes(limits.maxBandwidth)}`,
      holds: delivery.maxWindowBytes <= limits.maxBandwidth,
    },
    {
      what: 'connections at the origin',
      measured: String(delivery.peakConnections),
      limit: `<= ${limits.maxConnections}`,
      holds: delivery.peakConnections <= limits.maxConnections,
    },
    {
      what: 'received from other nodes',
      measured: `${(delivery.fromPeersShare * 100).toFixed(0)} %`,
      limit: '',
      holds: true,
    },
    {
      what: "first byte on a node after a relay's",
      measured: `${delivery.firstByteDelayMs.toFixed(0)} ms`,
      limit: '',
      holds: true,
    },
    {
      what: 'from kubectl apply to the last node',
      measured: `${delivery.applySeconds.toFixed(1)} s`,
      limit: '',
      holds: true,
    },
  ];
}

export function renderTable(
  rows: readonly Row[],
  paint: (text: string, ok: boolean) => string,
): string {
  const width = (of: (row: Row) => string) => Math.max(...rows.map((row) => of(row).length));
  const [what, measured, limit] = [
    width((row) => row.what),
    width((row) => row.measured),
    width((row) => row.limit),
  ];
  return rows
    .map((row) => {
      const mark =
        row.limit === '' && row.holds ? '' : paint(row.holds ? 'ok' : 'FAILS', row.holds);
      const cells = [row.what.padEnd(what), row.measured.padEnd(measured), row.limit.padEnd(limit)];
      return `  ${cells.join('   ')}   ${mark}`.trimEnd();
    })
    .join('\n');
}

export function mebibytes(bytes: number): string {
  return `${(bytes / 1024 / 1024).toFixed(1)} MiB`;
}
