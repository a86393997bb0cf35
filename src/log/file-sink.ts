/**
 * A log file: whole records go in with one write a batch. What cannot be written now is left to the caller, who keeps it
 * or drops it; what is dropped is counted, and told in the log itself once it can be written again. Runs on the log
 * thread. It knows nothing of formats but that a record ends with a newline and holds no other.
 */

import { closeSync, fstatSync, fsyncSync, ftruncateSync, lstatSync } from 'node:fs';
import type { Diag } from '../diag/diag.ts';
import { EAGAIN, EIO, EPIPE, POLLERR, S_IFIFO, S_IFMT, S_IFREG } from '../native/constants.ts';
import { StatWord, statOf } from '../native/files.ts';
import { failureText, type Sys } from '../native/sys.ts';
import type { LogCounters, SizeLimits } from '../proto/log-messages.ts';
import { Blocks, LARGE_BYTES } from './blocks.ts';
import { Crowd } from './crowd.ts';
import { DriverField, type DriverState } from './driver-state.ts';
import type { Loss } from './loss.ts';
import type { Replacement } from './rotation.ts';

const NEWLINE = 0x0a;
/** A file that cannot be written or replaced is tried again after so long, then twice as long, and so on. */
const RETRY_FIRST_MS = 100;
const RETRY_MOST_MS = 5000;
/** How many times its maximum a file may reach while it cannot be replaced: then records are held back instead. */
const OVERGROWN = 2;
/** In {@link DriverField.fragmentBytes}: the record whose beginning is in the file was dropped, its rest is owed. */
const REST_OWED = -1;

/** No limits. */
export const UNLIMITED: SizeLimits = {
  fileMaxBytes: Number.POSITIVE_INFINITY,
  globalMaxBytes: Number.POSITIVE_INFINITY,
};

/** Makes a file's data durable, now or later; `onDone` is called once, with what went wrong. The fd is the caller's. */
export type SyncFile = (fd: number, onDone: (error: unknown) => void) => void;

export const syncNow: SyncFile = (fd, onDone) => {
  try {
    fsyncSync(fd);
  } catch (error) {
    onDone(error);
    return;
  }
  onDone(undefined);
};

/** What a sink is made of; the caller wires it (workers/log.ts). */
export interface FileSinkParts {
  readonly sys: Sys;
  readonly diag: Diag;
  readonly counters: LogCounters;
  readonly path: string;
  /** O_APPEND and O_NONBLOCK; the sink's from now on. */
  readonly fd: number;
  readonly limits: SizeLimits;
  /** How the file gives way to a new one. */
  readonly replacement: Replacement;
  /** The driver's block: sizes and what is unfinished. */
  readonly state: DriverState;
  readonly loss: Loss;
  /**
   * Puts a text into one whole record of the driver's format (stream stderr, tag F, the time now), its newline included.
   * Called for the record that says what was lost; it stands before the records that follow the gap.
   */
  readonly notice: (text: string) => Uint8Array;
  /** A clock that only goes forward, ms. */
  readonly now?: () => number;
  /** Absent = fsync(2) at once. The sink is closed when it has been asked, and not when it is done. */
  readonly syncFile?: SyncFile;
  /** Absent = as the kernel says. */
  readonly crowd?: Pick<Crowd, 'isThere'>;
}

export class FileSink {
  readonly #parts: FileSinkParts;
  readonly #state: DriverState;
  readonly #now: () => number;
  /** FIFOs and devices are written to, but never replaced, cut or measured. */
  #regular: boolean;
  #fifo: boolean;
  #fd: number;
  #stalled = false;
  /** Why it is stalled. */
  #errno = 0;
  readonly #backoff = new Backoff();
  /** Of the file's replacement: it may fail while the file can be written, and the other way round. */
  readonly #replaceBackoff = new Backoff();
  readonly #blocks: Blocks;
  readonly #crowd: Pick<Crowd, 'isThere'>;
  /** By how much the file was found longer than what was written to it accounts for. */
  #driftBytes = 0;
  /** End of a dropped record whose beginning could not be taken back; it goes out first. */
  #rest: Uint8Array | undefined;

