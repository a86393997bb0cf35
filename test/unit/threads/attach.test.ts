/** The attach worker in the real pool: it comes with the first client, leaves after the last, dies, and comes again. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { Diag } from '../../../src/diag/diag.ts';
import {
  F_DUPFD_CLOEXEC,
  F_GETFD,
  O_CLOEXEC,
  O_NONBLOCK,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_SEQPACKET,
} from '../../../src/native/constants.ts';
import { sys } from '../../../src/native/sys.ts';
import type { LogWorkerPlan } from '../../../src/threads/log-worker.ts';
import { Output } from '../../../src/threads/output.ts';
import { AttachClient } from '../../helpers/attach-client.ts';
import { fdsOf } from '../../helpers/proc.ts';
import { waitFor } from '../../helpers/wait.ts';
import { fakeSys, type Pipe, pipe, realSysBut, textOf } from '../native/fake-sys.ts';
import { Streams } from './rig.ts';

const BACKLOG = 10;

interface Plan {
  readonly unusedMs?: number;
  readonly closeStdin?: boolean;
  readonly plan?: (streams: Streams) => LogWorkerPlan;
}

/** A session's output, its attach socket, and main's part in it: it listens while no worker does. */
class Place {
  readonly streams: Streams;
  readonly output: Output;
  readonly path: string;
  readonly stdin: Pipe = pipe(O_CLOEXEC | O_NONBLOCK);
  readonly deaths: string[] = [];
  /** Times that a worker was asked for, and that one left. */
  calls = 0;
  lefts = 0;
  /** Times that nobody would serve. */
  refusals = 0;
  readonly #listenFd = sys.socket(SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK);
  readonly #plan: Plan;
  readonly #doorbellFds: number[] = [];
  #unwatch: (() => void) | undefined;

