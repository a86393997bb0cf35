/**
 * The journald driver: one message a line, straight from the ring to journald's socket, many with one system call. Runs on
 * the log thread. A line that a batch leaves unfinished is held, at most 48 KiB of it, until its newline or the stream's
 * end comes; a prompt is not sent before, since entries of a letter each are no use to anybody. It never waits.
 */

import type { Kernel } from '../kernel/kernel.ts';
import { formatStateOffset, JournalField } from '../kernel/layout.ts';
import { EAGAIN } from '../native/constants.ts';
import type { Sys } from '../native/sys.ts';
import type { JournaldTarget, LogCounters } from '../proto/log-messages.ts';
import { STDERR, STDOUT, type Stream } from '../proto/stream.ts';
import type { LogDriver } from './driver.ts';
import { DriverField, type DriverState } from './driver-state.ts';
import { JournalSocket } from './journal-socket.ts';
import { commonFields } from './journald-fields.ts';
import type { Loss } from './loss.ts';

/** Longest content of one message; a longer line is split (contract section 6; C splits at 8 KiB). */
export const LINE_MAX_BYTES = 48 * 1024;
/** Messages of one sendmmsg. */
const BATCH_MOST = 128;
/** After a full socket: journald takes them one by one, and what was prepared for nothing costs too. */
const BATCH_LEAST = 8;
/** How long a journald that takes nothing may hold the container back before records are dropped. */
export const PATIENCE_MS = 2000;
/** How long one batch may keep the thread from everything else: a slow journal takes a message every now and then. */
const TURN_MS = 100;
/** A journal that is gone is tried again after so long, then twice as long, and so on. */
const RETRY_FIRST_MS = 100;
const RETRY_MOST_MS = 5000;

/** A message: the common fields, priority and length, the held part of the line, the rest of it, the end. */
const PARTS = 5;
const PRIORITY_AT = 9;
const SLOT_TEXT = Buffer.from('PRIORITY=6\nMESSAGE\n');
const SLOT_BYTES = 32;
/** The length that follows is 8 bytes, little endian; no line needs more than the first two. */
const SIZE_AT = SLOT_TEXT.length;
const SIZE_BYTES = 8;
const WHOLE_END = Buffer.from('\n');
const PARTIAL_END = Buffer.from('\nCONTAINER_PARTIAL_MESSAGE=true\n');

const INFO = 6;
const ERR = 3;
const LESS_THAN = 0x3c;
const GREATER_THAN = 0x3e;
const ZERO = 0x30;
const SEVEN = 0x37;
/** `<N>` */
const PREFIX_BYTES = 3;
/** Loss.text() stays below. */
const NOTICE_MAX_BYTES = 512;

/** One stream's place. Addresses are byte offsets in the shared memory. */
interface Lane {
  readonly defaultPriority: number;
  /** Index of its state's u32 words, see JournalField. */
  readonly words: number;
  /** {@link LINE_MAX_BYTES} for the held part of a line. */
  readonly held: number;
}

export interface JournaldParts {
  readonly sys: Sys;
  readonly memory: WebAssembly.Memory;
  readonly kernel: Kernel;
  readonly counters: LogCounters;
  readonly state: DriverState;
  readonly loss: Loss;
  /** Number of the first of two states, and the two output areas. */
  readonly firstState: number;
  readonly outputs: readonly [number, number];
  readonly outputBytes: number;
  /** A clock that only goes forward, ms. */
  readonly now?: () => number;
  /** Whether a message may wait a moment for room, see ./journal-socket.ts; absent = it may. */
  readonly waits?: boolean;
}

