/**
 * A log file: whole records go in with one write a batch, and what cannot be written is counted, never waited for. Runs
 * on the log thread. It knows nothing of formats but that a record ends with a newline and holds no other.
 */

import { closeSync, fstatSync, fsyncSync, ftruncateSync, renameSync } from 'node:fs';
import type { Diag } from '../diag/diag.ts';
import { failureText, type Sys } from '../native/sys.ts';
import type { LogCounters } from '../proto/log-messages.ts';
import { createLog } from './open-log.ts';

const NEWLINE = 0x0a;

export class FileSink {
  readonly #sys: Sys;
  readonly #diag: Diag;
  readonly #counters: LogCounters;
  readonly #path: string;
  #fd: number;
  /** Bytes in the file, as far as we know: where its last whole record ends. */
  #sizeBytes: number;
  #failing = false;

  /** Takes `fd` (O_APPEND) over. */
  constructor(sys: Sys, diag: Diag, counters: LogCounters, path: string, fd: number) {
    this.#sys = sys;
    this.#diag = diag;
    this.#counters = counters;
    this.#path = path;
    this.#fd = fd;
    this.#sizeBytes = fstatSync(fd).size;
  }

  /** Writes whole records, `memory[offset..offset + length]`. What fails is counted and reported once until it works again. */
  write(memory: Uint8Array, offset: number, length: number): void {
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
    this.#sizeBytes += length;
    this.#counters.writtenBytes += length;
    this.#failing = false;
  }

  /**
   * Replaces the file by an empty one: `PATH.tmp`, renamed over PATH, so that whoever watches PATH sees it appear
   * (contract section 6). When that fails logging goes on in the old file.
   */
  reopen(): void {
    const temporary = `${this.#path}.tmp`;
    let fd: number;
    try {
      fd = createLog(temporary);
      renameSync(temporary, this.#path);
    } catch (error) {
      this.#diag.warn(`Failed to reopen log file ${this.#path}: ${failureText(error)}`);
      return;
    }
    closeSync(this.#fd);
    this.#fd = fd;
    this.#sizeBytes = 0;
  }

  sync(): void {
    try {
      fsyncSync(this.#fd);
    } catch (error) {
      // EINVAL: a FIFO or device, which has nothing to make durable (fsync(2)).
      this.#diag.debug(`Failed to sync log file ${this.#path}: ${failureText(error)}`);
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
    this.#sizeBytes += keptBytes;
    this.#counters.writtenBytes += keptBytes;
    if (keptBytes < written) this.#takeBack();
    let records = 0;
    for (let at = offset + keptBytes; at < offset + length; at++) if (memory[at] === NEWLINE) records++;
    this.#counters.droppedBytes += length - keptBytes;
    this.#counters.droppedRecords += records;
    if (!this.#failing) this.#diag.warn(`failed to write to log ${this.#path}: ${this.#sys.strerror(result)}`);
    this.#failing = true;
  }

  #takeBack(): void {
    try {
      ftruncateSync(this.#fd, this.#sizeBytes);
    } catch (error) {
      this.#diag.warn(`failed to cut an unfinished record off log ${this.#path}: ${failureText(error)}`);
    }
  }
}
