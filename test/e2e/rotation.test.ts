/**
 * Log files that fill up, are rotated, renamed away and reopened: every line is in one of them, once and whole.
 */
import { randomInt } from 'node:crypto';
import {
  chmodSync,
  constants,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
  watch,
  writeFileSync,
} from 'node:fs';
import { open } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Case, promise } from '../helpers/case.ts';
import type { Container } from '../helpers/container.ts';
import { filesInOrder, line, readNumbered, SAY } from '../helpers/numbered.ts';
import { seededRandom } from '../helpers/random.ts';
import { waitFor, within } from '../helpers/wait.ts';

const SEED = Number(process.env['E2E_SEED'] ?? randomInt(2 ** 31));
const NO_ROTATION = 'C 2.1.6 has no --log-rotate';
const REOPENS = 200;
const ROTATIONS = 200;
const FILE_MAX = 40_000;

/** Writes to ctl as CRI-O does: a blocking open, one write. */
async function reopen(container: Container): Promise<void> {
  const file = await within('a reader of ctl', open(`${container.bundle}/ctl`, constants.O_WRONLY));
  try {
    await within('ctl to take it', file.writeFile('2 0 0\n'));
  } finally {
    await file.close();
  }
}

/** Lines until there are at least `least` and a file `stop` is there; their number is in `count` then. */
function chatter(container: { path(name: string): string }, least: number): string {
  const [stop, count] = [container.path('stop'), container.path('count')];
  return `${SAY}; i=0; while [ $i -lt ${least} ] || [ ! -e ${stop} ]; do say $((i+1)) $((i+100)); i=$((i+100)); done; echo $i > ${count}.tmp; mv ${count}.tmp ${count}`;
}

/** A container whose script is made of its own paths: they are those of the next container of the case. */
function chattering(c: Case, least: number, args: readonly string[]): Container {
  const dir = c.workspace.directory('chatter');
  return c.container({ script: chatter({ path: (name) => `${dir}/${name}` }, least), args });
}

/** Ends a chattering container. @returns how many lines it wrote */
async function silence(c: Case, container: Container): Promise<number> {
  const dir = c.workspace.directory('chatter');
  writeFileSync(`${dir}/stop`, '');
  c.t.equal(await container.finished(90_000), 0);
  return Number(readFileSync(`${dir}/count`, 'latin1'));
}

/** All lines are in the files, once, in order. */
function complete(c: Case, container: Container, count: number): void {
  const files = filesInOrder(`${container.dir}/logs`);
  let next = 1;
  for (const { path, numbers } of files)
    for (const n of numbers) {
      if (n !== next) {
        c.t.fail(`${path}: line ${n} where ${next} was due`);
        return;
      }
      next++;
    }
  c.t.equal(next - 1, count, `${count} lines in ${files.length} files`);
}

/** `REOPENS` times: perhaps renames the file away, asks for a new one, waits for inotify to tell of it. */
async function reopenOftenAndRename(c: Case, container: Container, always: boolean): Promise<void> {
  const random = seededRandom(SEED);
  let seen = 0;
  const watcher = watch(`${container.dir}/logs`, (_event, name) => {
    if (name === 'ctr.log') seen++;
  });
  c.workspace.defer(() => watcher.close());
  for (let i = 0; i < REOPENS; i++) {
    if (random.below(3) > 0) await sleep(random.below(8));
    if (always || random.below(2) === 0) {
      // A rotation of conmon's own may have moved it just now: then there is nothing to rename.
      await waitFor('the log', () => existsSync(container.logPath));
      try {
        renameSync(container.logPath, `${container.logPath}.kept-${i}`);
      } catch (error) {
        if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error;
      }
    }
    const before = seen;
    await reopen(container);
    await waitFor(`a create event, the ${i + 1}th`, () => seen > before && existsSync(container.logPath));
  }
  watcher.close();
}

promise(
  `a flood, ${ROTATIONS} rotations and ${REOPENS} reopens with renames, lose and double nothing, seed ${SEED}`,
  { runtimes: ['runc'], excludes: { c: NO_ROTATION }, timeoutMs: 180_000 },
  async (c) => {
    const args = ['--log-rotate', '--log-max-files', '5000', '--log-size-max', String(FILE_MAX)];
    const container = chattering(c, 100_000, args);
    await container.created();
    await container.start();
    await reopenOftenAndRename(c, container, false);
    const count = await silence(c, container);
    complete(c, container, count);
    const names = readdirSync(`${container.dir}/logs`);
    const rotated = names.filter((name) => /^ctr\.log\.\d+$/.test(name));
    const kept = names.filter((name) => /kept/.test(name));
    c.t.ok(rotated.length >= ROTATIONS, `${rotated.length} rotated files, ${kept.length} renamed ones`);
    c.t.same(
      rotated.map((name) => Number(name.slice('ctr.log.'.length))).toSorted((a, b) => a - b),
      Array.from({ length: rotated.length }, (_, i) => i + 1),
      'numbered without a gap',
    );
    c.t.same(
      names.filter((name) => /new|tmp/.test(name)),
      [],
      'nothing half made is left',
    );
    for (const name of names)
      c.t.ok(statSync(`${container.dir}/logs/${name}`).size <= FILE_MAX, `${name} is not too large`);
    // The older, the higher the number.
    const firsts = filesInOrder(`${container.dir}/logs`).flatMap(({ path }) => /\.log\.(\d+)$/.exec(path)?.[1] ?? []);
    c.t.same(
      firsts.map(Number),
      firsts.map(Number).toSorted((a, b) => b - a),
      'in order',
    );
  },
);