export class Journald implements LogDriver {
  readonly #parts: JournaldParts;
  readonly #now: () => number;
  readonly #socket: JournalSocket;
  readonly #bytes: Uint8Array;
  readonly #words: Uint32Array;
  readonly #lanes: Readonly<Record<Stream, Lane>>;
  /** Where common fields, slots, the two ends and the scanner's table lie. */
  readonly #fields: { readonly offset: number; readonly length: number };
  readonly #slots: number;
  readonly #wholeEnd: number;
  readonly #partialEnd: number;
  readonly #partialEndBytes: number;
  readonly #newlines: number;
  /** Text of the message that tells what was lost. */
  readonly #notice: number;
  /** What is being sent: the parts of each message, and what is true once it was. */
  readonly #table = new Uint32Array(2 * PARTS * BATCH_MOST);
  readonly #takenAfter = new Uint32Array(BATCH_MOST);
  readonly #partialAfter = new Uint8Array(BATCH_MOST);
  readonly #priorityAfter = new Uint8Array(BATCH_MOST);
  #count = 0;
  #batch = BATCH_MOST;
  /** The negative errno that stalls it; 0 = it is not stalled. */
  #stall = 0;
  /** Since when its socket has been full, with nothing taken since; 0 = it is not. */
  #fullSinceMs = 0;
  #retryAtMs = 0;
  #retryDelayMs = 0;
  /** What comes next is dropped. */
  #shedding = false;
  /** What it holds and wants is asked one by one. */
  readonly calm = false;
  /** A line that is held will get no end. */
  readonly #ended = new Set<Stream>();

