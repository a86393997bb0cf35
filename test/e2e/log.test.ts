/**
 * What containers write is in the k8s-file log, byte for byte and in time, however they write it.
 */
import { randomBytes, randomInt } from 'node:crypto';
import { copyFileSync, existsSync, openSync, readFileSync, statSync, writeFileSync, writeSync } from 'node:fs';
import { type Case, promise } from '../helpers/case.ts';
import { readLog } from '../helpers/k8s-log.ts';
import { nativeHelper } from '../helpers/native.ts';
import { type Random, seededRandom } from '../helpers/random.ts';
import { realRuntimes } from '../helpers/runtimes.ts';
import { waitFor } from '../helpers/wait.ts';

/** A piece of output: anything, with some liking for newlines, NUL, invalid UTF-8 and the size of a record. */
function randomPiece(random: Random): Buffer {
  const length = random.pick([1, 2, 7, 80, 1000, 4096, 8191, 8192, 8193, 16384, 40_000, random.below(100_000)]);
  const piece = Buffer.alloc(Math.max(1, length));
  const newlineEvery = random.pick([3, 50, 500, 9000, 1_000_000]);
  for (let i = 0; i < piece.length; i++) {
    piece[i] = random.below(newlineEvery) === 0 ? 10 : random.pick([0, 65 + random.below(26), 0xff, 0xc3, 13, 128]);
  }
  return piece;
}

/** Has the container write `pieces` to stdout (1) and stderr (2) as they are, with random pauses. */
function scribbling(c: Case, random: Random, pieces: readonly { fd: number; bytes: Buffer }[]): string[] {
  const [program, data, plan] = [c.workspace.path('scribble'), c.workspace.path('data'), c.workspace.path('plan')];
  copyFileSync(nativeHelper('scribble'), program);
  writeFileSync(data, Buffer.concat(pieces.map(({ bytes }) => bytes)));
  const lines = pieces.map(({ fd, bytes }) => `${fd} ${bytes.length} ${random.pick([0, 0, 0, 100, 2000])}`);
  writeFileSync(plan, `${lines.join('\n')}\n`);
  return [program, data, plan];
}

const SEED = Number(process.env['E2E_SEED'] ?? randomInt(2 ** 31));

promise(`any bytes in chunks of any size, seed ${SEED}`, { runtimes: realRuntimes() }, async (c) => {
  const random = seededRandom(SEED);
  const pieces = Array.from({ length: 150 }, () => ({ fd: 1 + random.below(2), bytes: randomPiece(random) }));
  // The streams end without a newline.
  pieces.push({ fd: 1, bytes: Buffer.from('no newline at the end') }, { fd: 2, bytes: Buffer.from([0xff, 0]) });
  const args = scribbling(c, random, pieces);
  const container = c.container({ process: { args } });
  await container.run();
  c.t.equal(await container.finished(), 0);
  const log = container.log();
  for (const [fd, got] of [
    [1, log.stdout],
    [2, log.stderr],
  ] as const) {
    const written = Buffer.concat(pieces.filter((piece) => piece.fd === fd).map(({ bytes }) => bytes));
    c.t.equal(got.length, written.length, `fd ${fd}: as many bytes`);
    c.t.ok(got.equals(written), `fd ${fd}: the same bytes`);
  }
  for (const stream of ['stdout', 'stderr']) {
    c.t.equal(log.records.findLast((record) => record.stream === stream)?.tag, 'P', `${stream} ends with a P record`);
  }
});

promise('a line that a newline ends is F, the rest of a stream is P, and no empty F follows', {}, async (c) => {
  const container = c.container({ fake: ["container printf 'one\\n\\ntwo'; printf 'err' >&2"] });
  await container.created();
  await container.exited();
  const records = container.log().records.map(({ stream, tag, content }) => `${stream} ${tag} ${content}`);
  c.t.strictSame(
    records.filter((record) => record.startsWith('stdout')),
    ['stdout F one', 'stdout F ', 'stdout P two'],
  );
  c.t.strictSame(
    records.filter((record) => record.startsWith('stderr')),
    ['stderr P err'],
  );
});

promise('a container without output leaves an empty log', {}, async (c) => {
  const container = c.container({ fake: ['container-exit 0'] });
  await container.created();
  await container.exited();
  c.t.equal(statSync(container.logPath).size, 0);
});

