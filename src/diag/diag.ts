/**
 * conmon's own diagnostics: `[conmon:w]: text` on stderr, in the form that callers and test suites grep for, and in the
 * system's log with --syslog. Any thread makes its own. Never writes into the container's log, never throws, never waits.
 */

import type { Sys } from '../native/sys.ts';
import { LOG_ERR, LOG_INFO, Syslog } from './syslog.ts';

/** Least to most talkative; the names are --log-level's. */
export type DiagLevel = 'error' | 'warn' | 'info' | 'debug' | 'trace';

/** How a thread's diagnostics go; every thread of a session gets the same. */
export interface DiagPlan {
  readonly level: DiagLevel;
  /** Who they are about, in the system's log; undefined without --syslog. */
  readonly syslogName: string | undefined;
}

const RANK: Readonly<Record<DiagLevel, number>> = { error: 0, warn: 1, info: 2, debug: 3, trace: 4 };
/** Trace shares debug's letter, as in conmon.8. */
const LETTER: Readonly<Record<DiagLevel, string>> = { error: 'e', warn: 'w', info: 'i', debug: 'd', trace: 'd' };
/** How conmon C marks each level in the system's log. */
const SYSLOG_MARK: Readonly<Record<DiagLevel, string>> = {
  error: 'error',
  warn: 'nwarn',
  info: 'ninfo',
  debug: 'ndebug',
  trace: 'ntrace',
};
const STDERR = 2;
/** A diagnostic longer than this is cut: text from the runtime or a client may be in it. */
const MESSAGE_MAX = 16384;
const SYSLOG_NAME_MAX = 20;

export class Diag {
  readonly #sys: Sys;
  readonly #rank: number;
  readonly #fd: number;
  readonly #syslog: Syslog | undefined;
  readonly #name: string;

  constructor(sys: Sys, plan: DiagPlan, fd: number = STDERR) {
    this.#sys = sys;
    this.#rank = RANK[plan.level];
    this.#fd = fd;
    this.#name = (plan.syslogName ?? '').slice(0, SYSLOG_NAME_MAX);
    this.#syslog = plan.syslogName === undefined ? undefined : new Syslog(sys);
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

  /** Gives back what the system's log needs. */
  close(): void {
    this.#syslog?.close();
  }

  #say(level: DiagLevel, text: string): void {
    if (RANK[level] > this.#rank) return;
    const cut = text.slice(0, MESSAGE_MAX);
    const line = Buffer.from(`[conmon:${LETTER[level]}]: ${cut}\n`);
    // A stderr that is closed or full must not stop a container; there is nowhere left to report it.
    this.#sys.write(this.#fd, line, 0, line.length);
    this.#syslog?.send(level === 'error' ? LOG_ERR : LOG_INFO, `conmon ${this.#name} <${SYSLOG_MARK[level]}>: ${cut}`);
  }
}
