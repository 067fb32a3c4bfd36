/** Versions of the control protocol; what may change within one: docs/adr/0026. */

/** Those that this release speaks, the oldest first: its own and that of the release before. */
export const PROTOCOL_VERSIONS: readonly number[] = [1, 2];

/** From this version on reports go up by the work stream, while one is open: docs/adr/0034. */
export const REPORTS_BY_WORK_STREAM = 2;

/** The highest that both sides speak; undefined: there is none. */
export function commonVersion(
  ours: readonly number[],
  theirs: readonly number[],
): number | undefined {
  const common = ours.filter((version) => theirs.includes(version));
  return common.length === 0 ? undefined : Math.max(...common);
}

/** Of two sides that have no version in common: what to do about it. */
export function upgradeRemedy(server: readonly number[], client: readonly number[]): string {
  return Math.max(...server) < Math.max(...client)
    ? 'upgrade the operator'
    : 'upgrade relays and agents';
}