promise(
  'a prompt without newline is in the log within 200 ms while the container goes on',
  {
    runtimes: realRuntimes(),
  },
  async (c) => {
    const fifo = c.workspace.path('fifo');
    const script = `mkfifo ${fifo}; exec 3<>${fifo}; echo ready; while read word <&3; do printf 'prompt %s: ' $word; done`;
    const container = c.container({ script });
    await container.run();
    await waitFor('the container to be ready', () => readFileSync(container.logPath, 'latin1').includes('F ready\n'));
    const fd = openSync(fifo, 'r+');
    const latenciesMs: number[] = [];
    for (let i = 0; i < 9; i++) {
      const from = performance.now();
      writeSync(fd, `${i}\n`);
      await waitFor('the prompt', () => readFileSync(container.logPath, 'latin1').includes(` P prompt ${i}: \n`), {
        intervalMs: 1,
      });
      latenciesMs.push(performance.now() - from);
    }
    c.t.comment(`prompts after ${latenciesMs.map((ms) => ms.toFixed(1)).join(', ')} ms`);
    // The median: one of them may meet a machine that is busy with something else.
    c.t.ok((latenciesMs.toSorted((a, b) => a - b)[4] ?? Infinity) < 200, 'within 200 ms');
    c.t.notOk(existsSync(container.exitFile), 'the container goes on');
    process.kill(container.containerPid, 'SIGKILL');
    c.t.equal(await container.exited(), 137);
  },
);

promise('output to a pipe that stays silent and is then closed early does not end the session', {}, async (c) => {
  const container = c.container({ fake: ['container echo before; exec >&- 2>&-; sleep 0.5; exit 4'] });
  await container.created();
  c.t.equal(await container.exited(), 4);
  c.t.equal(container.log().stdout.toString(), 'before\n');
});

promise('timestamps are local time with a numeric offset, in order', {}, async (c) => {
  for (const [zone, offset] of [
    ['Asia/Kolkata', '+05:30'],
    ['America/New_York', '-05:00'],
    ['UTC', '+00:00'],
  ] as const) {
    const from = Date.now();
    const fake = ['container echo 1; sleep 0.02; echo 2; sleep 0.02; echo 3 >&2'];
    const container = c.container({ fake, env: { TZ: zone } });
    await container.created();
    await container.exited();
    const stamps = container.log().records.map(({ timestamp }) => timestamp);
    c.t.equal(stamps.length, 3, zone);
    c.t.ok(
      stamps.every((stamp) => stamp.endsWith(offset)),
      `${zone}: ${stamps[0]}`,
    );
    c.t.strictSame(stamps, stamps.toSorted(), 'in order');
    const times = stamps.map((stamp) => Date.parse(stamp));
    c.t.ok(
      times.every((time) => time >= from - 1 && time <= Date.now() + 1),
      `${zone}: the right time`,
    );
  }
});

promise(
  'a new log file has mode 0640',
  {
    differs: { c: 'C 2.1.6 makes log files with mode 0600; 2.2.1 with 0640' },
  },
  async (c) => {
    const container = c.container({ fake: ['container-exit 0'], launch: ['--umask', '0'] });
    await container.created();
    await container.exited();
    const mode = (statSync(container.logPath).mode & 0o777).toString(8);
    c.t.equal(mode, c.differs === undefined ? '640' : '600');
  },
);

promise('an existing log is continued', {}, async (c) => {
  const path = c.workspace.path('kept.log');
  const before = '2026-01-02T03:04:05.000000006+00:00 stdout F before\n';
  writeFileSync(path, before);
  const container = c.container({ fake: ['container echo after'], logPaths: [path] });
  await container.created();
  await container.exited();
  c.t.ok(readFileSync(path, 'latin1').startsWith(before));
  c.t.equal(readLog(path).stdout.toString(), 'before\nafter\n');
});

promise('every spelling of a k8s-file log path', {}, async (c) => {
  for (const prefix of ['', 'k8s-file:', ':']) {
    const path = c.workspace.path(`spelled-${prefix.length}.log`);
    const container = c.container({ fake: ['container echo x'], logPaths: [`${prefix}${path}`] });
    await container.created();
    await container.exited();
    c.t.equal(readLog(path).stdout.toString(), 'x\n', `${prefix}PATH`);
  }
});

promise('none, off and null log nothing and hold nothing up', {}, async (c) => {
  for (const driver of ['none', 'off', 'null']) {
    const fake = [
      'container i=0; while [ $i -lt 3000 ]; do echo 0123456789012345678901234567890123456789; i=$((i+1)); done',
    ];
    const container = c.container({ fake, logPaths: [driver] });
    await container.created();
    c.t.equal(await container.exited(), 0, driver);
    c.t.notOk(existsSync(container.logPath), `${driver}: no file`);
  }
});

promise('binary output of a real container without a pause', { runtimes: ['runc', 'crun'] }, async (c) => {
  const data = c.workspace.path('binary');
  const bytes = randomBytes(3_000_000);
  writeFileSync(data, bytes);
  const container = c.container({ process: { args: ['/bin/cat', data] } });
  await container.run();
  c.t.equal(await container.finished(), 0);
  c.t.ok(container.log().stdout.equals(bytes));
});
