// The arithmetic of the report: median, percentile, spread, ratio. Pure; no rounding here.

/** The middle value; the mean of the two middle ones for an even count. NaN for none. */
export function median(values: readonly number[]): number {
  const sorted = ascending(values);
  const middle = sorted.length / 2;
  const upper = sorted[Math.floor(middle)] ?? Number.NaN;
  const lower = sorted[Math.ceil(middle) - 1] ?? Number.NaN;
  return (lower + upper) / 2;
}

/** Nearest-rank percentile: the smallest value that `fraction` (0..1) of all values do not exceed. NaN for none. */
export function percentile(values: readonly number[], fraction: number): number {
  const sorted = ascending(values);
  const rank = Math.ceil(fraction * sorted.length);
  return sorted[Math.min(Math.max(rank, 1), sorted.length) - 1] ?? Number.NaN;
}

/** Half the distance between the lowest and the highest value, as a fraction of the median: nothing is left out. */
export function spread(values: readonly number[]): number {
  const sorted = ascending(values);
  const lowest = sorted[0] ?? Number.NaN;
  const highest = sorted[sorted.length - 1] ?? Number.NaN;
  return (highest - lowest) / 2 / median(values);
}

export interface Ratio {
  /** Median of a by median of b. */
  readonly ratio: number;
  /** Lowest and highest ratio of two runs of one pair: what the machine's unrest allows to say. */
  readonly lowest: number;
  readonly highest: number;
}

/** Compares two lists of runs; runs with the same index were neighbours in time. */
export function compare(a: readonly number[], b: readonly number[]): Ratio {
  const pairs: number[] = [];
  for (let index = 0; index < Math.min(a.length, b.length); index++) {
    pairs.push((a[index] ?? Number.NaN) / (b[index] ?? Number.NaN));
  }
  const sorted = ascending(pairs);
  return {
    ratio: median(a) / median(b),
    lowest: sorted[0] ?? Number.NaN,
    highest: sorted[sorted.length - 1] ?? Number.NaN,
  };
}

function ascending(values: readonly number[]): readonly number[] {
  return values.toSorted((a, b) => a - b);
}
