/**
 * A pump on the test's own thread: real pipes, the real ring, drivers that write down what they are told. Whenever the
 * pump is about to sleep the next step of the test's script runs instead of somebody else's work.
 */
import type { Test } from 'tap';
import { createMemory } from '../../../src/kernel/kernel.ts';
import { newCounters } from '../../../src/log/counters.ts';
import type { LogDriver } from '../../../src/log/driver.ts';
import { driverState } from '../../../src/log/driver-state.ts';
import { Loss } from '../../../src/log/loss.ts';
import { type DirectClients, Pump } from '../../../src/log/pump.ts';
import { O_CLOEXEC, O_NONBLOCK } from '../../../src/native/constants.ts';
import type { Rest } from '../../../src/native/rest.ts';
import { type Sys, sys } from '../../../src/native/sys.ts';
import type { ToLogWorker } from '../../../src/proto/log-messages.ts';
import { STDERR, STDOUT, type Stream } from '../../../src/proto/stream.ts';
import { RingConsumer } from '../../../src/ring/consumer.ts';
import { Doorbell, declareAwake, declareSleep } from '../../../src/ring/doorbell.ts';
import {
  ATTACH_CONSUMER,
  CONSUMER_COUNT,
  ConsumerState,
  ConsumerWord,
  consumerBase,
  LOG_CONSUMER,
  memoryBytes,
  type RingGeometry,
  Word,
} from '../../../src/ring/layout.ts';
import { RingProducer } from '../../../src/ring/producer.ts';
import { type Pipe, pipe, realSysBut } from '../native/fake-sys.ts';
import { Complaints } from '../session/complaints.ts';

/** A pump that polls more often than this without ever wanting to sleep is busy for nothing. */
const POLLS_MAX = 5000;
const SLEEP_LIMIT_MS = 2000;
const NEWLINE = 0x0a;

const NAMES: Readonly<Record<Stream, string>> = { [STDOUT]: 'out', [STDERR]: 'err' };

