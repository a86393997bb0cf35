/**
 * The ctl fifo of running containers: new log files on demand, and no harm from anything else that is written to it.
 */
import { randomInt } from 'node:crypto';
import {
  closeSync,
  constants,
  existsSync,
  type FSWatcher,
  openSync,
  readFileSync,
  renameSync,
  statSync,
  watch,
  writeFileSync,
} from 'node:fs';
import { open } from 'node:fs/promises';
import { attach, go, settled, shellContainer, waitingBytes } from '../helpers/attach-case.ts';
import { type Case, promise } from '../helpers/case.ts';
import type { Container } from '../helpers/container.ts';
import { readLog } from '../helpers/k8s-log.ts';
import { fdsOf, processInfo } from '../helpers/proc.ts';
import { seededRandom } from '../helpers/random.ts';
import { waitFor, within } from '../helpers/wait.ts';

const SEED = Number(process.env['E2E_SEED'] ?? randomInt(2 ** 31));
/** Half of them for ctl, half for winsz. */
const RANDOM_LINES = 20_000;
const SPINS = 'C spins for ever once its buffer is full of a line without an end';

/** Writes to ctl, or winsz, as CRI-O does: a blocking open, one write. */
async function tell(container: Container, bytes: string | Buffer, fifo: 'ctl' | 'winsz' = 'ctl'): Promise<void> {
  const path = `${container.bundle}/${fifo}`;
  const opening = open(path, constants.O_WRONLY);
  const file = await within(`a reader of ${fifo}`, opening).catch((error: unknown) => {
    // Or the thread that waits in it keeps this process for ever.
    closeSync(openSync(path, constants.O_RDONLY | constants.O_NONBLOCK));
    throw error;
  });
  try {
    await within(`${fifo} to take it`, file.writeFile(bytes));
  } finally {
    await file.close();
  }
}

/** Until conmon has read everything. */
async function taken(container: Container, fifo: 'ctl' | 'winsz' = 'ctl'): Promise<void> {
  await waitFor(`${fifo} to be read`, () => waitingBytes(`${container.bundle}/${fifo}`) === 0);
}

/** What inotify says of the log's directory: the names, with `change` or `rename` (created, renamed). */
function watchLog(c: Case, container: Container): { readonly events: string[]; readonly watcher: FSWatcher } {
  const events: string[] = [];
  const watcher = watch(`${container.dir}/logs`, (event, name) => events.push(`${event} ${name}`));
  c.workspace.defer(() => watcher.close());
  return { events, watcher };
}

/** A container that writes one line for each file `N` that appears in its directory. */
const COUNTS = 'i=0; while [ ! -e stop ]; do if [ -e $i ]; then echo "line $i"; i=$((i+1)); fi; sleep 0.01; done';

function say(container: Container, number: number): void {
  writeFileSync(container.path(String(number)), '');
}

async function logged(path: string, text: string): Promise<void> {
  await waitFor(
    `${JSON.stringify(text)} in the log`,
    () => existsSync(path) && readFileSync(path, 'utf8').includes(text),
  );
}

promise('2 0 0 makes a new log file under the same path', {}, async (c) => {
  const container = shellContainer(c, COUNTS);
  await container.created();
  go(container);
  say(container, 0);
  await logged(container.logPath, 'line 0');
  const before = statSync(container.logPath);
  await tell(container, '2 0 0\n');
  await waitFor('another file', () => statSync(container.logPath).ino !== before.ino);
  say(container, 1);
  await logged(container.logPath, 'line 1');
  c.t.equal(readLog(container.logPath).stdout.toString(), 'line 1\n');
  c.t.equal((statSync(container.logPath).mode & 0o777).toString(8), (before.mode & 0o777).toString(8));
  writeFileSync(container.path('stop'), '');
  c.t.equal(await container.finished(), 0);
});

promise(
  'after the log was renamed away 2 0 0 makes a new one, and who waits for it with inotify sees it',
  {},
  async (c) => {
    const container = shellContainer(c, COUNTS);
    await container.created();
    go(container);
    for (let i = 0; i < 5; i++) {
      say(container, i);
      await logged(container.logPath, `line ${i}`);
      renameSync(container.logPath, `${container.logPath}.${i}`);
      const { events, watcher } = watchLog(c, container);
      await tell(container, '2 0 0\n');
      await waitFor('inotify', () => events.some((event) => event.endsWith(' ctr.log')));
      watcher.close();
      c.t.ok(existsSync(container.logPath), 'it is there');
    }
    writeFileSync(container.path('stop'), '');
    c.t.equal(await container.finished(), 0);
    for (let i = 0; i < 5; i++)
      c.t.equal(readLog(`${container.logPath}.${i}`).stdout.toString(), `line ${i}\n`, 'nothing lost, nothing twice');
    c.t.equal(readLog(container.logPath).stdout.length, 0);
  },
);

