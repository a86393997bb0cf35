/** Sessions that share their threads and, one after the other, their memory: none finds anything of another. */
import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { Diag } from '../../../src/diag/diag.ts';
import {
  F_DUPFD_CLOEXEC,
  O_CLOEXEC,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_SEQPACKET,
} from '../../../src/native/constants.ts';
import { type Sys, sys } from '../../../src/native/sys.ts';
import { Doorbell } from '../../../src/ring/doorbell.ts';
import { Output } from '../../../src/threads/output.ts';
import { SharedPool } from '../../../src/threads/shared-pool.ts';
import { AttachClient } from '../../helpers/attach-client.ts';
import { waitFor } from '../../helpers/wait.ts';
import { fakeSys, realSysBut, textOf } from '../native/fake-sys.ts';
import { Streams } from './rig.ts';

const BACKLOG = 10;
const EMFILE = -24;

/** Memories so far. Their buffers do not tell: a shared memory that has grown may have another one each time it is asked. */
let made = 0;
const Memory = WebAssembly.Memory;
WebAssembly.Memory = class extends Memory {
  constructor(...descriptor: ConstructorParameters<typeof Memory>) {
    super(...descriptor);
    made++;
  }
};

/** A pool, and what its sessions have asked the kernel for. */
class Place {
  readonly lines: string[] = [];
  /** Called with each line as it is said, before anything else is done about it. */
  onLine: (line: string) => void = () => {};
  readonly diag = new Diag(
    fakeSys({
      write: (_fd, bytes, offset, length) => {
        const line = textOf(bytes, offset, length).trimEnd();
        this.lines.push(line);
        this.onLine(line);
        return length;
      },
    }),
    { level: 'error', syslogName: undefined },
  );
  /** How often a session has given its memory back. */
  given = 0;
  readonly #madeBefore = made;
  /** In the order in which they were made: each session's two, and each thread's behind that of its first session. */
  readonly eventfds: number[] = [];
  isOutOfFds = false;
  readonly pool: SharedPool;
  readonly sys: Sys;
  readonly #test: Test;

  constructor(test: Test) {
    this.#test = test;
    this.sys = realSysBut({
      madvise: (bytes, advice) => {
        // The rest of a memory is given back together with its last page, whatever is done with the pages that each session uses.
        if (bytes.byteOffset + bytes.byteLength === bytes.buffer.byteLength) this.given++;
        return sys.madvise(bytes, advice);
      },
      eventfd: (initial, flags) => {
        if (this.isOutOfFds) return EMFILE;
        const fd = sys.eventfd(initial, flags);
        this.eventfds.push(fd);
        return fd;
      },
    });
    this.pool = new SharedPool(this.sys, this.diag);
  }

