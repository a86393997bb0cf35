// Waiting on conditions, with a limit and with Ctrl-C. Main thread only; the limit is always an error that says what
// was waited for.

import { setTimeout as sleep } from 'node:timers/promises';

/** Sleeps, unless the bench is being stopped: then it rejects. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal });
}

/**
 * Asks `condition` every `intervalMs` until it gives a value other than undefined and false.
 * Rejects after `limitMs` with an error that names `what`, or when `signal` is aborted.
 */
export async function waitFor<T>(
  what: string,
  condition: () => Promise<T | false | undefined>,
  { limitMs, intervalMs = 5, signal }: { limitMs: number; intervalMs?: number; signal?: AbortSignal },
): Promise<T> {
  const deadlineMs = performance.now() + limitMs;
  for (;;) {
    signal?.throwIfAborted();
    const value = await condition();
    if (value !== undefined && value !== false) return value;
    if (performance.now() > deadlineMs) throw new Error(`${what}: not within ${limitMs} ms`);
    await sleep(intervalMs, undefined, signal === undefined ? {} : { signal });
  }
}

/** The promise's value, or an error that names `what` after `limitMs` or when `signal` is aborted. */
export async function within<T>(what: string, promise: Promise<T>, limitMs: number, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  const { promise: interrupted, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(`${what}: not within ${limitMs} ms`)), limitMs);
  const abort = (): void => reject(signal.reason);
  signal.addEventListener('abort', abort, { once: true });
  try {
    return await Promise.race([promise, interrupted]);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', abort);
  }
}
