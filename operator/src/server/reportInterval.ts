const MIN_REPORT_INTERVAL_MS = 1_000;
/** Of reports; each takes some tenths of a millisecond. */
const NODES_PER_SECOND = 500;

/** How often each process is to report: what reports cost stays level, however many there are. */
export function reportIntervalMs(processes: number): number {
  return Math.max(MIN_REPORT_INTERVAL_MS, Math.round((processes / NODES_PER_SECOND) * 1000));
}