  session(log = true): Place.Session {
    return new Place.Session(this, this.#test, log);
  }

  /** Makes an eventfd something that cannot be read, and wakes who polls it. @returns how to make it good again. */
  spoil(bellFd: number): () => void {
    const copyFd = sys.fcntl(bellFd, F_DUPFD_CLOEXEC, 3);
    const directory = openSync('/', 'r');
    sys.dup3(directory, bellFd, O_CLOEXEC);
    closeSync(directory);
    new Doorbell(sys, copyFd).ring();
    return () => {
      sys.dup3(copyFd, bellFd, O_CLOEXEC);
      sys.close(copyFd);
    };
  }

  /** Threads do not end by themselves: each is killed, and heard of. */
  async end(...bells: readonly number[]): Promise<void> {
    for (const bell of bells) {
      const deaths = this.deaths;
      this.spoil(bell);
      await waitFor('the death of the thread', () => this.deaths > deaths);
    }
  }

  /** How many memories its sessions had together. */
  get memories(): number {
    return made - this.#madeBefore;
  }

  get deaths(): number {
    return this.lines.filter((line) => /thread of joined execs died/.test(line)).length;
  }

  static readonly Session = class {
    readonly streams: Streams;
    readonly output: Output;
    readonly path: string;
    readonly #listenFd = sys.socket(SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK);

    constructor(place: Place, test: Test, log: boolean) {
      this.streams = new Streams(test);
      this.path = join(this.streams.dir, 'attach');
      if (sys.bind(this.#listenFd, this.path) < 0 || sys.listen(this.#listenFd, BACKLOG) < 0) throw new Error('listen');
      const plan = log ? this.streams.plan() : this.streams.nowhere;
      this.output = new Output(place.sys, place.diag, plan, this.streams.onEnded, place.pool);
    }

    /** Sources are copies: the output closes what it is given. */
    begin(): void {
      const copies = this.streams.sources.map((each) => ({ ...each, fd: sys.fcntl(each.fd, F_DUPFD_CLOEXEC, 3) }));
      this.output.begin(copies, -1);
    }

    async client(): Promise<AttachClient> {
      const client = await AttachClient.connect(this.path);
      const plan = { listenFd: this.#listenFd, closeStdin: false, unusedMs: 60_000, stallTimeoutMs: 0 };
      try {
        this.output.startAttach({ ...plan, diag: { level: 'error', syslogName: undefined } }, () => undefined);
      } catch (error) {
        client.close();
        throw error;
      }
      return client;
    }

    async end(): Promise<void> {
      this.output.end(true);
      await this.streams.ended();
      await new Promise<void>((resolve) => this.output.whenClosed(resolve));
      sys.close(this.#listenFd);
    }
  };
}
declare namespace Place {
  type Session = InstanceType<typeof Place.Session>;
}

t.test('one after the other: one memory, and each log has its own lines and no others', async (t) => {
  const place = new Place(t);
  for (let i = 0; i < 30; i++) {
    const one = place.session();
    one.begin();
    // Of all lengths, so that what the one before has left would be behind or in the middle of it.
    const text = `session ${i} `.repeat(1 + ((i * 7919) % 5000));
    await one.streams.print(`${text}\nlast`);
    if (i % 3 === 0) await one.streams.print(`bad ${i}\n`, one.streams.err);
    await one.end();
    const contents = (stream: string) =>
      one.streams.records.filter((each) => each.startsWith(stream)).map((each) => each.slice(`${stream} F `.length));
    t.equal(contents('stdout').join(''), `${text}last`, `session ${i}`);
    t.same(contents('stderr'), i % 3 === 0 ? [`bad ${i}`] : []);
  }
  t.equal(place.given, 30);
  t.equal(place.memories, 1, 'one memory');
  t.same(place.lines, []);
  await place.end(place.eventfds[2] ?? -1);
});

t.test('many at once, and again: what was given back is used, and nothing is mixed up', async (t) => {
  const place = new Place(t);
  for (let round = 0; round < 3; round++) {
    const all = Array.from({ length: 20 }, () => place.session());
    for (const one of all) one.begin();
    await Promise.all(all.map((one, i) => one.streams.print(`${round} ${i}\n`.repeat(1000))));
    await Promise.all(all.map((one) => one.end()));
    for (const [i, one] of all.entries())
      t.strictSame(new Set(one.streams.records), new Set([`stdout F ${round} ${i}`]), `${round} ${i}`);
    t.ok(all.every((one) => one.streams.records.length === 1000));
  }
  t.equal(place.given, 60);
  t.equal(place.memories, 20 + 12 + 12, 'eight are kept each time');
  await place.end(place.eventfds[2] ?? -1);
});

t.test('what is said first is heard, also when the thread was woken for others before', async (t) => {
  const place = new Place(t);
  const busy = place.session();
  busy.begin();
  for (let i = 0; i < 20; i++) {
    const late = place.session(i % 3 !== 0);
    const client = i % 2 === 0 ? await late.client() : undefined;
    await busy.streams.print(`busy ${i}\n`);
    await waitFor('its line', () => busy.streams.records.at(-1) === `stdout F busy ${i}`);
    late.begin();
    await late.streams.print(`late ${i}`);
    if (client) await client.waitForText(`late ${i}`);
    else if (i % 3 !== 0) await waitFor('the prompt', () => late.streams.records[0] === `stdout P late ${i}`);
    await late.end();
    client?.close();
  }
  await busy.end();
  // The first session's two, the log thread's, the first client's session's two, the attach thread's.
  await place.end(place.eventfds[2] ?? -1, place.eventfds[5] ?? -1);
});

t.test('an attached client gets nothing of a session that had the memory before', async (t) => {
  const place = new Place(t);
  for (let i = 0; i < 10; i++) {
    const one = place.session(i % 2 === 0);
    one.begin();
    const client = await one.client();
    const text = `${i}`.repeat(i % 2 === 0 ? 100_000 : 10);
    await one.streams.print(text);
    await client.waitForText(text);
    await one.end();
    await client.waitForEnd();
    t.equal(client.text, text, `session ${i}`);
    client.close();
  }
  t.equal(place.given, 10);
  t.equal(place.memories, 2, 'with outputs for a log, and without');
  // The threads' doorbells: the log's behind the first session's two, the attach thread's behind that.
  await place.end(...place.eventfds.slice(2, 4));
});

t.test('a client that is still being served keeps its session’s memory from the next one', async (t) => {
  const place = new Place(t);
  const one = place.session();
  one.begin();
  const client = await one.client();
  await one.streams.print('first\n');
  await client.waitForText('first\n');
  client.pause();
  const secret = 's'.repeat(900_000); // more than a socket holds
  await one.streams.print(secret);
  const over = one.end();
  await waitFor('the end of the log', () => one.streams.records.at(-1)?.startsWith('stdout P') === true);
  const other = place.session();
  other.begin();
  await other.streams.print('other\n');
  await other.end();
  t.same(other.streams.records, ['stdout F other']);
  t.equal(place.given, 1, 'of the other one alone');
  client.read();
  await client.waitForEnd();
  await over;
  t.equal(client.text, `first\n${secret}`);
  client.close();
  t.equal(place.memories, 2);
  await place.end(...place.eventfds.slice(2, 4));
});

t.test(
  'a loop that dies: its session goes on with another, the others notice nothing, its memory is not used again',
  async (t) => {
    const place = new Place(t);
    const [one, other] = [place.session(), place.session()];
    for (const each of [one, other]) each.begin();
    for (const each of [one, other]) await each.streams.print('before\n');
    await waitFor('the logs', () => [one, other].every((each) => each.streams.records.length === 1));
    const mend = place.spoil(place.eventfds[0] ?? -1); // the first session's own
    place.onLine = (line) => {
      if (line.includes('log worker died (1 of 3)')) mend();
    };
    await waitFor('the death', () => place.lines.length > 0);
    for (const each of [one, other]) await each.streams.print('after\n');
    for (const each of [one, other]) await each.end();
    for (const each of [one, other]) t.same(each.streams.records, ['stdout F before', 'stdout F after']);
    t.equal(place.given, 1);
    const next = place.session();
    next.begin();
    await next.streams.print('next\n');
    await next.end();
    t.same(next.streams.records, ['stdout F next']);
    t.equal(place.memories, 2, 'the other one’s again');
    t.equal(place.deaths, 0);
    await place.end(place.eventfds[2] ?? -1);
  },
);

t.test('a thread that dies: all sessions go on with another, which is given their memory', async (t) => {
  const place = new Place(t);
  const first = place.session();
  first.begin();
  await first.streams.print('first\n');
  await first.end();
  const all = Array.from({ length: 3 }, () => place.session());
  for (const one of all) one.begin();
  for (const one of all) await one.streams.print('before\n');
  await waitFor('the logs', () => all.every((one) => one.streams.records.length === 1));
  await place.end(place.eventfds[2] ?? -1);
  for (const one of all) await one.streams.print('after\n');
  for (const one of all) await one.end();
  for (const one of all) t.same(one.streams.records, ['stdout F before', 'stdout F after']);
  const last = place.session();
  last.begin();
  await last.streams.print('last\n');
  await last.end();
  t.same(last.streams.records, ['stdout F last']);
  await place.end(place.eventfds[2 + 1 + 2 * 3] ?? -1);
});

t.test(
  'a client for whom no thread can be started leaves nothing behind: no record is kept, nobody waits',
  async (t) => {
    const place = new Place(t);
    const session = place.session();
    session.begin();
    await session.streams.print('one\n');
    await waitFor('the first line', () => session.streams.records.length === 1);
    place.isOutOfFds = true;
    await t.rejects(session.client(), /eventfd/);
    place.isOutOfFds = false;
    const lines = 100_000;
    for (let i = 0; i < 100; i++) await session.streams.print(`${'y'.repeat(99)}\n`.repeat(lines / 100)); // laps of the ring
    const client = await session.client();
    await session.streams.print('last\n');
    await client.waitForText(/last\n$/);
    await session.end();
    await client.waitForEnd();
    client.close();
    const whole = session.streams.records.filter((record) => record.startsWith('stdout F'));
    t.equal(whole.length, lines + 2);
    await place.end(place.eventfds[2] ?? -1, place.eventfds[3] ?? -1);
  },
);
