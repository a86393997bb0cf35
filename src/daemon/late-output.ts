/**
 * A session's output whose code is loaded and whose threads are started behind the runtime, a piece in each turn of the
 * event loop: what main hears meanwhile, the runtime's end above all, waits for one piece and not for all of them. What is
 * asked of the output before waits in its turn; the container's bytes wait in their pipes. Main thread.
 */

import type { Diag } from '../diag/diag.ts';
import { errorText } from '../diag/error.ts';
import type { Sys } from '../native/sys.ts';
import type { LogCounters, Source } from '../proto/log-messages.ts';
import type { Output } from '../session/session.ts';
import { Discard } from '../threads/discard.ts';

/** Ends with the output; each step before it is a piece of the way there. May throw. */
export type OutputSteps = Generator<void, Output, void>;

export interface LateParts {
  readonly sys: Sys;
  readonly diag: Diag;
  readonly steps: OutputSteps;
  /** There will be no output: what was meant for it is closed. */
  readonly close: () => void;
  /** Makes the new log files that an engine waits for, though nobody writes to them. */
  readonly replaceLogs: () => void;
  readonly onEnded: (counters: LogCounters | undefined) => void;
  /** Why there is no output, when it was not told to begin: the container can still be refused. */
  readonly onFailed: (reason: string) => void;
}

export class LateOutput implements Output {
  readonly #parts: LateParts;
  /** Undefined while it is on its way. */
  #output: Output | undefined;
  readonly #waiting: ((output: Output) => void)[] = [];
  /** There is a container, and its caller has been told. */
  #begun = false;

  constructor(parts: LateParts) {
    this.#parts = parts;
    this.#stepLater();
  }

  begin(sources: readonly Source[], stdinFd: number): void {
    this.#begun = true;
    this.#ask((output) => output.begin(sources, stdinFd));
  }

  /** true while it is not known: nobody then listens for clients, until `onLeft` says that they are to be asked for again. */
  startAttach(plan: { readonly listenFd: number }, onLeft: () => void): boolean {
    if (this.#output) return this.#output.startAttach(plan, onLeft);
    this.#waiting.push((output) => {
      let serves = false;
      try {
        serves = output.startAttach(plan, onLeft);
      } finally {
        if (!serves) onLeft();
      }
    });
    return true;
  }

  reopen(): void {
    this.#ask((output) => output.reopen());
  }

  /** For a container that never was no thread is started. */
  end(drain: boolean): void {
    if (this.#output === undefined && this.#waiting.length === 0) this.#give(this.#none());
    this.#ask((output) => output.end(drain));
  }

  whenClosed(onClosed: () => void): void {
    if (this.#output === undefined && this.#waiting.length === 0) onClosed();
    else this.#ask((output) => output.whenClosed(onClosed));
  }

  #ask(call: (output: Output) => void): void {
    if (this.#output) call(this.#output);
    else this.#waiting.push(call);
  }

  #stepLater(): void {
    setImmediate(() => this.#step());
  }

  #step(): void {
    if (this.#output) return; // there will be none
    try {
      const next = this.#parts.steps.next();
      if (next.done === true) this.#give(next.value);
      else this.#stepLater();
    } catch (error) {
      this.#fail(errorText(error));
    }
  }

  #give(output: Output): void {
    this.#output = output;
    for (const call of this.#waiting.splice(0)) {
      try {
        call(output);
      } catch (error) {
        // What was asked after it, the container's end above all, is done all the same.
        this.#parts.diag.error(`the container's output: ${errorText(error)}`);
      }
    }
  }

  /** A container that runs goes on, and must not wait for a reader; one that was not told of yet is refused. */
  #fail(reason: string): void {
    if (this.#begun) this.#parts.diag.error(`the container's output is thrown away: ${reason}`);
    else this.#parts.onFailed(reason);
    if (this.#output === undefined) this.#give(this.#none());
  }

  /** Stands in for an output that could not be started, or is not needed: reads and writes nothing, and ends at once. */
  #none(): Output {
    const { sys, diag, close, replaceLogs, onEnded } = this.#parts;
    let discard: Discard | undefined;
    let fds: number[] = [];
    close();
    return {
      begin: (sources, stdinFd) => {
        fds = [...sources.map(({ fd }) => fd), ...(stdinFd >= 0 ? [stdinFd] : [])];
        discard = new Discard(
          sys,
          diag,
          sources.map(({ fd }) => fd),
        );
      },
      startAttach: () => false,
      reopen: replaceLogs,
      end: () => {
        discard?.close();
        if (discard && discard.bytes > 0)
          diag.warn(`at least ${discard.bytes} bytes of output were thrown away: nobody could write them`);
        for (const fd of fds.splice(0)) sys.close(fd);
        onEnded(undefined);
      },
      whenClosed: (onClosed) => onClosed(),
    };
  }
}
