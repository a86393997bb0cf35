// The order of runs: ABBA, so that a machine that drifts (heat, neighbours, caches) does so for both sides alike.
// Pure.

/**
 * `pairs` pairs of runs, every second one turned round: a b, b a, a b, ...
 * @returns 2 * pairs entries; each aligned pair of entries holds both.
 */
export function interleave<T>(a: T, b: T, pairs: number): readonly T[] {
  const order: T[] = [];
  for (let pair = 0; pair < pairs; pair++) order.push(...(pair % 2 === 0 ? [a, b] : [b, a]));
  return order;
}
