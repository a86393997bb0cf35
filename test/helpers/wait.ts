/**
 * Waiting on conditions, the only way these tests wait: a probe is asked again until it says yes or time is up.
 * It never sleeps for a fixed time in place of a condition.
 */
import { setTimeout as sleep } from 'node:timers/promises';

/** How long a condition may take before the test fails: far more than anything needs, less than tap's own timeout. */
export const WAIT_TIMEOUT_MS = 20_000;

export interface WaitOptions {
  readonly timeoutMs?: number;
  readonly intervalMs?: number;
}

/**
 * Asks `probe` until it returns something other than undefined and false.
 * @returns that value. Throws an Error that names `what` when the time is up; errors of the probe pass through.
 */
export async function waitFor<T>(
  what: string,
  probe: () => T | undefined | false | Promise<T | undefined | false>,
  { timeoutMs = WAIT_TIMEOUT_MS, intervalMs = 4 }: WaitOptions = {},
): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const value = await probe();
    if (value !== undefined && value !== false) {
      return value;
    }
    if (performance.now() > deadline) {
      throw new Error(`timed out after ${timeoutMs} ms waiting for ${what}`);
    }
    await sleep(intervalMs);
  }
}

/** Gives `promise` a limit; the loser of the race is left alone. Throws an Error that names `what`. */
export async function within<T>(what: string, promise: Promise<T>, timeoutMs = WAIT_TIMEOUT_MS): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`timed out after ${timeoutMs} ms waiting for ${what}`)), timeoutMs);
  });
  try {
    return await Promise.race([promise, limit]);
  } finally {
    clearTimeout(timer);
  }
}

/** Runs `task` for every item, at most `limit` at a time, and returns the results in the items' order. */
export async function mapBounded<T, R>(
  items: readonly T[],
  limit: number,
  task: (item: T, index: number) => Promise<R>,
): Promise<R[]> {
  const results = new Array<R>(items.length);
  let next = 0;
  const worker = async () => {
    while (next < items.length) {
      const index = next++;
      results[index] = await task(items[index] as T, index);
    }
  };
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, worker));
  return results;
}
