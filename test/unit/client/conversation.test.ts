/** What goes on between our streams and a container: our streams are pipes of the test's, the container a socket of its own. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { AttachClient } from '../../../src/client/attach-client.ts';
import { type ConversationPlan, type ConversationSys, converse } from '../../../src/client/conversation.ts';
import { EIO, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_SEQPACKET } from '../../../src/native/constants.ts';
import { type Sys, sys } from '../../../src/native/sys.ts';
import { waitFor } from '../../helpers/wait.ts';
import { aPipe, type Pipe, realSysBut } from '../native/fake-sys.ts';

const STDIN = 0;
const STDOUT = 1;
const NO_KEYS = new Uint8Array(0);

/** A container that somebody is attached to, and who that is. */
class Talk {
  readonly stdin: Pipe;
  readonly stdout: Pipe;
  readonly stderr: Pipe;
  readonly client: AttachClient;
  readonly container: number;
  readonly stop = new AbortController();
  /** How often our stdin was read. */
  reads = 0;
  /** Fds that are watched. */
  readonly watched: number[] = [];
  #got = '';

  constructor(test: Test) {
    const directory = mkdtempSync(join(tmpdir(), 'conmon-talk-'));
    const path = join(directory, 'attach');
    const listenFd = sys.socket(SOCK_SEQPACKET | SOCK_CLOEXEC);
    sys.bind(listenFd, path);
    sys.listen(listenFd, 1);
    [this.stdin, this.stdout, this.stderr] = [aPipe(test), aPipe(test), aPipe(test)];
    this.client = AttachClient.connect(sys, path);
    this.container = sys.accept4(listenFd, SOCK_CLOEXEC | SOCK_NONBLOCK);
    sys.close(listenFd);
    rmSync(directory, { recursive: true });
    test.teardown(() => {
      this.leaves();
      this.client.close();
    });
  }

  begin(plan: Partial<ConversationPlan> = {}, calls: Partial<Sys> = {}) {
    const fds = [this.stdin.readFd, this.stdout.writeFd, this.stderr.writeFd];
    const ours = realSysBut({
      read: (fd, ...rest) => {
        if (fd === STDIN) this.reads++;
        return sys.read(fds[fd] ?? fd, ...rest);
      },
      write: (fd, ...rest) => sys.write(fds[fd] ?? fd, ...rest),
      watch: (fd, ...rest) => {
        const watch = sys.watch(fds[fd] ?? fd, ...rest);
        if (typeof watch !== 'number') {
          this.watched.push(fd);
          numbers.set(watch, fd);
        }
        return watch;
      },
      unwatch: (watch) => {
        this.watched.splice(this.watched.indexOf(numbers.get(watch) ?? -1), 1);
        return sys.unwatch(watch);
      },
      ...calls,
    });
    const numbers = new Map<unknown, number>();
    const { signal } = this.stop;
    return converse(this.client, ours satisfies ConversationSys, {
      ...{ detachKeys: NO_KEYS, input: true, rawTerminal: false, signal },
      ...plan,
    });
  }

  says(type: 2 | 3, text: string): void {
    const packet = Buffer.concat([Buffer.of(type), Buffer.from(text)]);
    sys.write(this.container, packet, 0, packet.length);
  }

  types(text: string): void {
    const bytes = Buffer.from(text);
    sys.write(this.stdin.writeFd, bytes, 0, bytes.length);
  }

  endsInput(): void {
    sys.close(this.stdin.writeFd);
    this.stdin.writeFd = -1;
  }

  leaves(): void {
    if (this.container !== -1) sys.close(this.container);
    Object.assign(this, { container: -1 });
  }

  /** What has come to the container so far. */
  get got(): string {
    const bytes = Buffer.alloc(40_000);
    for (let length = 1; length > 0; ) {
      length = sys.read(this.container, bytes, 0, bytes.length);
      this.#got += bytes.toString('latin1', 0, Math.max(length, 0));
    }
    return this.#got;
  }

  hears(text: string): Promise<unknown> {
    return waitFor(`the container to get ${JSON.stringify(text.slice(0, 20))}`, () => this.got === text);
  }
}

/** What is in a pipe. */
function shown(fd: number): string {
  const bytes = Buffer.alloc(100_000);
  return bytes.toString('latin1', 0, Math.max(sys.read(fd, bytes, 0, bytes.length), 0));
}

t.test('all output comes, each stream to its own, before the container’s end is told', async (t) => {
  const talk = new Talk(t);
  for (let i = 0; i < 150; i++) talk.says(i % 2 === 0 ? 2 : 3, `${i}\n`);
  talk.leaves();
  t.equal(await talk.begin(), 'ended');
  const numbers = (first: number) => Array.from({ length: 75 }, (_, i) => `${first + 2 * i}\n`).join('');
  t.equal(shown(talk.stdout.readFd), numbers(0));
  t.equal(shown(talk.stderr.readFd), numbers(1));
  t.same(talk.watched, []);
});

