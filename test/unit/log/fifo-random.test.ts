/**
 * A FIFO whose readers come, read some bytes and go, at random: each byte that was logged is a reader's, is what the FIFO
 * holds at the end, or is counted as lost. What a reader has taken out is his, also what he does nothing with.
 */
import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { newCounters } from '../../../src/log/counters.ts';
import { DriverField, ownDriverState } from '../../../src/log/driver-state.ts';
import type { FileSink } from '../../../src/log/file-sink.ts';
import { LOG_FLAGS } from '../../../src/log/open-log.ts';
import { EPIPE, F_SETPIPE_SZ, O_NONBLOCK } from '../../../src/native/constants.ts';
import { sys } from '../../../src/native/sys.ts';
import { type Random, seededRandom } from '../../helpers/random.ts';
import { realSysBut, SEED } from '../native/fake-sys.ts';
import { Complaints } from '../session/complaints.ts';
import { fileSink } from './sink-rig.ts';

const PIPE_BYTES = 4096;
const NOTICE = 'notice: ';

/** Record `id`, which says how long it is; no end of one looks like a beginning. */
const record = (id: number, fillBytes: number): string => `<${id}|${fillBytes}|${'x'.repeat(fillBytes)}>\n`;

/** What a line is: a whole record, which one; only a record's beginning, of which one if that can be told; or a notice. */
function kindOf(line: string): { whole: boolean; id: number } | 'notice' | 'no beginning' {
  if (line.startsWith(NOTICE) || (line !== '' && NOTICE.startsWith(line))) return 'notice';
  const match = /^<(\d+)\|(\d+)\|(x*)(>?)$/.exec(line);
  if (match !== null) {
    const [, id, fill, x = '', end] = match;
    return { whole: end === '>' && x.length === Number(fill), id: Number(id) };
  }
  return /^<\d*\|?\d*$/.test(line) ? { whole: false, id: -1 } : 'no beginning';
}

/** A FIFO, its sink, and who reads it. */
class Rig {
  readonly random: Random;
  readonly dir = mkdtempSync(join(tmpdir(), 'conmon-fifo-'));
  readonly path = join(this.dir, 'fifo');
  readonly counters = newCounters();
  readonly complaints = new Complaints('info');
  readonly state = ownDriverState();
  readonly fd: number;
  nowMs = 0;
  sink: FileSink;
  reader: number;
  /** What each reader got. */
  readonly got: string[] = [''];
  /** What went into the FIFO; of that, beginnings of records that a reader took with him, and the next one gets again. */
  enteredBytes = 0;
  repeatedBytes = 0;
  #refusedAtBytes = 0;
  /** Where in {@link complaints} a record of a loss was worded, and how long it is. */
  readonly #notices: { readonly at: number; readonly bytes: number }[] = [];
  sentBytes = 0;
  sentRecords = 0;
  held = '';

  constructor(random: Random) {
    this.random = random;
    sys.mkfifo(this.path, 0o600);
    this.reader = openSync(this.path, O_NONBLOCK);
    this.fd = openSync(this.path, LOG_FLAGS);
    sys.fcntl(this.fd, F_SETPIPE_SZ, PIPE_BYTES);
    this.sink = this.takeOver();
  }

  takeOver(): FileSink {
    const { counters, path, fd, state } = this;
    const write: typeof sys.write = (...call) => {
      const result = sys.write(...call);
      this.enteredBytes += Math.max(result, 0);
      if (result === EPIPE) this.#refusedAtBytes = state[DriverField.fragmentBytes] ?? 0;
      return result;
    };
    return fileSink({
      ...{ sys: realSysBut({ write }), diag: this.complaints.diag, counters, path, fd, state },
      now: () => this.nowMs,
      notice: (text) => {
        const bytes = Buffer.from(`${NOTICE}${text}\n`);
        this.#notices.push({ at: this.complaints.lines.length, bytes: bytes.length });
        return bytes;
      },
    });
  }

  /** A call of the sink. */
  #call<T>(call: () => T): T {
    this.#refusedAtBytes = 0;
    const result = call();
    if (this.#refusedAtBytes > 0 && this.state[DriverField.fragmentBytes] === 0)
      this.repeatedBytes += this.#refusedAtBytes;
    return result;
  }

  /** Records of losses that the log has. */
  get toldBytes(): number {
    let sum = 0;
    this.complaints.lines.forEach((line, index) => {
      if (/can be written again, dropped/.test(line))
        sum += this.#notices.findLast(({ at }) => at <= index)?.bytes ?? 0;
    });
    return sum;
  }

  read(wantBytes: number): number {
    const bytes = Buffer.alloc(wantBytes);
    const length = Math.max(sys.read(this.reader, bytes, 0, wantBytes), 0);
    this.got[this.got.length - 1] += bytes.toString('latin1', 0, length);
    return length;
  }

