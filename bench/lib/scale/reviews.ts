/** The most of these moments that lie in one second, wherever it begins. Ascending. PURE. */
export function mostInAnySecond(atMs: readonly number[]): number {
  let most = 0;
  let first = 0;
  for (const [last, now] of atMs.entries()) {
    while (now - (atMs[first] ?? now) >= 1000) first += 1;
    most = Math.max(most, last - first + 1);
  }
  return most;
}
