/** Who was wrong when pullers signed different hashes of one piece. */

/** By hash (hex), the pullers (raw key, hex) that signed it and are not revoked. */
export type Claims = ReadonlyMap<string, ReadonlySet<string>>;

/** Evidence that says one thing alone is no dispute: it may have been settled meanwhile. */
export function isDispute(claims: Claims): boolean {
  return claims.size > 1;
}

/** `truth`: the hash of what the origin gives, as the operator read it itself. */
export function wrongPullers(claims: Claims, truth: string): string[] {
  return [...claims].flatMap(([hash, pullers]) => (hash === truth ? [] : [...pullers]));
}
