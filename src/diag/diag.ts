/**
 * conmon's own diagnostics: `[conmon:w]: text` on stderr, in the form that callers and test suites grep for. Any thread
 * makes its own. Never writes into the container's log, never throws, never waits.
 */

import type { Sys } from '../native/sys.ts';

/** Least to most talkative; the names are --log-level's. */
export type DiagLevel = 'error' | 'warn' | 'info' | 'debug' | 'trace';

const RANK: Readonly<Record<DiagLevel, number>> = { error: 0, warn: 1, info: 2, debug: 3, trace: 4 };
/** Trace shares debug's letter, as in conmon.8. */
const LETTER: Readonly<Record<DiagLevel, string>> = { error: 'e', warn: 'w', info: 'i', debug: 'd', trace: 'd' };
const STDERR = 2;
/** A diagnostic longer than this is cut: text from the runtime or a client may be in it. */
const MESSAGE_MAX = 16384;

export class Diag {
  readonly #sys: Sys;
  readonly #rank: number;
  readonly #fd: number;

  constructor(sys: Sys, level: DiagLevel, fd: number = STDERR) {
    this.#sys = sys;
    this.#rank = RANK[level];
    this.#fd = fd;
  }

  error(text: string): void {
    this.#say('error', text);
  }
  warn(text: string): void {
    this.#say('warn', text);
  }
  info(text: string): void {
    this.#say('info', text);
  }
  debug(text: string): void {
    this.#say('debug', text);
  }
  trace(text: string): void {
    this.#say('trace', text);
  }

  #say(level: DiagLevel, text: string): void {
    if (RANK[level] > this.#rank) return;
    const line = Buffer.from(`[conmon:${LETTER[level]}]: ${text.slice(0, MESSAGE_MAX)}\n`);
    // A stderr that is closed or full must not stop a container; there is nowhere left to report it.
    this.#sys.write(this.#fd, line, 0, line.length);
  }
}
