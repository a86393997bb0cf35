/**
 * Logs that cannot be written: the container neither blocks nor dies, what can be kept is kept, what is lost is counted
 * to the byte, and said in the log itself and at the end.
 */
import { execFileSync, spawn } from 'node:child_process';
import {
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { open } from 'node:fs/promises';
import { type Case, promise } from '../helpers/case.ts';
import type { Container } from '../helpers/container.ts';
import { DevLog } from '../helpers/dev-log.ts';
import { empty, fill, smallDisk, writeProtect } from '../helpers/disk.ts';
import { filesInOrder, line, type Numbered, RECORD_FRAME_BYTES, readNumbered, SAY } from '../helpers/numbered.ts';
import { waitFor, within } from '../helpers/wait.ts';

const IN_SILENCE = 'C loses what it cannot write, in silence';
const MIB = 1 << 20;

/** A container that does one step after the other, each when the test says so. */
class Steps {
  readonly #c: Case;
  readonly #dir: string;
  #next = 0;

  constructor(c: Case) {
    this.#c = c;
    this.#dir = c.workspace.directory('steps');
  }

  /** The shell script: `steps` in order, each followed by a file that says that it is done. */
  script(steps: readonly string[]): string {
    const waited = steps.map(
      (step, i) => `while [ ! -e ${this.#dir}/go${i} ]; do sleep 0.01; done; ${step}; touch ${this.#dir}/done${i}`,
    );
    return `${SAY}; ${waited.join('; ')}`;
  }

  /** Lets the next step go. */
  start(): void {
    writeFileSync(`${this.#dir}/go${this.#next++}`, '');
  }

  /** Waits until that step is done: the container was not held up. */
  async done(): Promise<void> {
    const name = `${this.#dir}/done${this.#next - 1}`;
    await waitFor(`step ${this.#next - 1}`, () => existsSync(name));
    this.#c.t.pass(`step ${this.#next - 1} is done`);
  }

  async run(): Promise<void> {
    this.start();
    await this.done();
  }
}

/** Waits until a file holds a line. */
async function logged(path: string, n: number): Promise<void> {
  await waitFor(
    `line ${n} in ${path}`,
    () => existsSync(path) && readFileSync(path, 'latin1').includes(` F ${line(n)}\n`),
  );
}

/** The account: each of `count` lines is there once, in order, or is among what the log says is lost, to the byte. */
function balance(c: Case, { numbers, recoveries, others }: Numbered, count: number, reason: RegExp): void {
  const there = new Set(numbers);
  c.t.equal(there.size, numbers.length, 'no line twice');
  c.t.same(
    numbers,
    [...numbers].toSorted((a, b) => a - b),
    'in order',
  );
  let missing = 0;
  let bytes = 0;
  for (let n = 1; n <= count; n++)
    if (!there.has(n)) {
      missing++;
      bytes += RECORD_FRAME_BYTES + line(n).length;
    }
  const sum = (key: 'bytes' | 'records') => recoveries.reduce((total, recovery) => total + recovery[key], 0);
  c.t.equal(sum('records'), missing, `${missing} of ${count} lines are lost, and told`);
  c.t.equal(sum('bytes'), bytes, `${bytes} bytes are lost, and told`);
  for (const recovery of recoveries) {
    c.t.match(recovery.reason, reason);
    c.t.ok(recovery.fromMs <= recovery.toMs && recovery.toMs <= Date.now(), 'when');
  }
  c.t.same(others, [], 'nothing else on stderr');
}

/** Writes to ctl as CRI-O does. */
async function reopen(container: Container): Promise<void> {
  const file = await within('a reader of ctl', open(`${container.bundle}/ctl`, constants.O_WRONLY));
  await file.writeFile('2 0 0\n');
  await file.close();
}

promise(
  'a disk that is full and freed again: the container goes on, and the log says what is missing, how much and why',
  { runtimes: ['runc'], excludes: { c: IN_SILENCE } },
  async (c) => {
    const disk = smallDisk(c.workspace, 'disk', 16 * MIB);
    const path = `${disk}/ctr.log`;
    const steps = new Steps(c);
    const devLog = new DevLog(c).read();
    const container = c.container({
      script: steps.script(['say 1 1000', 'say 1001 60000', 'say 60001 61000']),
      logPaths: [path],
      launch: devLog.launch,
    });
    await container.run();
    await steps.run();
    await logged(path, 1000);
    fill(disk);
    await steps.run();
    const full = readNumbered(readFileSync(path));
    c.t.ok(full.numbers.length < 10_000, `${full.numbers.length} whole records, and no part of one, while it is full`);
    empty(disk);
    await steps.run();
    c.t.equal(await container.finished(), 0);
    const log = readNumbered(readFileSync(path));
    balance(c, log, 61_000, /^No space left on device$/);
    c.t.ok(log.recoveries.length >= 1, `${log.recoveries.length} records tell of it`);
    c.t.ok(log.numbers.includes(61_000), 'it went on');
    c.t.equal(devLog.matching(/failed to write to log .*: No space left on device$/).length, 1, 'one warning');
    const [{ bytes, records } = { bytes: 0, records: 0 }] = log.recoveries;
    const totals = devLog.matching(/log .*ctr\.log: dropped \d+ bytes in \d+ records$/);
    c.t.equal(totals.length, 1);
    c.t.match(totals[0], new RegExp(`dropped ${bytes} bytes in ${records} records$`), 'the totals at the end');
  },
);

promise(
  'a disk that is full for a moment costs nothing',
  { runtimes: ['runc'], excludes: { c: IN_SILENCE } },
  async (c) => {
    const disk = smallDisk(c.workspace, 'disk', 4 * MIB);
    const path = `${disk}/ctr.log`;
    const steps = new Steps(c);
    const script = steps.script(['say 1 100', 'say 101 5000', 'say 5001 5100']);
    const container = c.container({ script, logPaths: [path] });
    await container.run();
    await steps.run();
    await logged(path, 100);
    fill(disk);
    await steps.run();
    empty(disk);
    await logged(path, 5000);
    await steps.run();
    c.t.equal(await container.finished(), 0);
    const log = readNumbered(readFileSync(path));
    c.t.same(log.recoveries, []);
    balance(c, log, 5100, /never/);
  },
);

promise(
  'a log that never takes anything (/dev/full) costs the container nothing, and the totals are right',
  { runtimes: ['runc'], excludes: { c: IN_SILENCE } },
  async (c) => {
    const devLog = new DevLog(c).read();
    const path = '/dev/full';
    const container = c.container({
      script: `${SAY}; say 1 40000; exit 5`,
      logPaths: [path, c.workspace.path('good', 'ctr.log')],
      launch: devLog.launch,
    });
    await container.run();
    c.t.equal(await container.finished(), 5);
    balance(c, readNumbered(readFileSync(c.workspace.path('good', 'ctr.log'))), 40_000, /never/);
    let bytes = 0;
    for (let n = 1; n <= 40_000; n++) bytes += RECORD_FRAME_BYTES + line(n).length;
    const totals = devLog.matching(/log \/dev\/full: dropped/);
    c.t.equal(totals.length, 1);
    c.t.match(
      totals[0],
      new RegExp(
        `<nwarn>: log /dev/full: dropped ${bytes} bytes in 40000 records, of which the log does not tell ${bytes} bytes$`,
      ),
    );
  },
);

promise(
  'a log that was deleted is written on into, and a reopen makes it anew',
  { runtimes: ['runc'], excludes: { c: 'C cuts lines where its reads end' } },
  async (c) => {
    const steps = new Steps(c);
    const container = c.container({ script: steps.script(['say 1 500', 'say 501 1000', 'say 1001 1500']) });
    await container.run();
    await steps.run();
    await logged(container.logPath, 500);
    const fd = openSync(container.logPath, 'r');
    rmSync(container.logPath);
    await steps.run();
    const last = ` F ${line(1000)}\n`;
    await waitFor('the deleted file to get the rest', () => readAll(fd).includes(last));
    await reopen(container);
    await waitFor('a new file', () => existsSync(container.logPath));
    await steps.run();
    c.t.equal(await container.finished(), 0);
    balance(c, readNumbered(Buffer.concat([readAll(fd), readFileSync(container.logPath)])), 1500, /never/);
    closeSync(fd);
  },
);

promise(
  'a directory that was removed: the container goes on, and once it is there again so is the log',
  { runtimes: ['runc'], excludes: { c: 'C ends when it cannot reopen its log' } },
  async (c) => {
    const logs = c.workspace.directory('logs', 'pod');
    const path = `${logs}/ctr.log`;
    const steps = new Steps(c);
    const script = steps.script(['say 1 500', 'say 501 1000', 'say 1001 1500']);
    const container = c.container({ script, logPaths: [path] });
    await container.run();
    await steps.run();
    await logged(path, 500);
    const fd = openSync(path, 'r');
    rmSync(logs, { recursive: true });
    await reopen(container);
    await steps.run();
    await waitFor('the file to get the rest', () => readAll(fd).includes(` F ${line(1000)}\n`));
    c.t.notOk(existsSync(logs), 'it makes no directories');
    mkdirSync(logs);
    await waitFor('the new file that was asked for', () => existsSync(path));
    await steps.run();
    c.t.equal(await container.finished(), 0);
    balance(c, readNumbered(Buffer.concat([readAll(fd), readFileSync(path)])), 1500, /never/);
    closeSync(fd);
  },
);

promise(
  'a directory that was made read-only: logging goes on in the old file, to twice its maximum, and the account is right',
  { runtimes: ['runc'], excludes: { c: IN_SILENCE } },
  async (c) => {
    const logs = c.workspace.directory('logs', 'pod');
    const path = `${logs}/ctr.log`;
    const steps = new Steps(c);
    const max = 200_000;
    const container = c.container({
      script: steps.script(['say 1 500', 'say 501 60000', 'say 60001 62000']),
      logPaths: [path],
      args: ['--log-rotate', '--log-max-files', '500', '--log-size-max', String(max)],
    });
    await container.run();
    await steps.run();
    await logged(path, 500);
    const end = writeProtect(c.workspace, logs);
    await steps.run();
    c.t.ok(statSync(path).size <= 2 * max, `${statSync(path).size} bytes of at most ${2 * max}`);
    c.t.ok(statSync(path).size > max, 'it went on in the old file');
    c.t.same(readdirSync(logs), ['ctr.log'], 'nothing was made');
    end();
    await waitFor('a rotation', () => existsSync(`${path}.1`));
    await steps.run();
    c.t.equal(await container.finished(), 0);
    const files = readdirSync(logs).map((name) => `${logs}/${name}`);
    const parts = files.map((file) => ({ file, ...readNumbered(readFileSync(file)) }));
    parts.sort((a, b) => (a.numbers[0] ?? 0) - (b.numbers[0] ?? 0));
    const all = {
      numbers: parts.flatMap((part) => part.numbers),
      recoveries: parts.flatMap((part) => part.recoveries),
      others: parts.flatMap((part) => part.others),
    };
    balance(c, all, 62_000, /^Read-only file system$/);
    for (const file of files) c.t.ok(statSync(file).size <= 2 * max, `${file}: ${statSync(file).size}`);
    c.t.equal(files.filter((file) => statSync(file).size > max).length, 1, 'only the one of that time is too large');
    c.t.same(filesInOrder(c.workspace.directory('nothing')), []);
  },
);

promise(
  'a FIFO that nobody reads is refused at once; one with a reader gets everything',
  { runtimes: ['runc'], excludes: { c: 'C hangs in open' } },
  async (c) => {
    const path = c.workspace.path('fifo');
    execFileSync('mkfifo', [path]);
    const refused = c.container({ script: 'exit 0', logPaths: [path] });
    c.t.equal((await refused.conmon.started).code, 1);
    await refused.conmon.stderrClosed;
    c.t.match(refused.conmon.stderr, /^\[conmon:e\]: Failed to open log file .*fifo: No such device or address$/m);
    const copy = reader(c, path, 'cat');
    const steps = new Steps(c);
    // All together far more than a FIFO and conmon hold, and no step so much: how slow the reader is does not matter.
    const lasts = [5000, 10_000, 15_000, 20_000, 25_000, 30_000];
    const script = steps.script(lasts.map((last) => `say ${last - 4999} ${last}`));
    const container = c.container({ script, logPaths: [path] });
    await container.run();
    for (const last of lasts) {
      await steps.run();
      await logged(copy.path, last);
    }
    c.t.equal(await container.finished(), 0);
    await copy.ended;
    balance(c, readNumbered(readFileSync(copy.path)), 30_000, /never/);
  },
);

promise(
  'a FIFO whose reader goes away and comes back: the account is right from then on',
  { runtimes: ['runc'], excludes: { c: 'C dies of nothing here, but loses in silence' } },
  async (c) => {
    const path = c.workspace.path('fifo');
    execFileSync('mkfifo', [path]);
    const first = reader(c, path, 'cat');
    const steps = new Steps(c);
    const script = steps.script(['say 1 500', 'say 501 60000', 'say 60001 60500']);
    const good = c.workspace.path('good', 'ctr.log');
    const container = c.container({ script, logPaths: [path, good] });
    await container.run();
    await steps.run();
    await logged(first.path, 500);
    first.kill();
    await nobodyReads(path); // a cat that is about to die takes with it what it still reads
    await steps.run();
    await logged(good, 60_000); // all of it is read, and what is too much for the FIFO dropped
    const second = reader(c, path, 'cat');
    await logged(second.path, 60_000); // what was kept
    await steps.run();
    c.t.equal(await container.finished(), 0);
    await second.ended;
    const log = readNumbered(Buffer.concat([readFileSync(first.path), readFileSync(second.path)]));
    c.t.ok(log.recoveries.length > 0);
    balance(c, log, 60_500, /^Broken pipe$/);
  },
);

promise(
  'a FIFO whose reader is slow holds nothing up, and its account is right',
  { runtimes: ['runc'], excludes: { c: 'C waits for the reader' } },
  async (c) => {
    const path = c.workspace.path('fifo');
    execFileSync('mkfifo', [path]);
    const go = c.workspace.path('go');
    // It takes a little, then nothing until it is told to, then all.
    const slow = reader(c, path, `head -c 1000; while [ ! -e ${go} ]; do sleep 0.01; done; cat`);
    const good = c.workspace.path('good', 'ctr.log');
    const steps = new Steps(c);
    const script = steps.script(['say 1 60000', 'say 60001 61000']);
    const container = c.container({ script, logPaths: [path, good] });
    await container.run();
    await steps.run();
    await logged(good, 60_000);
    writeFileSync(go, '');
    await waitFor('the reader to catch up', () => statSync(slow.path).size > 500_000);
    await steps.run();
    c.t.equal(await container.finished(), 0);
    await slow.ended;
    balance(c, readNumbered(readFileSync(good)), 61_000, /never/);
    const log = readNumbered(readFileSync(slow.path));
    c.t.ok(log.recoveries.length > 0, 'more was written than could be kept');
    balance(c, log, 61_000, /^Resource temporarily unavailable$/);
  },
);

promise(
  'a FIFO whose reader goes away for good: what it got, what nobody has read and what was dropped is everything',
  { runtimes: ['runc'], excludes: { c: IN_SILENCE } },
  async (c) => {
    const path = c.workspace.path('fifo');
    execFileSync('mkfifo', [path]);
    const go = c.workspace.path('go');
    const got = 1000;
    const only = reader(c, path, `head -c ${got}; while [ ! -e ${go} ]; do sleep 0.01; done`);
    const good = c.workspace.path('good', 'ctr.log');
    const steps = new Steps(c);
    const devLog = new DevLog(c).read();
    const script = steps.script(['say 1 5000', 'say 5001 6000']);
    const container = c.container({ script, logPaths: [path, good], launch: devLog.launch });
    await container.run();
    await steps.run();
    await logged(good, 5000);
    await waitFor('the reader to have something', () => statSync(only.path).size === got);
    writeFileSync(go, '');
    await nobodyReads(path);
    await steps.run();
    c.t.equal(await container.finished(), 0);
    balance(c, readNumbered(readFileSync(good)), 6000, /never/);
    let bytes = 0;
    for (let n = 1; n <= 6000; n++) bytes += RECORD_FRAME_BYTES + line(n).length;
    const words = devLog.messages().join('\n');
    const unread = Number(/<nwarn>: log .*fifo: nobody has read its last (\d+) bytes/.exec(words)?.[1]);
    const [, dropped] = /<nwarn>: log .*fifo: dropped (\d+) bytes in \d+ records/.exec(words) ?? [];
    c.t.ok(unread > 0, `${unread} bytes were in the FIFO`);
    c.t.equal(got + unread + Number(dropped), bytes, `and ${dropped} bytes were not`);
  },
);

/** Reads a FIFO with a shell command into a file. */
function reader(c: Case, fifo: string, command: string): { path: string; ended: Promise<void>; kill(): void } {
  const path = c.workspace.path(`read-${readers++}`);
  const child = spawn('sh', ['-c', `{ ${command}; } < ${fifo} > ${path}`], { stdio: 'inherit', detached: true });
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const kill = () => {
    if (child.pid !== undefined && child.exitCode === null && child.signalCode === null) process.kill(-child.pid);
  };
  c.workspace.defer(kill);
  return { path, ended: within('the reader to end', ended, 30_000), kill };
}

let readers = 0;

/**
 * Waits until the last reader has closed a FIFO: who wants to write is refused then (fifo(7)). A shell's end says nothing of its cat, and a
 * cat that was sent SIGTERM still reads what comes before it gets a CPU, and dies with it: read(2) looks for bytes before it looks for
 * signals (60 of 60 when cat and writer had one CPU, Linux 6.18).
 */
async function nobodyReads(fifo: string): Promise<void> {
  await waitFor(`the readers of ${fifo} to have gone`, () => {
    try {
      closeSync(openSync(fifo, constants.O_WRONLY | constants.O_NONBLOCK));
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'ENXIO') return true;
      throw error;
    }
    return false;
  });
}

function readAll(fd: number): Buffer {
  const bytes = Buffer.alloc(16 * MIB);
  return bytes.subarray(0, readSync(fd, bytes, 0, bytes.length, 0));
}