  leaves(): void {
    if (this.reader !== -1) closeSync(this.reader);
    this.reader = -1;
  }

  comes(): void {
    this.leaves();
    this.reader = openSync(this.path, O_NONBLOCK);
    this.got.push('');
  }

  say(): void {
    for (let i = this.random.below(4); i >= 0; i--) {
      const text = record(this.sentRecords++, this.random.below(this.random.pick([10, 1000, 9000])));
      this.sentBytes += text.length;
      this.held += text;
    }
    this.flush();
  }

  flush(): void {
    while (this.held !== '' && !this.sink.stalled) {
      const bytes = Buffer.from(this.held, 'latin1');
      this.held = this.held.slice(this.#call(() => this.sink.write(bytes, 0, bytes.length)));
    }
  }

  retry(): void {
    this.nowMs += 10_000;
    this.#call(() => this.sink.retry());
    this.flush();
  }

  drop(): void {
    if (!this.sink.stalled || this.held === '') return;
    const bytes = Buffer.from(this.held, 'latin1');
    this.sink.drop(bytes, 0, bytes.length);
    this.held = '';
  }

  /** A thread gives the log to another one. */
  move(): void {
    this.sink.leave();
    this.sink = this.takeOver();
    this.retry();
  }

  step(): void {
    const what = this.random.below(10);
    if (what < 3) this.say();
    else if (what < 5) this.retry();
    else if (what < 7 && this.reader !== -1) this.read(1 + this.random.below(2 * PIPE_BYTES));
    else if (what === 7) this.leaves();
    else if (what === 8) this.comes();
    else if (this.random.below(2) === 0) this.drop();
    else this.move();
  }

  /** The container's end. @returns what the FIFO holds that nobody will get. */
  end(): number {
    this.retry();
    this.drop();
    this.#call(() => this.sink.close());
    if (this.reader !== -1) {
      while (this.read(PIPE_BYTES) > 0) {}
      this.leaves();
    }
    rmSync(this.dir, { recursive: true });
    const told = this.complaints.lines.map((line) => /nobody has read its last (\d+) bytes$/.exec(line)?.[1]);
    return Number(told.find((bytes) => bytes !== undefined) ?? 0);
  }
}

/** What the readers got, as records: each whole one, and the pieces that were all that somebody got of one. */
function recordsOf(got: readonly string[]) {
  const ids: number[] = [];
  const malformed: string[] = [];
  let pieces = 0;
  let carry = '';
  const take = (line: string, ended: boolean) => {
    const kind = kindOf(line);
    if (kind === 'no beginning') malformed.push(line.slice(0, 40));
    else if (kind !== 'notice' && kind.whole && ended) ids.push(kind.id);
    else if (kind !== 'notice') pieces++;
  };
  for (const text of got.filter((each) => each !== '')) {
    const lines = text.split('\n');
    // What follows another reader's last bytes goes on where he stopped, or begins anew.
    if (carry !== '' && kindOf(lines[0] ?? '') === 'no beginning') lines[0] = carry + lines[0];
    else if (carry !== '') take(carry, false);
    carry = lines.pop() ?? '';
    for (const line of lines) take(line, true);
  }
  if (carry !== '') take(carry, false);
  return { ids, malformed, pieces };
}

t.test(`whoever reads a FIFO, and how much of it: the account is right to the byte, seed ${SEED}`, async (t) => {
  const random = seededRandom(SEED);
  const sums = { dropped: 0, pieces: 0, repeated: 0, unread: 0 };
  for (let round = 0; round < 200; round++) {
    const rig = new Rig(random);
    for (let i = 0; i < 60; i++) rig.step();
    const unreadBytes = rig.end();
    const { writtenBytes, droppedBytes } = rig.counters;
    const { ids, malformed, pieces } = recordsOf(rig.got);
    const readBytes = rig.got.reduce((sum, { length }) => sum + length, 0);
    const account = {
      'read and told as unread': readBytes + unreadBytes,
      'counted as written': writtenBytes,
      'counted as written or dropped': writtenBytes + droppedBytes,
      'what is no record': malformed,
      'whole records': ids,
    };
    t.same(
      account,
      {
        'read and told as unread': rig.enteredBytes,
        'counted as written': rig.enteredBytes - rig.repeatedBytes,
        'counted as written or dropped': rig.sentBytes + rig.toldBytes,
        'what is no record': [],
        'whole records': [...new Set(ids)].sort((a, b) => a - b),
      },
      `round ${round}`,
    );
    sums.dropped += droppedBytes;
    sums.pieces += pieces;
    sums.repeated += rig.repeatedBytes;
    sums.unread += unreadBytes;
  }
  for (const [what, sum] of Object.entries(sums)) t.ok(sum > 0, `${what}: ${sum}`);
});
