/** New log files that are asked for when nobody will write to them any longer: who asks waits for them without a limit. */
import { existsSync, openSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { newCounters } from '../../../src/log/counters.ts';
import { openLog } from '../../../src/log/open-log.ts';
import { replaceUnwritten } from '../../../src/log/unwritten.ts';
import { S_IFCHR } from '../../../src/native/constants.ts';
import { StatWord } from '../../../src/native/files.ts';
import { sys } from '../../../src/native/sys.ts';
import type { FromLogWorker, LogResult, ToLogWorker } from '../../../src/proto/log-messages.ts';
import { LogWorker } from '../../../src/threads/log-worker.ts';
import type { Owner, Pool } from '../../../src/threads/pool.ts';
import { fdsOf } from '../../helpers/proc.ts';
import { fakeSys, realSysBut } from '../native/fake-sys.ts';
import { Complaints } from '../session/complaints.ts';
import { Streams } from './rig.ts';

/** A thread of the test's own: it ends, dies and answers when the test says so. */
class Thread {
  readonly told: ToLogWorker['kind'][] = [];
  #end: PromiseWithResolvers<LogResult> = Promise.withResolvers();
  #owner: Owner<FromLogWorker> | undefined;

  readonly pool = {
    run: (_role: string, _task: unknown, owner: Owner<FromLogWorker>) => {
      this.#owner = owner;
      this.#end = Promise.withResolvers();
      return { tell: ({ kind }: ToLogWorker) => this.told.push(kind), done: this.#end.promise };
    },
  } as unknown as Pool;

  reopened(): void {
    this.#owner?.heard({ kind: 'reopened' });
  }

  ends(): void {
    this.#end.resolve({ counters: newCounters(), left: false });
  }

  dies(): void {
    this.#end.reject(new Error('dies'));
  }
}

/** A log whose writer does nothing by itself. */
function aLog(test: Test): { thread: Thread; worker: LogWorker; streams: Streams } {
  const thread = new Thread();
  const streams = new Streams(test);
  const plan = streams.plan(openLog(streams.path));
  const worker = new LogWorker(sys, streams.complaints.diag, thread.pool, plan, streams.onEnded);
  test.teardown(() => worker.close(true));
  worker.begin(streams.sources);
  return { thread, worker, streams };
}

t.test('a thread that ends without having heard of it: it is made then, before the end is told', async (t) => {
  const { thread, worker, streams } = aLog(t);
  worker.end(true);
  renameSync(streams.path, `${streams.path}.1`);
  worker.reopen();
  worker.reopen();
  t.same(thread.told, ['begin', 'end', 'reopen', 'reopen']);
  t.notOk(existsSync(streams.path), 'it may still be the thread’s to make');
  thread.reopened(); // the first one
  thread.ends();
  await streams.ended();
  t.match(statSync(streams.path), { size: 0, mode: 0o100640 });
});

t.test('what the thread has made is not made once more', async (t) => {
  const { thread, worker, streams } = aLog(t);
  const { ino } = statSync(streams.path);
  worker.reopen();
  worker.end(true);
  thread.reopened();
  thread.ends();
  await streams.ended();
  t.equal(statSync(streams.path).ino, ino);
});

t.test(
  'after the end, while clients are still being served, it is made at once, as often as it is asked for',
  async (t) => {
    const { thread, worker, streams } = aLog(t);
    worker.end(true);
    thread.ends();
    await streams.ended();
    const fds = fdsOf(process.pid).size;
    for (let i = 0; i < 2; i++) {
      rmSync(streams.path);
      worker.reopen();
      t.ok(existsSync(streams.path));
    }
    t.equal(fdsOf(process.pid).size, fds, 'they are nobody’s to write');
    t.same(thread.told, ['begin', 'end']);
  },
);

t.test('a FIFO or a device as log, /dev/null above all, stays what it is', async (t) => {
  const fifo = new Streams(t);
  sys.mkfifo(fifo.path, 0o600);
  const device = new Streams(t);
  writeFileSync(device.path, 'kept');
  const asDevice = realSysBut({
    fstatat: (fd, path, flags, stat) => {
      const result = sys.fstatat(fd, path, flags, stat);
      if (path === device.path) stat[StatWord.mode] = BigInt(S_IFCHR | 0o666); // to make one takes a privilege
      return result;
    },
  });
  for (const [streams, calls] of [
    [fifo, sys],
    [device, asDevice],
  ] as const) {
    const before = statSync(streams.path);
    const thread = new Thread();
    const plan = streams.plan(openSync('/dev/null', 'w'));
    const worker = new LogWorker(calls, streams.complaints.diag, thread.pool, plan, streams.onEnded);
    worker.reopen(); // the thread does not hear of it
    thread.ends();
    await streams.ended();
    worker.reopen();
    const { mode, size } = statSync(streams.path);
    t.match({ mode, size }, { mode: before.mode, size: before.size });
    t.same(streams.complaints.lines, []);
    worker.close(true);
  }
});

t.test('what cannot be made is told', (t) => {
  const { diag, lines } = new Complaints('debug');
  const nowhere = { driver: 'k8s-file', path: '/nonexistent/log', fd: -1 } as const;
  replaceUnwritten(sys, diag, [nowhere], { keepFiles: 0 });
  t.same(lines, ['[conmon:w]: Failed to reopen log file /nonexistent/log: No such file or directory']);
  t.end();
});

t.test('a journal is no file that could be replaced', (t) => {
  const { diag, lines } = new Complaints('debug');
  const journal = { socketPath: '/s', cid: 'c', name: undefined, tag: undefined, labels: [], tellPartial: true };
  replaceUnwritten(fakeSys({}), diag, [{ driver: 'journald', ...journal }], { keepFiles: 0 });
  t.same(lines, []);
  t.end();
});

t.test('a log worker that is lost for good before it has made it: it is made then', async (t) => {
  const { thread, worker, streams } = aLog(t);
  rmSync(streams.path);
  worker.reopen();
  for (let deaths = 1; deaths <= 3; deaths++) {
    t.notOk(existsSync(streams.path));
    thread.dies();
    await new Promise((resolve) => setImmediate(resolve));
  }
  t.equal(await streams.ended(), undefined);
  t.ok(existsSync(streams.path));
  t.same(thread.told, ['begin', 'reopen', 'begin', 'reopen', 'begin', 'reopen'], 'each was told');
});
