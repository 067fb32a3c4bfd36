/** Seeded in tests and simulation, the system's in production. */
export interface Random {
  /** Uniform in [0, 1). */
  next(): number;
  bytes(count: number): Buffer;
}
