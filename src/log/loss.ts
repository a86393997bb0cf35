/**
 * What one log sink has lost: how many bytes and records, when and why. Every driver has one account. Runs on the log
 * thread. It counts and words; it writes nothing but diagnostics, and formats nothing: the text of the recovery record
 * is the driver's to put into a record of its own format.
 *
 * An episode goes so:
 *
 *     loss.fail(-ENOSPC)          the sink cannot write: one warning, however often this is called
 *     loss.drop(bytes, records)   nothing could be kept any longer: counted (any number of times, perhaps never)
 *     if (loss.owed)              the sink writes again: first one record, of stream stderr, tag F,
 *       write(format(loss.text())) with this text
 *     loss.recovered()            only once that record is written whole; with nothing owed it is called all the same
 *
 * and at the end of the session `loss.report()`.
 */

import type { Diag } from '../diag/diag.ts';
import type { Sys } from '../native/sys.ts';
import { DriverField, type DriverState } from './driver-state.ts';

/** In place of an errno: a bug of ours. */
export const INTERNAL_ERROR = 0;

export class Loss {
  readonly #sys: Pick<Sys, 'strerror'>;
  readonly #diag: Diag;
  readonly #name: string;
  readonly #state: DriverState;
  readonly #now: () => number;

  /**
   * @param name what diagnostics call the sink: a path, `journald`
   * @param state the driver's block: an episode outlives the thread
   * @param now ms since 1970
   */
  constructor(
    sys: Pick<Sys, 'strerror'>,
    diag: Diag,
    name: string,
    state: DriverState,
    now: () => number = () => Date.now(),
  ) {
    this.#sys = sys;
    this.#diag = diag;
    this.#name = name;
    this.#state = state;
    this.#now = now;
  }

  /**
   * The sink could not write: `errno` is the system call's negative answer, or {@link INTERNAL_ERROR}. The first one of an
   * episode is told, and both that and a second kind are named in the recovery record.
   */
  fail(errno: number): void {
    const state = this.#state;
    if (state[DriverField.failing] !== 1) {
      state[DriverField.failing] = 1;
      state[DriverField.errno] = errno;
      this.#diag.warn(`failed to write to log ${this.#name}: ${this.#reason(errno)}`);
    } else if (errno !== state[DriverField.errno] && state[DriverField.otherErrno] === 0) {
      state[DriverField.otherErrno] = errno;
    }
  }

  /** Whole records that are given up. `bytes` is what they would have taken in this log. */
  drop(bytes: number, records: number): void {
    const state = this.#state;
    const now = this.#now();
    if (state[DriverField.droppedRecords] === 0) {
      state[DriverField.firstMs] = now;
      add(state, DriverField.episodes, 1);
    }
    state[DriverField.lastMs] = now;
    add(state, DriverField.droppedBytes, bytes);
    add(state, DriverField.droppedRecords, records);
    add(state, DriverField.allBytes, bytes);
    add(state, DriverField.allRecords, records);
  }

  /** Whether the sink has failed and {@link recovered} was not called since. */
  get failing(): boolean {
    return this.#state[DriverField.failing] === 1;
  }

  /** Whether records were dropped that no recovery record tells of yet. */
  get owed(): boolean {
    return this.#state[DriverField.droppedRecords] !== 0;
  }

  /** The text of the recovery record: printable ASCII without a newline, below 300 bytes. */
  text(): string {
    const state = this.#state;
    const bytes = state[DriverField.droppedBytes] ?? 0;
    const records = state[DriverField.droppedRecords] ?? 0;
    const [first, last] = [moment(state[DriverField.firstMs]), moment(state[DriverField.lastMs])];
    const other = state[DriverField.otherErrno] ?? 0;
    const reasons = this.#reason(state[DriverField.errno] ?? 0) + (other === 0 ? '' : `, ${this.#reason(other)}`);
    return `[conmon] dropped ${bytes} bytes in ${records} records from ${first} to ${last}: ${reasons}`;
  }

  /** The sink works, and what was owed is written. */
  recovered(): void {
    const state = this.#state;
    if (!this.failing && !this.owed) return;
    const lost = this.owed ? `, dropped ${state[DriverField.droppedBytes]} bytes` : ', nothing was lost';
    this.#diag.info(`log ${this.#name} can be written again${lost}`);
    for (const field of EPISODE) state[field] = 0;
  }

  /** For the exit diagnostics: a warning with the totals when anything was lost, else nothing. */
  report(): void {
    const state = this.#state;
    const records = state[DriverField.allRecords] ?? 0;
    if (records === 0) return;
    const times = state[DriverField.episodes] === 1 ? '' : ` at ${state[DriverField.episodes]} times`;
    const untold = this.owed ? `, of which the log does not tell ${state[DriverField.droppedBytes]} bytes` : '';
    this.#diag.warn(
      `log ${this.#name}: dropped ${state[DriverField.allBytes]} bytes in ${records} records${times}${untold}`,
    );
  }

  #reason(errno: number): string {
    return errno === INTERNAL_ERROR ? 'internal error' : this.#sys.strerror(errno);
  }
}

const EPISODE = [
  DriverField.failing,
  DriverField.errno,
  DriverField.otherErrno,
  DriverField.droppedBytes,
  DriverField.droppedRecords,
  DriverField.firstMs,
  DriverField.lastMs,
];

function add(state: DriverState, field: number, amount: number): void {
  state[field] = (state[field] ?? 0) + amount;
}

/** UTC, so that it means the same wherever the log is read. */
function moment(epochMs: number | undefined): string {
  return new Date(epochMs ?? 0).toISOString();
}