promise(
  `a flood and ${REOPENS} reopens with renames lose and double nothing without --log-rotate, seed ${SEED}`,
  { runtimes: ['runc'], excludes: { c: 'C cuts lines where its reads end' }, timeoutMs: 180_000 },
  async (c) => {
    const container = chattering(c, 100_000, []);
    await container.created();
    await container.start();
    await reopenOftenAndRename(c, container, true);
    const count = await silence(c, container);
    complete(c, container, count);
  },
);

promise(
  'with --log-rotate as many full files are kept as asked for, and none is too large',
  { runtimes: ['runc'], excludes: { c: NO_ROTATION } },
  async (c) => {
    for (const keep of [1, 3]) {
      const logs = c.workspace.directory(`kept-${keep}`);
      const container = c.container({
        script: `${SAY}; say 1 2000`,
        logPaths: [`${logs}/ctr.log`],
        args: ['--log-rotate', '--log-max-files', String(keep), '--log-size-max', '10000'],
      });
      await container.run();
      c.t.equal(await container.finished(), 0);
      const expected = ['ctr.log', ...Array.from({ length: keep }, (_, i) => `ctr.log.${i + 1}`)];
      c.t.same(readdirSync(logs).toSorted(), expected);
      const files = filesInOrder(logs);
      for (const { path, bytes } of files) {
        c.t.ok(bytes <= 10_000, `${path}: ${bytes}`);
        // One more record would not have fitted.
        if (!path.endsWith('ctr.log')) c.t.ok(bytes + line(2000).length + 46 > 10_000, `${path} is full: ${bytes}`);
      }
      const numbers = files.flatMap((file) => file.numbers);
      c.t.equal(numbers.at(-1), 2000);
      c.t.equal((numbers[0] ?? 0) + numbers.length - 1, 2000, 'the end of the log without a gap');
    }
  },
);

promise(
  'an existing file counts: it is rotated before it would pass the maximum',
  { excludes: { c: NO_ROTATION } },
  async (c) => {
    const path = c.workspace.path('old', 'ctr.log');
    const old = `2026-01-02T03:04:05.000000006+00:00 stdout F ${'o'.repeat(900)}\n`;
    writeFileSync(path, old);
    const args = ['--log-rotate', '--log-size-max', '1000'];
    const container = c.container({ fake: ['container echo one; echo two'], logPaths: [path], args });
    await container.created();
    await container.exited();
    await container.ended();
    c.t.equal(readFileSync(`${path}.1`, 'latin1').slice(0, old.length), old);
    const both = readFileSync(`${path}.1`, 'latin1') + readFileSync(path, 'latin1');
    c.t.match(both, /^[^\n]*o\n\S+ stdout F one\n\S+ stdout F two\n$/);
    c.t.ok(statSync(`${path}.1`).size <= 1000);
  },
);

promise(
  '--log-rotate refuses a place that is not safe, before the container is created',
  { excludes: { c: NO_ROTATION } },
  async (c) => {
    const dir = c.workspace.directory('unsafe');
    mkdirSync(`${dir}/open`);
    chmodSync(`${dir}/open`, 0o777);
    mkdirSync(`${dir}/closed`);
    symlinkSync('closed', `${dir}/link`);
    const refusal = async (path: string, ...args: readonly string[]): Promise<string> => {
      const container = c.container({ fake: ['container-exit 0'], logPaths: [path], args: ['--log-rotate', ...args] });
      const { code } = await container.conmon.started;
      await container.conmon.stderrClosed;
      return `${code} ${container.conmon.stderr}`;
    };
    c.t.match(await refusal(`${dir}/open/log`), /^1 \[conmon:e\]: Log directory .*\/open can be written by everybody/);
    c.t.match(await refusal(`${dir}/open/../closed/log`), /^1 \[conmon:e\]: Log path .* must not contain '\.\.'/);
    const allowed = ['--log-allowlist-dir', `${dir}/open`, '--log-allowlist-dir', `${dir}/clos`];
    c.t.match(
      await refusal(`${dir}/closed/log`, ...allowed),
      /^\[conmon:e\]: Log path .* is in none of the directories/m,
    );
    c.t.same(readdirSync(`${dir}/open`), []);
    // Through a link that leads to an allowed place it is the place that counts.
    const args = ['--log-rotate', '--log-allowlist-dir', `${dir}/closed`];
    const container = c.container({ fake: ['container echo x'], logPaths: [`${dir}/link/log`], args });
    await container.created();
    c.t.equal(await container.exited(), 0);
    await container.ended();
    c.t.match(readFileSync(`${dir}/closed/log`, 'latin1'), / stdout F x\n$/);
  },
);

promise(
  '--log-global-size-max is exact over rotations, and the container is drained, not blocked',
  { runtimes: ['runc'], excludes: { c: NO_ROTATION } },
  async (c) => {
    const limit = 100_000;
    const args = [
      '--log-rotate',
      '--log-max-files',
      '50',
      '--log-size-max',
      '9000',
      '--log-global-size-max',
      String(limit),
    ];
    const container = c.container({ script: `${SAY}; say 1 20000`, args });
    await container.run();
    c.t.equal(await container.finished(), 0, 'it could write all it wanted');
    const files = filesInOrder(`${container.dir}/logs`);
    const total = files.reduce((sum, { bytes }) => sum + bytes, 0);
    const numbers = files.flatMap((file) => file.numbers);
    const last = line(numbers.length).length + 46;
    c.t.ok(total >= limit && total - last < limit, `${total} bytes: the record that reaches the limit is the last`);
    c.t.same(
      numbers,
      Array.from({ length: numbers.length }, (_, i) => i + 1),
    );
    for (const { path, bytes } of files) c.t.ok(bytes <= 9000, `${path}: ${bytes}`);
    c.t.same(readNumbered(readFileSync(container.logPath)).recoveries, [], 'that is no loss');
  },
);
