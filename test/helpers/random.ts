/**
 * Random numbers that a printed seed repeats. Never for anything secret.
 */

export interface Random {
  /** An integer from 0 up to and without `limit`. */
  below(limit: number): number;
  pick<T>(values: readonly T[]): T;
}

/** xorshift32: small, fast, and the same everywhere. `seed` is any integer; 0 counts as 1. */
export function seededRandom(seed: number): Random {
  let state = seed | 0 || 1;
  const below = (limit: number) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % limit;
  };
  return { below, pick: <T>(values: readonly T[]) => values[below(values.length)] as T };
}