  constructor(target: JournaldTarget, parts: JournaldParts) {
    this.#parts = parts;
    this.#now = parts.now ?? (() => performance.now());
    this.#socket = new JournalSocket(parts.sys, target.socketPath, parts.waits ?? true);
    this.#bytes = new Uint8Array(parts.memory.buffer);
    this.#words = new Uint32Array(parts.memory.buffer);
    const [first, second] = parts.outputs;
    this.#lanes = {
      [STDOUT]: { defaultPriority: INFO, words: formatStateOffset(parts.firstState) / 4, held: first },
      [STDERR]: { defaultPriority: ERR, words: formatStateOffset(parts.firstState + 1) / 4, held: second },
    };
    // Behind the held lines, the same each time: a thread that takes over writes what is there already.
    let at = first + LINE_MAX_BYTES;
    const place = (bytes: Uint8Array): number => {
      if (at + bytes.length > first + parts.outputBytes) throw new RangeError('journald: tag and labels are too long');
      this.#bytes.set(bytes, at);
      at += bytes.length;
      return at - bytes.length;
    };
    const fields = commonFields(target);
    this.#fields = { offset: place(fields), length: fields.length };
    this.#wholeEnd = place(WHOLE_END);
    this.#partialEnd = place(target.tellPartial ? PARTIAL_END : WHOLE_END);
    this.#partialEndBytes = target.tellPartial ? PARTIAL_END.length : WHOLE_END.length;
    const slots = Buffer.alloc(SLOT_BYTES * BATCH_MOST);
    for (let i = 0; i < BATCH_MOST; i++) SLOT_TEXT.copy(slots, SLOT_BYTES * i);
    this.#slots = place(slots);
    this.#notice = place(Buffer.alloc(NOTICE_MAX_BYTES));
    // Each stream has its own record in the ring, and one of them is scanned at a time.
    this.#newlines = (second + LINE_MAX_BYTES + 3) & ~3;
    // The thread before this one was stalled: the first thing is to try again.
    if (parts.loss.failing || parts.loss.owed) this.#stall = EAGAIN;
  }

  consume(stream: Stream, offset: number, length: number): boolean {
    if (this.#shedding) return this.#dropAll(stream, offset, length);
    if (this.#stall !== 0) return false;
    const { state, kernel } = this.#parts;
    const lane = this.#lanes[stream];
    const begunMs = this.#now();
    for (let taken = state[DriverField.takenBytes] ?? 0; taken < length; ) {
      const lines = kernel.scan(offset + taken, length - taken, this.#newlines, this.#batch);
      const planned = this.#plan(lane, offset, taken, length, lines);
      if (this.#count > 0) {
        const sent = this.#send();
        if (sent > 0) taken = this.#settleUp(lane, sent);
        state[DriverField.takenBytes] = taken;
        if (this.#stall !== 0) return false;
        if (taken < length && this.#now() - begunMs >= TURN_MS) {
          this.#batch = BATCH_LEAST; // one call of many messages would take longer than a turn by itself
          this.#fail(EAGAIN); // goes on as soon as the socket has room, after whatever else waits
          return false;
        }
        if (planned < length) continue;
      }
      this.#hold(lane, offset + taken, length - taken);
      taken = length;
    }
    state[DriverField.takenBytes] = 0;
    return true;
  }

  /** Only when it was said that nothing ever follows: see {@link holdsPartial}. */
  settle(stream: Stream, last: boolean): void {
    if (last) this.#ended.add(stream);
    if (!last || this.#stall !== 0) return;
    const lane = this.#lanes[stream];
    const held = this.#words[lane.words + JournalField.held / 4] ?? 0;
    if (held === 0) return;
    this.#count = 0;
    this.#add(lane, 0, 0, 0, true);
    if (this.#send() > 0) this.#settleUp(lane, 1);
  }

  /** A line is not cut for want of more, only at its stream's end. */
  holdsPartial(stream: Stream, last: boolean): boolean {
    return last && (this.#words[this.#lanes[stream].words + JournalField.held / 4] ?? 0) > 0;
  }

  get stalled(): boolean {
    return this.#stall !== 0;
  }

  get wakeAtMs(): number {
    if (this.#stall === 0) return Number.POSITIVE_INFINITY;
    if (this.waitFd === -1) return this.#retryAtMs;
    return this.patient ? this.#fullSinceMs + PATIENCE_MS : Number.POSITIVE_INFINITY;
  }

  get waitFd(): number {
    return this.#stall === EAGAIN ? this.#socket.fd : -1;
  }

  /** journald is there, and it is not long that it has taken nothing: a slow reader holds the container back, as in C. */
  get patient(): boolean {
    return this.#stall === EAGAIN && this.#fullSinceMs !== 0 && this.#now() - this.#fullSinceMs < PATIENCE_MS;
  }

  retry(): void {
    if (this.#stall === 0) return;
    const connected = this.#socket.connect();
    if (connected < 0) {
      this.#fail(connected);
      return;
    }
    this.#stall = 0;
    this.#tellLoss();
  }

  shed(): void {
    this.#shedding = true;
    for (const stream of this.#ended) {
      const lane = this.#lanes[stream];
      const held = this.#words[lane.words + JournalField.held / 4] ?? 0;
      this.#words[lane.words + JournalField.held / 4] = 0;
      if (held > 0) this.#drop(held, 1);
    }
  }

  /** There is no file. */
  reopen(): void {}

  /** What it keeps is small, and in use again with the next line. */
  rest(): void {}

  /** journald's to do. */
  sync(): void {}

  leave(): void {
    this.#socket.close();
  }

  close(): void {
    this.#socket.close();
    this.#parts.loss.report();
  }

  /**
   * Prepares the messages for `lines` lines from `taken` on, at most a batch; a long line makes several.
   * @returns up to where of the batch's `length` bytes they go; what is behind is an unfinished line when that is all.
   */
  #plan(lane: Lane, offset: number, taken: number, length: number, lines: number): number {
    this.#count = 0;
    let from = taken;
    let held = this.#words[lane.words + JournalField.held / 4] ?? 0;
    for (let line = 0; line < lines; line++) {
      const end = taken + (this.#words[this.#newlines / 4 + line] ?? 0);
      while (held + (end - 1 - from) > LINE_MAX_BYTES) {
        if (this.#count === this.#batch) return from;
        this.#add(lane, offset, from, LINE_MAX_BYTES - held, true);
        from += LINE_MAX_BYTES - held;
        held = 0;
      }
      if (this.#count === this.#batch) return from;
      this.#add(lane, offset, from, end - from, false);
      from = end;
      held = 0;
    }
    if (lines === this.#batch) return from;
    while (held + (length - from) > LINE_MAX_BYTES) {
      if (this.#count === this.#batch) return from;
      this.#add(lane, offset, from, LINE_MAX_BYTES - held, true);
      from += LINE_MAX_BYTES - held;
      held = 0;
    }
    return length;
  }

  /** One message: what is held, if it is the first, then `length` bytes of the batch at `offset + from`. */
  #add(lane: Lane, offset: number, from: number, length: number, partial: boolean): void {
    const index = this.#count++;
    let heldAt = lane.held;
    let heldBytes = index === 0 ? (this.#words[lane.words + JournalField.held / 4] ?? 0) : 0;
    let bodyAt = offset + from;
    let bodyBytes = length;
    const before = lane.words + JournalField.midLine / 4;
    const midLine = index === 0 ? this.#words[before] === 1 : this.#partialAfter[index - 1] === 1;
    let priority = lane.defaultPriority;
    if (midLine) {
      // All parts of a line are as important as its beginning said.
      priority =
        (index === 0 ? this.#words[lane.words + JournalField.priority / 4] : this.#priorityAfter[index - 1]) ?? 0;
    } else if (heldBytes + bodyBytes >= PREFIX_BYTES) {
      const first = this.#at(heldAt, heldBytes, bodyAt, 0);
      const digit = this.#at(heldAt, heldBytes, bodyAt, 1);
      const third = this.#at(heldAt, heldBytes, bodyAt, 2);
      if (first === LESS_THAN && digit >= ZERO && digit <= SEVEN && third === GREATER_THAN) {
        priority = digit - ZERO;
        const ofHeld = Math.min(PREFIX_BYTES, heldBytes);
        heldAt += ofHeld;
        heldBytes -= ofHeld;
        bodyAt += PREFIX_BYTES - ofHeld;
        bodyBytes -= PREFIX_BYTES - ofHeld;
      }
    }
    const slot = this.#slot(index, priority, heldBytes + bodyBytes);
    const end = partial ? this.#partialEnd : this.#wholeEnd;
    this.#row(index, slot, heldAt, heldBytes, bodyAt, bodyBytes, end, partial ? this.#partialEndBytes : 1);
    this.#takenAfter[index] = from + length;
    this.#partialAfter[index] = partial ? 1 : 0;
    this.#priorityAfter[index] = priority;
  }

  /** Byte `index` of a line whose beginning may be held. */
  #at(heldAt: number, heldBytes: number, bodyAt: number, index: number): number {
    return this.#bytes[index < heldBytes ? heldAt + index : bodyAt + index - heldBytes] ?? 0;
  }

  /** Priority and length of message `index`. @returns where they lie. */
  #slot(index: number, priority: number, size: number): number {
    const slot = this.#slots + SLOT_BYTES * index;
    this.#bytes[slot + PRIORITY_AT] = ZERO + priority;
    this.#bytes[slot + SIZE_AT] = size & 0xff;
    this.#bytes[slot + SIZE_AT + 1] = size >> 8;
    return slot;
  }

  #row(
    index: number,
    slot: number,
    heldAt: number,
    heldBytes: number,
    bodyAt: number,
    bodyBytes: number,
    end: number,
    endBytes: number,
  ): void {
    const table = this.#table;
    let at = 2 * PARTS * index;
    table[at++] = this.#fields.offset;
    table[at++] = this.#fields.length;
    table[at++] = slot;
    table[at++] = SIZE_AT + SIZE_BYTES;
    table[at++] = heldAt;
    table[at++] = heldBytes;
    table[at++] = bodyAt;
    table[at++] = bodyBytes;
    table[at++] = end;
    table[at] = endBytes;
  }

  /** Sends what was prepared, in order. @returns how many messages; fewer than all: it is stalled. */
  #send(): number {
    const connected = this.#socket.connect();
    if (connected < 0) {
      this.#fail(connected);
      return 0;
    }
    const { counters } = this.#parts;
    let sent = 0;
    while (sent < this.#count) {
      const rest = sent === 0 ? this.#table : this.#table.subarray(2 * PARTS * sent);
      const result = this.#socket.send(this.#bytes, rest, PARTS, this.#count - sent);
      counters.writes++;
      if (result < 0) {
        if (sent > 0) this.#progressed(sent);
        this.#fail(result);
        return sent;
      }
      sent += result;
    }
    this.#progressed(sent);
    return sent;
  }

  #progressed(sent: number): void {
    const { counters, loss } = this.#parts;
    this.#fullSinceMs = 0;
    this.#retryDelayMs = 0;
    this.#batch = sent < this.#count ? BATCH_LEAST : Math.min(2 * this.#batch, BATCH_MOST);
    if (loss.failing && !loss.owed) loss.recovered();
    counters.records += sent;
    for (let at = 1; at < 2 * PARTS * sent; at += 2) counters.writtenBytes += this.#table[at] ?? 0;
  }

  /** The first `sent` messages are gone. @returns up to where of the batch that is. */
  #settleUp(lane: Lane, sent: number): number {
    this.#words[lane.words + JournalField.held / 4] = 0;
    this.#words[lane.words + JournalField.midLine / 4] = this.#partialAfter[sent - 1] ?? 0;
    this.#words[lane.words + JournalField.priority / 4] = this.#priorityAfter[sent - 1] ?? 0;
    return this.#takenAfter[sent - 1] ?? 0;
  }

  /** Keeps the beginning of a line. There is room: what would be too long was prepared as a part. */
  #hold(lane: Lane, from: number, length: number): void {
    const word = lane.words + JournalField.held / 4;
    const held = this.#words[word] ?? 0;
    this.#bytes.copyWithin(lane.held + held, from, from + length);
    this.#words[word] = held + length;
  }

  /** From now on it is stalled. A full socket is no failure yet; a journal that is gone is one. */
  #fail(errno: number): void {
    const now = this.#now();
    this.#stall = errno;
    if (errno === EAGAIN) {
      if (this.#fullSinceMs === 0) this.#fullSinceMs = now;
      return;
    }
    this.#parts.loss.fail(errno);
    // journald may have been started anew, with a new socket.
    this.#socket.close();
    this.#fullSinceMs = 0;
    this.#retryDelayMs = this.#retryDelayMs === 0 ? RETRY_FIRST_MS : Math.min(2 * this.#retryDelayMs, RETRY_MOST_MS);
    this.#retryAtMs = now + this.#retryDelayMs;
  }

  /** The message that says what was lost, before the first one after the gap. */
  #tellLoss(): void {
    const { loss } = this.#parts;
    if (!loss.owed) return;
    const text = Buffer.from(`${loss.text()}\n`).subarray(0, NOTICE_MAX_BYTES);
    this.#bytes.set(text, this.#notice);
    this.#count = 1;
    this.#row(0, this.#slot(0, ERR, text.length), this.#notice, text.length, this.#notice, 0, this.#wholeEnd, 1);
    if (this.#send() === 1) loss.recovered();
  }

  /** Takes a batch without sending it: what of it ends is counted as lost, a line that is not over yet is held. */
  #dropAll(stream: Stream, offset: number, length: number): boolean {
    this.#shedding = false;
    const { state, kernel } = this.#parts;
    const lane = this.#lanes[stream];
    let from = state[DriverField.takenBytes] ?? 0;
    state[DriverField.takenBytes] = 0;
    const heldWord = lane.words + JournalField.held / 4;
    let bytes = 0;
    let records = 0;
    for (let found = BATCH_MOST; found === BATCH_MOST; ) {
      found = kernel.scan(offset + from, length - from, this.#newlines, BATCH_MOST);
      if (found === 0) break;
      const end = from + (this.#words[this.#newlines / 4 + found - 1] ?? 0);
      bytes += end - from + (this.#words[heldWord] ?? 0);
      records += found;
      this.#words[heldWord] = 0;
      this.#words[lane.words + JournalField.midLine / 4] = 0;
      from = end;
    }
    if ((this.#words[heldWord] ?? 0) + length - from <= LINE_MAX_BYTES) this.#hold(lane, offset + from, length - from);
    else {
      bytes += length - from + (this.#words[heldWord] ?? 0);
      records++;
      this.#words[heldWord] = 0;
      this.#words[lane.words + JournalField.midLine / 4] = 1;
      this.#words[lane.words + JournalField.priority / 4] = lane.defaultPriority;
    }
    if (records > 0) this.#drop(bytes, records);
    return true;
  }

  #drop(bytes: number, records: number): void {
    const { loss, counters } = this.#parts;
    loss.fail(this.#stall);
    loss.drop(bytes, records);
    counters.droppedBytes += bytes;
    counters.droppedRecords += records;
  }
}