  constructor(test: Test, plan: Plan = {}) {
    this.#plan = plan;
    this.streams = new Streams(test);
    this.path = join(this.streams.dir, 'attach');
    if (sys.bind(this.#listenFd, this.path) < 0 || sys.listen(this.#listenFd, BACKLOG) < 0) throw new Error('listen');
    const sayings = fakeSys({
      write: (_fd, bytes, offset, length) => {
        const line = textOf(bytes, offset, length);
        if (line.includes('died')) this.deaths.push(line.trimEnd());
        return length;
      },
    });
    const diag = new Diag(sayings, { level: 'warn', syslogName: undefined });
    const logPlan = plan.plan ? plan.plan(this.streams) : this.streams.plan();
    const counting = realSysBut({
      eventfd: (initial, flags) => {
        const fd = sys.eventfd(initial, flags);
        this.#doorbellFds.push(fd);
        return fd;
      },
    });
    this.output = new Output(counting, diag, logPlan, this.streams.onEnded);
    this.#listen();
    test.teardown(async () => {
      this.#unwatch?.();
      if (this.streams.endings.length === 0) this.output.end(false);
      await this.streams.ended();
      await new Promise<void>((resolve) => this.output.whenClosed(resolve));
      sys.close(this.#listenFd);
      sys.close(this.stdin.readFd);
    });
  }

  begin(): void {
    this.output.begin(this.streams.sources, this.stdin.writeFd);
  }

  async connect(): Promise<AttachClient> {
    return await AttachClient.connect(this.path);
  }

  /** What has come to the container's stdin. */
  heard(): string {
    const bytes = new Uint8Array(4096);
    const length = sys.read(this.stdin.readFd, bytes, 0, bytes.length);
    return Buffer.from(bytes.subarray(0, Math.max(length, 0))).toString('latin1');
  }

  #listen(): void {
    const watch = sys.watch(this.#listenFd, () => {
      this.#unwatch?.();
      this.calls++;
      const { closeStdin = false, unusedMs = 60_000 } = this.#plan;
      const plan = { listenFd: this.#listenFd, closeStdin, unusedMs, stallTimeoutMs: 0 };
      const served = this.output.startAttach({ ...plan, diag: { level: 'error', syslogName: undefined } }, () => {
        this.lefts++;
        this.#listen();
      });
      if (!served) this.refusals++;
    });
    if (typeof watch === 'number') throw new Error('watch');
    this.#unwatch = () => {
      sys.unwatch(watch);
      this.#unwatch = undefined;
    };
  }

  /** Kills the attach worker: its doorbell becomes something that cannot be read. Comes back when it is dead. */
  async kill(): Promise<void> {
    const before = this.deaths.length;
    const [, bell = -1] = this.#doorbellFds; // the log worker's is the first

    const copy = sys.fcntl(bell, F_DUPFD_CLOEXEC, 3);
    const file = sys.socket(SOCK_SEQPACKET);
    sys.dup3(file, bell, O_CLOEXEC);
    sys.close(file);
    sys.write(copy, new Uint8Array(new BigUint64Array([1n]).buffer), 0, 8);
    await waitFor('the death', () => this.deaths.length > before);
    sys.dup3(copy, bell, O_CLOEXEC);
    sys.close(copy);
  }
}

/** How many fds this process has, once a thread that ends has closed its own. */
async function settledFds(): Promise<number> {
  let [last, sinceMs] = [fdsOf(process.pid).size, performance.now()];
  return await waitFor('the fds to settle', () => {
    const now = fdsOf(process.pid).size;
    if (now !== last) [last, sinceMs] = [now, performance.now()];
    return performance.now() - sinceMs > 200 ? last : undefined;
  });
}

function privateKiB(): number {
  const text = readFileSync('/proc/self/smaps_rollup', 'latin1');
  return [...text.matchAll(/^Private_(?:Clean|Dirty): +(\d+)/gm)].reduce((sum, [, kib]) => sum + Number(kib), 0);
}

t.test('the worker comes with the first client, leaves after the last, and comes again', async (t) => {
  const place = new Place(t, { unusedMs: 30 });
  place.begin();
  t.equal(place.calls, 0, 'nobody is there, nothing is started');
  let open = 0;
  for (let round = 0; round < 5; round++) {
    const [client, other] = [await place.connect(), await place.connect()];
    await client.send(`hello ${round}`);
    await waitFor('the input', () => place.heard() === `hello ${round}`);
    await place.streams.print(`round ${round}\n`);
    await client.waitForText(`round ${round}\n`);
    await other.waitForText(`round ${round}\n`);
    t.equal(client.text, `round ${round}\n`, 'nothing of before');
    client.close();
    other.close();
    await waitFor('the worker to leave', () => place.lefts === place.calls && place.lefts > round);
    await place.streams.print('nobody sees this\n');
    await waitFor('it in the log', () => place.streams.records.length === 2 * (round + 1));
    if (round === 0) open = await settledFds();
  }
  await waitFor('no fd to be left behind', () => fdsOf(process.pid).size <= open);
  t.equal(sys.fcntl(place.stdin.writeFd, F_GETFD, 0) >= 0, true, 'stdin is still open');
});

t.test('clients that come just as the worker leaves are served, all of them', async (t) => {
  const place = new Place(t, { unusedMs: 1 });
  place.begin();
  for (let round = 0; round < 100; round++) {
    await sleep(round % 4); // before, while and after it leaves
    const client = await place.connect();
    await client.send(`${round},`);
    let heard = '';
    await waitFor(
      `round ${round}`,
      () => {
        heard += place.heard();
        return heard === `${round},`;
      },
      { intervalMs: 1 },
    );
    if (round % 10 === 0) {
      await place.streams.print(`round ${round}\n`);
      await client.waitForText(`round ${round}\n`);
    }
    client.close();
  }
  t.ok(place.calls > 20, `${place.calls} workers`);
  t.equal(place.deaths.length, 0);
});

t.test('without a log too, and an output of before is not repeated', async (t) => {
  const place = new Place(t, { unusedMs: 20, plan: (streams) => streams.nowhere });
  place.begin();
  for (let round = 0; round < 3; round++) {
    const client = await place.connect();
    await client.send('hello');
    await waitFor('the input', () => place.heard() === 'hello');
    await place.streams.print(`round ${round}\n`);
    await client.waitForText(`round ${round}\n`);
    t.equal(client.text, `round ${round}\n`);
    client.close();
    await waitFor('the worker to leave', () => place.lefts === round + 1);
    await place.streams.print('x'.repeat(200_000)); // more than a pipe holds: somebody reads it
    await waitFor('it to be read', () => sys.fionread(place.streams.out.readFd) === 0);
  }
});

t.test('workers that come and go take no memory with them', async (t) => {
  const place = new Place(t, { unusedMs: 1 });
  place.begin();
  const visit = async () => {
    const lefts = place.lefts;
    const client = await place.connect();
    await client.send('x');
    await waitFor('the input', () => place.heard() === 'x', { intervalMs: 1 });
    client.close();
    await waitFor('the worker to leave', () => place.lefts > lefts, { intervalMs: 1 });
  };
  // What the collector has not come to yet goes up and down by some MiB: the least of several looks counts.
  const leastOf = async (looks: number) => {
    let least = Number.POSITIVE_INFINITY;
    for (let look = 0; look < looks; look++) {
      for (let i = 0; i < 10; i++) await visit();
      least = Math.min(least, privateKiB());
    }
    return least;
  };
  const before = await leastOf(3);
  const grown = (await leastOf(4)) - before;
  // A thread that stays costs 2 MiB and more; what this process itself does makes a few MiB of difference.
  t.ok(grown < 40 * 256, `${grown} KiB after 40 more workers`);
});

t.test('input that a client has ended stays ended when the worker has left', async (t) => {
  const place = new Place(t, { unusedMs: 20, closeStdin: true });
  place.begin();
  const first = await place.connect();
  await first.send('last words');
  first.endInput();
  await waitFor('the worker to have closed stdin', () => sys.fcntl(place.stdin.writeFd, F_GETFD, 0) < 0);
  t.equal(place.heard(), 'last words');
  first.close();
  await waitFor('the worker to leave', () => place.lefts === 1);
  const second = await place.connect();
  await second.send('nobody hears this');
  await waitFor('the next worker', () => place.calls === 2);
  await place.streams.print('still here\n');
  await second.waitForText('still here\n');
  t.equal(place.heard(), '');
  second.close();
});

t.test('stdin that comes after the worker has left is the next worker’s', async (t) => {
  const place = new Place(t, { unusedMs: 20 });
  const early = await place.connect();
  await waitFor('the worker', () => place.calls === 1);
  early.close();
  await waitFor('the worker to leave', () => place.lefts === 1);
  place.begin();
  const client = await place.connect();
  await client.send('hello');
  await waitFor('the input', () => place.heard() === 'hello');
  client.close();
});

t.test(
  'when the attach worker dies its clients are disconnected, the log goes on, the next clients are served',
  async (t) => {
    const place = new Place(t);
    place.begin();
    let open = 0;
    for (let round = 0; round < 2; round++) {
      const clients = [await place.connect(), await place.connect()];
      for (const client of clients) await client.send(`hello ${round}`);
      let heard = '';
      await waitFor('the input', () => {
        heard += place.heard();
        return heard === `hello ${round}hello ${round}`;
      });
      await place.streams.print(`before ${round}\n`);
      for (const client of clients) await client.waitForText(`before ${round}\n`);
      await place.kill();
      for (const client of clients) await client.waitForEnd();
      for (const client of clients) client.close();
      await place.streams.print('x'.repeat(3_000_000)); // more than the ring keeps for a client
      await place.streams.print(`\nafter ${round}\n`);
      await waitFor('the log', () => place.streams.records.includes(`stdout F after ${round}`));
      if (round === 0) open = await settledFds();
    }
    t.match(place.deaths, [/attach worker died \(1 of 3\): .*doorbell/, /attach worker died \(2 of 3\)/]);
    await waitFor('no fd to be left behind', () => fdsOf(process.pid).size <= open);
    const client = await place.connect();
    await client.send('hello again');
    await waitFor('the input', () => place.heard() === 'hello again');
    await place.streams.print('last\n');
    await client.waitForText('last\n');
    t.equal(client.text, 'last\n');
    place.output.end(true);
    await client.waitForEnd();
    await place.streams.ended();
    client.close();
  },
);

t.test('after the third death main is told that nobody serves, and the log goes on', async (t) => {
  const place = new Place(t);
  place.begin();
  for (let death = 1; death <= 3; death++) {
    const client = await place.connect();
    await client.send('hello');
    await waitFor('the input', () => place.heard() === 'hello');
    t.equal(place.refusals, 0);
    await place.kill();
    await client.waitForEnd();
    client.close();
    await waitFor('main to listen again', () => place.lefts === death);
  }
  const client = await place.connect();
  await waitFor('the refusal', () => place.refusals === 1);
  client.close();
  await place.streams.print('still here\n');
  await waitFor('the log', () => place.streams.records.includes('stdout F still here'));
});