promise('no line is lost when the log is renamed and reopened in a flood', { runtimes: ['runc'] }, async (c) => {
  // It writes until it has been told, however slow this test is, and stays: ctl has a reader as long as there is a container.
  const stop = c.workspace.path('stop');
  const flood = `i=1; while [ ! -e ${stop} ]; do seq $i $((i+19999)); i=$((i+20000)); sleep 0.01; done; echo end`;
  const container = c.container({ script: `${flood}; exec sleep 1000` });
  await container.created();
  await container.start();
  const logs: string[] = [];
  for (let i = 0; i < 8; i++) {
    await waitFor('some output', () => statSync(container.logPath).size > 100_000);
    const log = `${container.logPath}.${i}`;
    renameSync(container.logPath, log);
    logs.push(log);
    await tell(container, '2 0 0\n');
    await waitFor('a new log', () => existsSync(container.logPath));
  }
  logs.push(container.logPath);
  writeFileSync(stop, '');
  await waitFor('the last line', () => readFileSync(container.logPath).subarray(-5).toString() === ' end\n');
  process.kill(container.containerPid, 'SIGKILL');
  c.t.equal(await container.finished(), 137);
  const all = Buffer.concat(logs.map((path) => readLog(path).stdout)).toString();
  const lines = all.split('\n').length - 2;
  c.t.equal(lines % 20_000, 0, `${lines} lines`);
  c.t.equal(all === `${Array.from({ length: lines }, (_, i) => `${i + 1}\n`).join('')}end\n`, true);
});

promise(
  '2 0 0 is done while a client does not read and the container waits for it',
  { excludes: { c: 'C blocks in its write to a client that does not read, and everything waits for it' } },
  async (c) => {
    const container = shellContainer(c, 'exec yes 0123456789');
    await container.created();
    const client = await attach(c, container, { paused: true });
    go(container);
    await settled('the log', () => statSync(container.logPath).size);
    renameSync(container.logPath, `${container.logPath}.old`);
    await tell(container, '2 0 0\n');
    await waitFor('a new log', () => existsSync(container.logPath));
    client.close();
    await waitFor('the container to go on', () => statSync(container.logPath).size > 100_000);
    process.kill(container.containerPid, 'SIGKILL');
    c.t.equal(await container.finished(), 137);
  },
);

promise(
  'a blocking opener of ctl and winsz finds a reader from the runtime’s start to conmon’s end',
  { differs: { c: 'C makes the fifos once it has started the runtime, and closes them before the exit command' } },
  async (c) => {
    const container = c.container({
      fake: (self) => [
        `touch ${self.path('at work')}`,
        `wait-file ${self.path('go')}`,
        `container while [ ! -e ${self.path('stop')} ]; do sleep 0.01; done`,
      ],
      exitCommand: { script: (self) => [`touch ${self.path('ending')}`, `wait-file ${self.path('end')}`] },
    });
    // With O_NONBLOCK it fails where it would block.
    const findReaders = () => {
      for (const fifo of ['ctl', 'winsz'])
        for (let i = 0; i < 20; i++)
          closeSync(openSync(`${container.bundle}/${fifo}`, constants.O_WRONLY | constants.O_NONBLOCK));
    };
    await waitFor('the runtime', () => existsSync(container.path('at work')));
    if (c.differs === undefined) findReaders();
    go(container);
    await container.created();
    findReaders();
    await tell(container, '');
    findReaders();
    await tell(container, 'partial');
    await taken(container);
    findReaders();
    writeFileSync(container.path('stop'), '');
    await waitFor('the exit command', () => existsSync(container.path('ending')));
    if (c.differs === undefined) findReaders();
    writeFileSync(container.path('end'), '');
    c.t.equal(await container.finished(), 0);
  },
);

/** Lines that mean nothing, and some that do: sizes. `2 0 0` is not among them. */
function randomLine(random: ReturnType<typeof seededRandom>): Buffer {
  const number = () => String(random.pick([0, 1, 2, 3, 24, 80, 999, 1001, -1, 2 ** 31, 1e15, 0.5]));
  switch (random.below(5)) {
    case 0:
      return Buffer.from(`1 ${random.below(1001)} ${random.below(1001)}\n`);
    case 1:
      return Buffer.from(`${[number(), number(), number(), number()].slice(0, random.below(5)).join(' ')} \n`);
    case 2:
      return Buffer.from(`3 ${number()} ${number()}\n`);
    case 3:
      return Buffer.concat([
        Buffer.from(Array.from({ length: random.below(180) }, () => random.below(256))),
        Buffer.from('\n'),
      ]);
    default:
      return Buffer.from(`${'x'.repeat(random.below(190))}\n`);
  }
}

