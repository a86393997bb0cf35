// The order of runs: ABBA, so that a machine that drifts (heat, neighbours, caches) does so for both sides alike.
// Pure.

/**
 * `rounds` rounds of all `entries`, every second one turned round: a b c, c b a, a b c, ...
 * @returns rounds * entries.length entries.
 */
export function alternate<T>(entries: readonly T[], rounds: number): readonly T[] {
  return Array.from({ length: rounds }, (_, round) => (round % 2 === 0 ? entries : entries.toReversed())).flat();
}

/**
 * `pairs` pairs of runs, every second one turned round: a b, b a, a b, ...
 * @returns 2 * pairs entries; each aligned pair of entries holds both.
 */
export function interleave<T>(a: T, b: T, pairs: number): readonly T[] {
  return alternate([a, b], pairs);
}