  constructor(parts: FileSinkParts) {
    this.#parts = parts;
    this.#state = parts.state;
    this.#now = parts.now ?? (() => performance.now());
    this.#fd = parts.fd;
    this.#blocks = new Blocks(parts.sys);
    this.#crowd = parts.crowd ?? new Crowd();
    const stat = statOf(parts.sys, parts.fd);
    if (typeof stat === 'number') throw new Error(`log ${parts.path}: fstat: ${parts.sys.strerror(stat)}`);
    const kind = Number(stat[StatWord.mode]) & S_IFMT;
    this.#regular = kind === S_IFREG;
    this.#fifo = kind === S_IFIFO;
    if (this.#state[DriverField.opened] !== 1) {
      const sizeBytes = Number(stat[StatWord.size]);
      this.#state[DriverField.opened] = 1;
      this.#state[DriverField.sizeBytes] = sizeBytes;
      this.#state[DriverField.totalBytes] = sizeBytes;
    }
    const fragment = this.#state[DriverField.fragmentBytes] ?? 0;
    // A thread that died took the rest of the record with it, or was telling of a loss; the line must end all the same.
    if (fragment === REST_OWED || (fragment > 0 && parts.loss.owed)) {
      this.#state[DriverField.fragmentBytes] = REST_OWED;
      this.#rest = Uint8Array.of(NEWLINE);
      parts.diag.warn(`log ${parts.path}: the end of a record is lost, whose beginning is in the file`);
    }
    this.#stalled = parts.loss.failing || parts.loss.owed || this.#rest !== undefined;
  }