/** What drivers were told, in order: `out:text` for a batch, `out:settle` for a held part that was settled. */
class Journal implements LogDriver {
  readonly entries: string[] = [];
  readonly #bytes: Uint8Array;
  readonly #partial = new Map<Stream, boolean>();

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  consume(stream: Stream, offset: number, length: number): boolean {
    const batch = Buffer.from(this.#bytes.slice(offset, offset + length));
    this.entries.push(`${NAMES[stream]}:${batch.toString('latin1')}`);
    this.#partial.set(stream, batch.at(-1) !== NEWLINE);
    return true;
  }

  stalled = false;
  readonly patient = false;
  readonly wakeAtMs = Number.POSITIVE_INFINITY;
  readonly waitFd = -1;

  get calm(): boolean {
    return ![...this.#partial.values()].includes(true);
  }

  retry(): void {}

  sheds = 0;
  shed(): void {
    this.sheds++;
  }

  settle(stream: Stream): void {
    this.entries.push(`${NAMES[stream]}:settle`);
    this.#partial.set(stream, false);
  }

  holdsPartial(stream: Stream): boolean {
    return this.#partial.get(stream) ?? false;
  }

  reopen(): void {
    this.entries.push('reopen');
  }

  rests = 0;
  rest(): void {
    this.rests++;
  }
  leave(): void {}
  sync(): void {}

  close(): void {}
}

export interface PumpRigOptions {
  /** The clock by which reads are paced and sinks retried; absent = the real one. */
  readonly now?: () => number;
  /** Absent: the pump never gives memory back, and sleeps at once. */
  readonly rest?: Rest;
  readonly onRest?: () => void;
  readonly geometry?: Partial<RingGeometry>;
  /** System calls that are not the real ones; `poll` stays the rig's. */
  readonly calls?: Partial<Sys>;
  /** Whether an attach client holds the ring from the first byte on. */
  readonly client?: boolean;
  readonly terminal?: boolean;
  /** Whom short records are sent to; nobody. */
  readonly clients?: DirectClients;
}

const NOBODY: DirectClients = { send: () => false };

export class PumpRig {
  readonly out: Pipe = pipe(O_CLOEXEC | O_NONBLOCK);
  readonly err: Pipe = pipe(O_CLOEXEC | O_NONBLOCK);
  readonly counters = newCounters();
  readonly complaints = new Complaints();
  readonly journal: Journal;
  readonly doorbell: Doorbell;
  /** The attach worker's place in the ring. */
  readonly client: RingConsumer;
  readonly words: Int32Array;
  readonly producer: RingProducer;
  /** What happens while the pump would sleep, one after the other; after the last one main says `end`. */
  readonly steps: (() => void)[] = [];
  polls = 0;
  /** Called after each poll. */
  afterPolls: (() => void) | undefined;
  /** How often the pump went to sleep without a limit. */
  sleeps = 0;
  /** How often it left its sources alone for less than a millisecond, and what happens meanwhile. */
  pauses = 0;
  onPause: ((fds: readonly number[]) => void) | undefined;
  readonly #messages: ToLogWorker[] = [];
  readonly #pump: Pump;
  readonly #terminal: boolean;

  constructor(
    test: Test,
    { geometry = {}, calls = {}, client = false, terminal = false, clients = NOBODY, ...resting }: PumpRigOptions = {},
  ) {
    const sizes = { capacityBytes: 1 << 18, softBytes: 1 << 18, outputBytes: 64, outputCount: 1, ...geometry };
    const memory = createMemory(memoryBytes(sizes));
    const bytes = new Uint8Array(memory.buffer);
    this.#terminal = terminal;
    this.words = new Int32Array(memory.buffer);
    this.words[consumerBase(LOG_CONSUMER) + ConsumerWord.state] = ConsumerState.active;
    if (client) this.words[consumerBase(ATTACH_CONSUMER) + ConsumerWord.state] = ConsumerState.active;
    this.journal = new Journal(bytes);
    this.doorbell = new Doorbell(sys, Doorbell.createFd(sys));
    this.client = new RingConsumer(memory, sizes.capacityBytes, ATTACH_CONSUMER, this.doorbell);
    this.producer = new RingProducer(memory, sizes, new Array(CONSUMER_COUNT).fill(undefined));
    const state = driverState(memory, 0);
    this.#pump = new Pump({
      sys: realSysBut({ ...calls, poll: (set, count, timeoutMs) => this.#poll(set, count, timeoutMs) }),
      diag: this.complaints.diag,
      bytes,
      producer: this.producer,
      cursor: new RingConsumer(memory, sizes.capacityBytes, LOG_CONSUMER, undefined),
      drivers: [
        { driver: this.journal, state, loss: new Loss(sys, this.complaints.diag, 'journal', state), name: 'journal' },
      ],
      clients: clients,
      keepBytes: sizes.softBytes / 2,
      counters: this.counters,
      doorbell: this.doorbell,
      ...resting,
      declareSleep: () => declareSleep(this.words, Word.producerSleeps),
      declareAwake: () => declareAwake(this.words, Word.producerSleeps),
      onReopened: () => {},
      nextMessage: () => this.#messages.shift(),
    });
    test.teardown(() => {
      // The pump leaves what it was given to its owner.
      const fds = [this.out.writeFd, this.err.writeFd, this.doorbell.fd, this.out.readFd, this.err.readFd];
      for (const fd of fds) sys.close(fd);
    });
  }

  /** Main's `begin` with both streams. */
  begin(): void {
    const source = (fd: number, stream: Stream) => ({ fd, stream, terminal: this.#terminal && stream === STDOUT });
    this.tell({ kind: 'begin', sources: [source(this.out.readFd, STDOUT), source(this.err.readFd, STDERR)] });
  }

  end(drain = true): void {
    this.tell({ kind: 'end', drain });
  }

  tell(message: ToLogWorker): void {
    this.#messages.push(message);
    this.doorbell.ring();
  }

  /** Writes to one of the container's pipes. Throws when it does not take all. */
  print(text: string, to: Pipe = this.out): void {
    const bytes = Buffer.from(text, 'latin1');
    const result = sys.write(to.writeFd, bytes, 0, bytes.length);
    if (result !== bytes.length) throw new Error(`print: ${result}`);
  }

  /** Runs the pump to its end and answers what the driver was told. */
  run(): readonly string[] {
    this.#pump.run();
    return this.journal.entries;
  }

  /** All batches of a stream, joined. */
  text(stream: Stream): string {
    const prefix = `${NAMES[stream]}:`;
    const batches = this.journal.entries.filter((entry) => entry.startsWith(prefix) && entry !== `${prefix}settle`);
    return batches.map((entry) => entry.slice(prefix.length)).join('');
  }

  /** What lies in the shared memory. */
  textOf(offset: number, length: number): string {
    return Buffer.from(this.words.buffer, offset, length).toString('latin1');
  }

  #poll(set: Int32Array, count: number, timeoutMs: number): number {
    if (++this.polls > POLLS_MAX) throw new Error('the pump is busy for nothing');
    if (timeoutMs < 0) {
      this.sleeps++;
      const step = this.steps.shift();
      if (step) step();
      else this.end();
    }
    if (timeoutMs > 0 && timeoutMs < 1) {
      this.pauses++;
      this.onPause?.([...set.subarray(0, 2 * count)].filter((fd, index) => index % 2 === 0 && fd !== -1));
    }
    const result = sys.poll(set, count, timeoutMs < 0 ? SLEEP_LIMIT_MS : timeoutMs);
    this.afterPolls?.();
    if (result === 0 && timeoutMs < 0) throw new Error(`nobody woke the pump: ${JSON.stringify([...set])}`);
    return result;
  }
}
