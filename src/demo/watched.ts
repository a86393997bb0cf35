/**
 * Wakes a waiting loop when something changes at a path. The loop looks for itself what it was, and looks again after
 * a while anyway: inotify is a hint here, never the truth.
 */

import { type FSWatcher, watch } from 'node:fs';

export class Watched {
  readonly #watcher: FSWatcher;
  #changed = false;
  #wake: (() => void) | undefined;

  constructor(path: string) {
    this.#watcher = watch(path, () => {
      this.#changed = true;
      this.#wake?.();
    });
    // The watched thing may be removed; the loop finds out by itself.
    this.#watcher.on('error', () => {});
  }

  /** Waits for a change since the last call, at most `timeoutMs`. */
  async next(timeoutMs: number): Promise<void> {
    if (!this.#changed) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, timeoutMs);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
      this.#wake = undefined;
    }
    this.#changed = false;
  }

  close(): void {
    this.#watcher.close();
  }
}
