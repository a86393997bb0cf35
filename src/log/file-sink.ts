/**
 * A log file: whole records go in with one write a batch, and what cannot be written is counted, never waited for. Runs
 * on the log thread. It knows nothing of formats but that a record ends with a newline and holds no other.
 */

import { closeSync, fstatSync, fsyncSync, ftruncateSync, renameSync, unlinkSync } from 'node:fs';
import type { Diag } from '../diag/diag.ts';
import { O_CLOEXEC } from '../native/constants.ts';
import { failureText, type Sys } from '../native/sys.ts';
import type { LogCounters, SizeLimits } from '../proto/log-messages.ts';
import { createLog } from './open-log.ts';

const NEWLINE = 0x0a;
/** A file that cannot be replaced now is not tried at every record. */
const REOPEN_RETRY_MS = 1000;

export class FileSink {
  readonly #sys: Sys;
  readonly #diag: Diag;
  readonly #counters: LogCounters;
  readonly #path: string;
  readonly #limits: SizeLimits;
  #fd: number;
  /** Bytes in the file, as far as we know: where its last whole record ends. */
  #sizeBytes: number;
  /** Bytes that the limits count: what the file held at the start, and what was written since. */
  #totalBytes: number;
  #failing = false;
  /** When a file that could not be replaced is tried again; until then it grows on, rather than lose records. 0 = it can. */
  #retryAtMs = 0;

  /** Takes `fd` (O_APPEND) over. */
  constructor(
    sys: Sys,
    diag: Diag,
    counters: LogCounters,
    path: string,
    fd: number,
    limits: SizeLimits = { fileMaxBytes: Number.POSITIVE_INFINITY, globalMaxBytes: Number.POSITIVE_INFINITY },
  ) {
    this.#limits = limits;
    this.#sys = sys;
    this.#diag = diag;
    this.#counters = counters;
    this.#path = path;
    this.#fd = fd;
    this.#sizeBytes = fstatSync(fd).size;
    this.#totalBytes = this.#sizeBytes;
  }

  /**
   * Writes whole records, `memory[offset..offset + length]`, within the limits: a file that would pass its maximum is
   * replaced first, between two records; beyond the global maximum nothing is written. What fails is counted and
   * reported, once until it works again.
   */
  write(memory: Uint8Array, offset: number, length: number): void {
    const end = this.#withinGlobal(memory, offset, offset + length);
    for (let at = offset; at < end; ) {
      const cut = this.#withinFile(memory, at, end);
      if (cut === at) this.reopen();
      else {
        this.#writeOut(memory, at, cut - at);
        at = cut;
      }
    }
  }

  /** Up to where the global maximum allows: the record that reaches it is the last one (conmon.8, --log-global-size-max). */
  #withinGlobal(memory: Uint8Array, from: number, end: number): number {
    const left = this.#limits.globalMaxBytes - this.#totalBytes;
    if (end - from <= left) return end;
    const cut = left <= 0 ? from : memory.indexOf(NEWLINE, from + left - 1) + 1;
    this.#counters.beyondLimitBytes += end - cut;
    return cut;
  }

  /** Up to where this file takes records; `from` itself when not even one more fits. A record that no file holds goes in alone. */
  #withinFile(memory: Uint8Array, from: number, end: number): number {
    const left = this.#limits.fileMaxBytes - this.#sizeBytes;
    if (end - from <= left || Date.now() < this.#retryAtMs) return end;
    const cut = left <= 0 ? 0 : memory.lastIndexOf(NEWLINE, from + left - 1) + 1;
    if (cut > from) return cut;
    return this.#sizeBytes === 0 ? memory.indexOf(NEWLINE, from) + 1 : from;
  }

  #writeOut(memory: Uint8Array, offset: number, length: number): void {
    let written = 0;
    while (written < length) {
      const result = this.#sys.write(this.#fd, memory, offset + written, length - written);
      this.#counters.writes++;
      if (result <= 0) {
        this.#drop(memory, offset, written, length, result);
        return;
      }
      written += result;
    }
    this.#account(length);
    this.#failing = false;
  }

  #account(bytes: number): void {
    this.#sizeBytes += bytes;
    this.#totalBytes += bytes;
    this.#counters.writtenBytes += bytes;
  }

  /**
   * Replaces the file by an empty one: `PATH.tmp`, renamed over PATH, so that whoever watches PATH sees it appear
   * (contract section 6). When that fails logging goes on in the old file.
   */
  reopen(): void {
    const temporary = `${this.#path}.tmp`;
    let fd = -1;
    try {
      fd = createLog(temporary);
      renameSync(temporary, this.#path);
      // Onto the same number: a worker that takes over after a crash was told that one.
      const result = this.#sys.dup3(fd, this.#fd, O_CLOEXEC);
      if (result < 0) throw new Error(this.#sys.strerror(result));
      this.#sizeBytes = 0;
      this.#retryAtMs = 0;
    } catch (error) {
      this.#diag.warn(`Failed to reopen log file ${this.#path}: ${failureText(error)}`);
      this.#retryAtMs = Date.now() + REOPEN_RETRY_MS;
      discard(temporary);
    }
    if (fd !== -1) closeSync(fd);
  }

  sync(): void {
    try {
      fsyncSync(this.#fd);
    } catch (error) {
      // EINVAL: a FIFO or device, which has nothing to make durable (fsync(2)).
      const harmless = error instanceof Error && 'code' in error && (error.code === 'EINVAL' || error.code === 'EROFS');
      const text = `Failed to sync log file ${this.#path}: ${failureText(error)}`;
      if (harmless) this.#diag.debug(text);
      else this.#diag.warn(text);
    }
  }

  close(): void {
    closeSync(this.#fd);
    this.#fd = -1;
  }

  /** Keeps the records that were written whole and counts the others. A record's written beginning is taken back. */
  #drop(memory: Uint8Array, offset: number, written: number, length: number, result: number): void {
    const whole = written === 0 ? 0 : memory.lastIndexOf(NEWLINE, offset + written - 1) + 1 - offset;
    const keptBytes = Math.max(whole, 0);
    this.#account(keptBytes);
    if (keptBytes < written) this.#takeBack(written - keptBytes);
    let records = 0;
    for (let at = offset + keptBytes; at < offset + length; at++) if (memory[at] === NEWLINE) records++;
    this.#counters.droppedBytes += length - keptBytes;
    this.#counters.droppedRecords += records;
    if (!this.#failing) this.#diag.warn(`failed to write to log ${this.#path}: ${this.#sys.strerror(result)}`);
    this.#failing = true;
  }

  /** Off the end of the file as it is now: somebody may have emptied it meanwhile. */
  #takeBack(unfinishedBytes: number): void {
    try {
      ftruncateSync(this.#fd, Math.max(fstatSync(this.#fd).size - unfinishedBytes, 0));
    } catch (error) {
      this.#diag.warn(`failed to cut an unfinished record off log ${this.#path}: ${failureText(error)}`);
    }
  }
}

function discard(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // It was never made, or was renamed: what failed is reported.
  }
}
