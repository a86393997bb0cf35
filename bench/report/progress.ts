// The live line on a terminal: which run of how many, and how long the rest will take. Without a terminal: silence.
// Main thread only.

import type { WriteStream } from 'node:tty';

/**
 * Time left, in ms: the guesses for the steps that remain, scaled by how wrong they were so far.
 * `doneExpectedMs` is the sum of the guesses for the steps that took `elapsedMs`.
 */
export function estimateLeftMs(elapsedMs: number, doneExpectedMs: number, leftExpectedMs: number): number {
  return doneExpectedMs === 0 ? leftExpectedMs : (leftExpectedMs * elapsedMs) / doneExpectedMs;
}

/** `0:42`, `12:05`. */
export function clock(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`;
}

export interface Progress {
  /** Shows what is running now. */
  show(index: number, total: number, label: string, leftMs: number): void;
  /** Takes the line away, before something else is printed and at the end. */
  clear(): void;
}

export function terminalProgress(stream: WriteStream): Progress {
  if (!stream.isTTY) return { show: () => {}, clear: () => {} };
  return {
    show(index, total, label, leftMs) {
      const line = `[${index}/${total}] ${label}, about ${clock(leftMs)} left`;
      const width = stream.columns > 0 ? stream.columns : 80; // a terminal that nobody gave a size says 0
      stream.write(`\r\u001b[K${line.slice(0, width - 1)}`);
    },
    clear() {
      stream.write('\r\u001b[K');
    },
  };
}