t.test('a reader of ours that is slow gets everything', async (t) => {
  const talk = new Talk(t);
  const [one, two] = ['a'.repeat(60_000), 'b'.repeat(8000)];
  sys.write(talk.stdout.writeFd, Buffer.from(one), 0, one.length);
  talk.says(2, two);
  talk.leaves();
  let seen = '';
  let waits = 0;
  const poll: typeof sys.poll = (set, ...rest) => {
    if (set[0] !== STDOUT) return sys.poll(set, ...rest);
    waits++;
    seen += shown(talk.stdout.readFd);
    return 1;
  };
  t.equal(await talk.begin({}, { poll }), 'ended');
  t.equal(seen + shown(talk.stdout.readFd) === one + two, true);
  t.equal(waits, 1);
});

t.test('when nobody reads us any longer, that is said, of the stream that it is', async (t) => {
  for (const [type, name] of [
    [2, 'stdout'],
    [3, 'stderr'],
  ] as const) {
    const talk = new Talk(t);
    sys.close(talk[name].readFd);
    talk[name].readFd = -1;
    talk.says(type, 'x');
    await t.rejects(talk.begin(), { name: 'ClientError', message: `${name}: Broken pipe` });
    t.same(talk.watched, []);
  }
});

t.test('input goes to the container, its end too, and output goes on after it', async (t) => {
  const talk = new Talk(t);
  const end = talk.begin();
  talk.types('one\n');
  await talk.hears('one\n');
  talk.types('two');
  talk.endsInput();
  await talk.hears('one\ntwo');
  t.equal(sys.read(talk.container, Buffer.alloc(9), 0, 9), 0, 'the end');
  talk.says(2, 'answer');
  await waitFor('the answer', () => shown(talk.stdout.readFd) === 'answer');
  talk.leaves();
  t.equal(await end, 'ended');
});

t.test('without input our stdin is left alone', async (t) => {
  const talk = new Talk(t);
  talk.types('x');
  const end = talk.begin({ input: false });
  t.same(talk.watched, [talk.client.fd]);
  talk.says(2, 'y');
  talk.leaves();
  t.equal(await end, 'ended');
  t.equal(talk.reads, 0);
});

t.test('a container that takes no input: no more is read of ours, its output comes, and nothing is lost', async (t) => {
  const talk = new Talk(t);
  const end = talk.begin();
  let typed = '';
  const type = () => {
    const text = `${typed.length}:`.padEnd(4000, 'i');
    const bytes = Buffer.from(text);
    const written = sys.write(talk.stdin.writeFd, bytes, 0, bytes.length);
    typed += text.slice(0, Math.max(written, 0));
    return written < bytes.length;
  };
  let reads = -1;
  await waitFor(
    'our stdin to be left',
    () => {
      const full = type() && reads === talk.reads && !talk.watched.includes(STDIN);
      reads = talk.reads;
      return full;
    },
    { intervalMs: 10 },
  );
  talk.says(2, 'still there');
  await waitFor('its output', () => shown(talk.stdout.readFd) === 'still there');
  t.equal(talk.reads, reads, 'nothing was read');
  t.equal((await waitFor('all', () => talk.got.length === typed.length && talk.got)) === typed, true);
  talk.types('more');
  await talk.hears(`${typed}more`);
  talk.leaves();
  t.equal(await end, 'ended');
});

t.test('the keys detach, once what was typed before them is with the container', async (t) => {
  const talk = new Talk(t);
  talk.types('before\x10\x11after');
  t.equal(await talk.begin({ detachKeys: Uint8Array.of(16, 17) }), 'detached');
  t.equal(talk.got, 'before');
  t.same(talk.watched, []);
});

t.test('keys that were begun when our input ends are input', async (t) => {
  const talk = new Talk(t);
  const end = talk.begin({ detachKeys: Uint8Array.of(16, 17) });
  talk.types('x\x10');
  talk.endsInput();
  await talk.hears('x\x10');
  talk.leaves();
  t.equal(await end, 'ended');
});

t.test('a terminal of ours that is gone, by its end or by an error, hangs up', async (t) => {
  const closed = new Talk(t);
  closed.endsInput();
  t.equal(await closed.begin({ rawTerminal: true }), 'hungUp');
  const failing = new Talk(t);
  failing.types('x');
  const read: typeof sys.read = (fd, ...rest) => (fd === STDIN ? EIO : sys.read(fd, ...rest));
  t.equal(await failing.begin({}, { read }), 'hungUp');
});

t.test('who is told to stop does, with the reason, and watches nothing any longer', async (t) => {
  const talk = new Talk(t);
  const end = talk.begin();
  talk.types('x');
  await talk.hears('x');
  talk.stop.abort(new Error('enough'));
  await t.rejects(end, { message: 'enough' });
  t.same(talk.watched, []);
  await t.rejects(talk.begin(), { message: 'enough' });
  t.same(talk.watched, []);
});

t.test('what cannot be watched is an error, and nothing is left watched', async (t) => {
  const talk = new Talk(t);
  await t.rejects(talk.begin({}, { watch: () => -12 }), { name: 'ClientError', message: /Cannot allocate memory/ });
  t.same(talk.watched, []);
});