promise(
  `${RANDOM_LINES} random lines do no harm: fds, log and the next command are well, seed ${SEED}`,
  { excludes: { c: SPINS } },
  async (c) => {
    const random = seededRandom(SEED);
    const container = shellContainer(c, COUNTS);
    await container.created();
    go(container);
    say(container, 0);
    await logged(container.logPath, 'line 0');
    const before = fdsOf(container.daemonPid).size;
    const ino = statSync(container.logPath).ino;
    for (let sent = 0; sent < RANDOM_LINES; ) {
      const lines = Array.from({ length: Math.min(1 + random.below(50), RANDOM_LINES - sent) }, () =>
        randomLine(random),
      );
      sent += lines.length;
      const harmless = Buffer.concat(lines.filter((line) => !/^\s*\+?0*2\s/.test(line.toString('latin1'))));
      await tell(container, harmless, random.below(2) === 0 ? 'ctl' : 'winsz');
    }
    await taken(container);
    await taken(container, 'winsz');
    c.t.equal(fdsOf(container.daemonPid).size, before);
    c.t.equal(statSync(container.logPath).ino, ino, 'the log is the same');
    await reopenSomehow(c, container);
    say(container, 1);
    await logged(container.logPath, 'line 1');
    writeFileSync(container.path('stop'), '');
    c.t.equal(await container.finished(), 0);
  },
);

/** A newline ends what garbage may have left; then a reopen must work. */
async function reopenSomehow(c: Case, container: Container): Promise<void> {
  const { ino } = statSync(container.logPath);
  await tell(container, '\n');
  await taken(container);
  await tell(container, '2 0 0\n');
  await waitFor('a new log', () => statSync(container.logPath).ino !== ino);
  c.t.pass('the next command works');
}

promise(
  'a line that never ends, however it comes, costs a warning and no time',
  { excludes: { c: SPINS } },
  async (c) => {
    const container = shellContainer(c, COUNTS);
    await container.created();
    go(container);
    say(container, 0);
    await logged(container.logPath, 'line 0');
    for (const piece of ['9'.repeat(300), '1 '.repeat(5000), '\0'.repeat(199), ' '.repeat(200)]) {
      await tell(container, piece);
      await taken(container);
      await reopenSomehow(c, container);
    }
    for (let i = 0; i < 250; i++) await tell(container, '7');
    await taken(container);
    await reopenSomehow(c, container);
    const cpu = cpuTicks(container.daemonPid);
    const fromMs = performance.now();
    await waitFor('half a second to pass', () => performance.now() - fromMs > 500, { intervalMs: 100 });
    c.t.ok(cpuTicks(container.daemonPid) - cpu < 10, 'nothing spins');
    writeFileSync(container.path('stop'), '');
    c.t.equal(await container.finished(), 0);
  },
);

/** User and system time of a process so far, in hundredths of a second. */
function cpuTicks(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]?.split(' ') ?? [];
  return Number(fields[11]) + Number(fields[12]);
}

promise('a command may come in pieces, from several writers', {}, async (c) => {
  const container = shellContainer(c, COUNTS);
  await container.created();
  go(container);
  say(container, 0);
  await logged(container.logPath, 'line 0');
  const { ino } = statSync(container.logPath);
  for (const piece of ['2', ' ', '0 ', '0', '\n']) {
    await tell(container, piece);
    await taken(container);
  }
  await waitFor('a new log', () => statSync(container.logPath).ino !== ino);
  writeFileSync(container.path('stop'), '');
  c.t.equal(await container.finished(), 0);
  c.t.equal(processInfo(container.daemonPid)?.state === 'R', false);
});

promise('ctl does no harm without a log and without a terminal', {}, async (c) => {
  const container = shellContainer(c, 'while [ ! -e stop ]; do sleep 0.01; done; exit 3', [], { logPaths: ['none'] });
  await container.created();
  go(container);
  await tell(container, '2 0 0\n1 24 80\n');
  await taken(container);
  await tell(container, 'x\n');
  await taken(container);
  writeFileSync(container.path('stop'), '');
  c.t.equal(await container.finished(), 3);
});