  /**
   * Writes whole records, `memory[offset..offset + length]`, within the limits: a file that would pass its maximum is
   * replaced first, between two records; beyond the global maximum nothing is written. At most one write(2) a call, so
   * that the caller can note what it is told before anything else happens: who takes over writes no record twice.
   * @returns how many bytes it is done with, a number of whole records, perhaps 0. The caller hands in the rest again: at
   * once, or when the sink is {@link stalled} after {@link retry}; or it gives it up with {@link drop}.
   */
  write(memory: Uint8Array, offset: number, length: number): number {
    if (this.#stalled || (this.#parts.loss.owed && !this.#tellLoss())) return 0;
    return this.#put(memory, offset, length);
  }

  /** Gives up whole records that {@link write} did not take: counts them. */
  drop(memory: Uint8Array, offset: number, length: number): void {
    let from = offset;
    const fragment = this.#state[DriverField.fragmentBytes] ?? 0;
    if (fragment > 0) {
      // Its beginning is in the file: it has to be completed, and so is not lost.
      from = memory.indexOf(NEWLINE, offset) + 1;
      this.#rest = memory.slice(offset + fragment, from);
      this.#state[DriverField.fragmentBytes] = REST_OWED;
      this.#account(from - offset);
    }
    let records = 0;
    for (let at = from; at < offset + length; at++) if (memory[at] === NEWLINE) records++;
    if (records === 0) return;
    const bytes = offset + length - from;
    this.#parts.loss.fail(this.#errno);
    this.#parts.loss.drop(bytes, records);
    this.#parts.counters.droppedBytes += bytes;
    this.#parts.counters.droppedRecords += records;
  }

  /** It takes nothing before {@link retry}. */
  get stalled(): boolean {
    return this.#stalled;
  }

  /** It takes something, and wants nothing: no {@link retry}, no {@link waitFd}. */
  get calm(): boolean {
    return !this.#stalled && this.#state[DriverField.reopenWanted] !== 1;
  }

  /** Where the next record goes, as far as is known: others may write to the file, or cut it. */
  get endBytes(): number {
    return (this.#state[DriverField.sizeBytes] ?? 0) + this.#driftBytes;
  }

  /** When {@link retry} is wanted; Infinity = not, or as soon as {@link waitFd} can be written. */
  get wakeAtMs(): number {
    const stall = this.#stalled && this.waitFd === -1 ? this.#backoff.untilMs : Number.POSITIVE_INFINITY;
    const wanted = this.#state[DriverField.reopenWanted] === 1;
    return wanted ? Math.min(stall, this.#replaceBackoff.untilMs) : stall;
  }

  /** A FIFO that is full: poll(2) tells when somebody has read from it. */
  get waitFd(): number {
    return this.#stalled && this.#errno === EAGAIN ? this.#fd : -1;
  }

  /** Makes a wanted new file, and writes what it owes: the rest of a record, then the record that tells what was lost. */
  retry(): void {
    if (this.#state[DriverField.reopenWanted] === 1) this.#replace();
    if (!this.#stalled) return;
    this.#stalled = false;
    if (this.#rest !== undefined && !this.#finishRest(this.#rest)) return;
    if (this.#parts.loss.owed) this.#tellLoss();
  }

  /**
   * Puts an empty file in the place of this one. When that fails logging goes on in the old one, and it is tried again:
   * an engine waits for the new file without a timeout (contract section 6).
   */
  reopen(): void {
    if (!this.#regular && this.#isInPlace()) return; // a FIFO or device stays what it is
    this.#state[DriverField.reopenWanted] = 1;
    this.#replace();
  }

  sync(): void {
    const { diag, path, syncFile = syncNow } = this.#parts;
    if (this.#state[DriverField.written] !== 1) return;
    syncFile(this.#fd, (error) => {
      if (error === undefined) return;
      // EINVAL: a FIFO or device, which has nothing to make durable (fsync(2)).
      const harmless = error instanceof Error && 'code' in error && (error.code === 'EINVAL' || error.code === 'EROFS');
      const text = `Failed to sync log file ${path}: ${failureText(error)}`;
      if (harmless) diag.debug(text);
      else diag.warn(text);
    });
  }

  /** Another one goes on with the file. It ends the line of a record that was given up, and of the record's end it knows nothing. */
  leave(): void {
    if (this.#rest !== undefined && this.#rest.length > 1) this.#lose(this.#rest.subarray(0, -1), this.#errno);
  }

  close(): void {
    if (this.#rest !== undefined && !this.#finishRest(this.#rest)) this.#lose(this.#rest, this.#errno);
    if (this.#fifo) this.#tellUnread();
    closeSync(this.#fd);
    this.#fd = -1;
    this.#parts.loss.report();
  }

  /** The record that says what was lost, before the first one after the gap. @returns false when it is stalled again. */
  #tellLoss(): boolean {
    const { loss, notice } = this.#parts;
    const record = notice(loss.text());
    while (!this.#stalled)
      if (this.#put(record, 0, record.length) === record.length) {
        loss.recovered();
        return true;
      }
    const begun = this.#state[DriverField.fragmentBytes] ?? 0;
    if (begun > 0) {
      // It could not be taken back: from here on it is a record like any whose end is owed.
      this.#rest = record.subarray(begun);
      this.#state[DriverField.fragmentBytes] = REST_OWED;
      this.#account(record.length);
      loss.recovered();
    }
    return false;
  }

  /** Whether the path still leads to what is open. */
  #isInPlace(): boolean {
    try {
      const [there, open] = [lstatSync(this.#parts.path), fstatSync(this.#fd)];
      return there.dev === open.dev && there.ino === open.ino;
    } catch {
      return false; // it was renamed away: a new file is what is wanted
    }
  }

  /** @returns false when there is no new file yet; then it is tried again later. */
  #replace(): boolean {
    const { sys, diag, path, replacement } = this.#parts;
    let fd = replacement.advance();
    if (replacement.removal.makesRoom(fd)) fd = replacement.advance();
    if (fd >= 0 && this.#fifo) this.#tellUnread();
    // Onto the same number: a worker that takes over after a crash was told that one.
    const result = fd < 0 ? fd : replacement.removal.putInPlace(fd, this.#fd, this.#state[DriverField.sizeBytes] ?? 0);
    if (fd >= 0) sys.close(fd);
    if (result < 0) {
      const text = `Failed to reopen log file ${path}: ${sys.strerror(result)}`;
      if (this.#replaceBackoff.failing) diag.debug(text);
      else diag.warn(text);
      this.#replaceBackoff.fail(result, this.#now());
      return false;
    }
    if (this.#replaceBackoff.failing) diag.info(`log file ${path} was reopened`);
    this.#replaceBackoff.reset();
    this.#regular = true;
    this.#fifo = false;
    this.#state[DriverField.reopenWanted] = 0;
    this.#state[DriverField.sizeBytes] = 0;
    this.#driftBytes = 0;
    this.#blocks.otherFile();
    if (this.#rest !== undefined) this.#lose(this.#rest, this.#errno); // its beginning is in the old file
    this.#forgetFragment();
    // What the old file could not take the new one may.
    if (this.#stalled) this.#backoff.untilMs = 0;
    return true;
  }

  #put(memory: Uint8Array, offset: number, length: number): number {
    const { fileMaxBytes, globalMaxBytes } = this.#parts.limits;
    const size = this.#state[DriverField.sizeBytes] ?? 0;
    const total = this.#state[DriverField.totalBytes] ?? 0;
    if (size + length <= fileMaxBytes && total + length <= globalMaxBytes)
      return this.#writeOut(memory, offset, length); // far from all limits, as most of the time
    const allowed = this.#withinGlobal(memory, offset, offset + length);
    if (allowed === offset) {
      this.#parts.counters.beyondLimitBytes += length;
      return length;
    }
    let cut = this.#withinFile(memory, offset, allowed);
    while (cut === offset) {
      if (!this.#makeRoom(memory, offset)) return 0;
      cut = this.#withinFile(memory, offset, allowed);
    }
    return this.#writeOut(memory, offset, cut - offset);
  }

  /** Up to where the global maximum allows: the record that reaches it is the last one (conmon.8, --log-global-size-max). */
  #withinGlobal(memory: Uint8Array, from: number, end: number): number {
    const left = this.#parts.limits.globalMaxBytes - (this.#state[DriverField.totalBytes] ?? 0);
    if (end - from <= left) return end;
    return left <= 0 ? from : memory.indexOf(NEWLINE, from + left - 1) + 1;
  }

  /** Up to where this file takes records; `from` itself when not even one more fits. A record that no file holds goes in alone. */
  #withinFile(memory: Uint8Array, from: number, end: number): number {
    const size = this.#state[DriverField.sizeBytes] ?? 0;
    const left = this.#fileMaxBytes() - size;
    if (end - from <= left) return end;
    const cut = left <= 0 ? 0 : memory.lastIndexOf(NEWLINE, from + left - 1) + 1;
    if (cut > from) return cut;
    return size === 0 ? memory.indexOf(NEWLINE, from) + 1 : from;
  }

  #fileMaxBytes(): number {
    if (!this.#regular) return Number.POSITIVE_INFINITY;
    const { fileMaxBytes } = this.#parts.limits;
    return this.#replaceBackoff.failing && !this.#replaceBackoff.over(this.#now())
      ? OVERGROWN * fileMaxBytes
      : fileMaxBytes;
  }

  /** @returns false when the file is full, twice as large as it may be, and cannot be replaced. */
  #makeRoom(memory: Uint8Array, at: number): boolean {
    if (!this.#replaceBackoff.failing || this.#replaceBackoff.over(this.#now())) {
      if (this.#replace()) return true;
      if (this.#withinFile(memory, at, memory.indexOf(NEWLINE, at) + 1) > at) return true;
    }
    this.#stalled = true;
    this.#errno = this.#replaceBackoff.errno;
    this.#backoff.untilMs = this.#replaceBackoff.untilMs;
    this.#parts.loss.fail(this.#errno);
    return false;
  }

  /** One write. @returns how many bytes of whole records are in the file now. */
  #writeOut(memory: Uint8Array, offset: number, length: number): number {
    const { sys, counters, loss } = this.#parts;
    const begun = this.#state[DriverField.fragmentBytes] ?? 0;
    const large = this.#regular && length - begun >= LARGE_BYTES;
    if (large) this.#prepare(length - begun, begun);
    const result = sys.write(this.#fd, memory, offset + begun, length - begun);
    counters.writes++;
    if (large) this.#blocks.written(result === length - begun);
    if (result <= 0) {
      if (this.#parts.replacement.removal.makesRoom(result)) return this.#writeOut(memory, offset, length);
      this.#stall(begun, result);
      return 0;
    }
    this.#state[DriverField.written] = 1;
    const written = begun + result;
    const whole = written === length ? length : memory.lastIndexOf(NEWLINE, offset + written - 1) + 1 - offset;
    const kept = Math.max(whole, 0);
    this.#state[DriverField.fragmentBytes] = written - kept;
    this.#account(kept);
    // Room for half a record, which is taken back, is none.
    if (kept > 0) this.#backoff.reset();
    if (loss.failing && written === length) loss.recovered();
    return kept;
  }

  /**
   * Before a large write: blocks for it, and whether the file ends where it was believed to. Not in a crowd: who writes at once
   * into the same disk waits in one row for the same page of its books, and each in that row for a turn at a CPU.
   */
  #prepare(bytes: number, begunBytes: number): void {
    if (this.#crowd.isThere(bytes)) return;
    const end = this.#blocks.allocate(this.#fd, bytes);
    if (end >= 0) this.#driftBytes = end - begunBytes - (this.#state[DriverField.sizeBytes] ?? 0);
  }

  /** A write failed. The beginning of a record that is in the file is taken back, where that can be. */
  #stall(begunBytes: number, result: number): void {
    this.#state[DriverField.fragmentBytes] = this.#takeBack(begunBytes, result);
    this.#stalled = true;
    this.#errno = result === 0 ? EIO : result;
    this.#backoff.fail(this.#errno, this.#now());
    // A FIFO that is full has a reader who is slow: nothing is wrong until something must be dropped.
    if (result !== EAGAIN) this.#parts.loss.fail(this.#errno);
  }

  /** Off the end of the file as it is now: somebody may have emptied it meanwhile. @returns what had to stay. */
  #takeBack(unfinishedBytes: number, result: number): number {
    if (unfinishedBytes === 0) return 0;
    // Whoever had the beginning is gone: the next reader gets the record from the start.
    if (!this.#regular) return result === EPIPE && this.#readByNowGone() ? 0 : unfinishedBytes;
    try {
      ftruncateSync(this.#fd, Math.max(fstatSync(this.#fd).size - unfinishedBytes, 0));
      return 0;
    } catch (error) {
      this.#parts.diag.warn(`failed to cut an unfinished record off log ${this.#parts.path}: ${failureText(error)}`);
      return unfinishedBytes;
    }
  }

  /** A FIFO without a reader: what it still holds, the end of it a record's beginning, is for the next one (pipe(7)). */
  #readByNowGone(): boolean {
    return this.#parts.sys.fionread(this.#fd) <= 0;
  }

  /** The end of a record that was dropped when its beginning was in the file. @returns false when it is stalled again. */
  #finishRest(rest: Uint8Array): boolean {
    for (let at = 0; at < rest.length; ) {
      const result = this.#parts.sys.write(this.#fd, rest, at, rest.length - at);
      this.#parts.counters.writes++;
      // Who had the beginning is gone, and with him the need for an end.
      if (result === EPIPE && this.#readByNowGone()) {
        this.#lose(rest.subarray(at), result);
        break;
      }
      if (result <= 0) {
        this.#rest = rest.subarray(at);
        this.#stall(0, result);
        this.#state[DriverField.fragmentBytes] = REST_OWED;
        return false;
      }
      at += result;
    }
    this.#forgetFragment();
    return true;
  }

  /** The end of a record that nobody will get: it was taken for written when its beginning had to stay. */
  #lose(rest: Uint8Array, errno: number): void {
    const { loss, counters } = this.#parts;
    loss.fail(errno);
    loss.drop(rest.length, 1);
    counters.droppedBytes += rest.length;
    counters.droppedRecords++;
    counters.writtenBytes -= rest.length;
  }

  /** What a FIFO holds goes with the last who has it open: that is us, when nobody has it open for reading (pipe(7)). */
  #tellUnread(): void {
    const { sys, diag, path } = this.#parts;
    const set = Int32Array.of(this.#fd, 0);
    if (sys.poll(set, 1, 0) <= 0 || (((set[1] ?? 0) >>> 16) & POLLERR) === 0) return;
    const bytes = sys.fionread(this.#fd);
    if (bytes > 0) diag.warn(`log ${path}: nobody has read its last ${bytes} bytes`);
  }

  #forgetFragment(): void {
    this.#rest = undefined;
    this.#state[DriverField.fragmentBytes] = 0;
  }

  #account(bytes: number): void {
    this.#state[DriverField.sizeBytes] = (this.#state[DriverField.sizeBytes] ?? 0) + bytes;
    this.#state[DriverField.totalBytes] = (this.#state[DriverField.totalBytes] ?? 0) + bytes;
    this.#parts.counters.writtenBytes += bytes;
  }
}

/** Waiting longer after each failure. */
class Backoff {
  untilMs = 0;
  errno = 0;
  #delayMs = 0;

  fail(errno: number, nowMs: number): void {
    this.errno = errno;
    this.#delayMs = this.failing ? Math.min(2 * this.#delayMs, RETRY_MOST_MS) : RETRY_FIRST_MS;
    this.untilMs = nowMs + this.#delayMs;
  }

  reset(): void {
    this.#delayMs = 0;
    this.untilMs = 0;
  }

  get failing(): boolean {
    return this.#delayMs > 0;
  }

  over(nowMs: number): boolean {
    return nowMs >= this.untilMs;
  }
}
