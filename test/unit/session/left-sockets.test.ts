/** Sockets of killed daemons: which are removed, which never, and that nobody who lives loses his or hears of it. */
import { spawn } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { EAGAIN, ECONNREFUSED, POLLIN, SOCK_NONBLOCK, SOCK_SEQPACKET } from '../../../src/native/constants.ts';
import { sys } from '../../../src/native/sys.ts';
import { isLeft, sweep } from '../../../src/session/left-sockets.ts';
import { waitFor } from '../../helpers/wait.ts';

const LONG_AGO = new Date('2026-01-01');

function directory(t: Test): string {
  const path = mkdtempSync(join(tmpdir(), 'conmon-left-'));
  t.teardown(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** A bound socket that nobody listens on yet. */
function bound(path: string): number {
  const fd = sys.socket(SOCK_SEQPACKET | SOCK_NONBLOCK);
  if (fd < 0 || sys.bind(fd, path) < 0) throw new Error(`cannot bind ${path}`);
  return fd;
}

function left(path: string): void {
  sys.close(bound(path));
  utimesSync(path, LONG_AGO, LONG_AGO);
}

/** A live daemon's; it is as old as the others. */
function live(t: Test, path: string): number {
  const fd = bound(path);
  if (sys.listen(fd, 4) < 0) throw new Error(`cannot listen at ${path}`);
  utimesSync(path, LONG_AGO, LONG_AGO);
  t.teardown(() => sys.close(fd));
  return fd;
}

t.test('what killed daemons have left goes, and who lives stays and hears nothing', async (t) => {
  const dir = directory(t);
  const ids = ['a'.repeat(64), 'with.dots_and-dashes', 'hash-0123456789abcdef', '.left-4711'];
  for (const id of ids) left(join(dir, id));
  const fd = live(t, join(dir, 'live'));
  t.equal(sweep(sys, dir), ids.length);
  t.strictSame(readdirSync(dir), ['live']);
  t.equal(sys.poll(Int32Array.of(fd, POLLIN), 1, 0), 0, 'nobody has knocked');
  t.equal(sys.accept4(fd, 0), EAGAIN);
  t.equal(sweep(sys, dir), 0);
});

t.test('a socket that is bound and not yet listened on is somebody’s', async (t) => {
  const dir = directory(t);
  const path = join(dir, 'starting');
  const fd = bound(path);
  t.equal(isLeft(sys, path), false);
  utimesSync(path, LONG_AGO, LONG_AGO);
  t.equal(sweep(sys, dir), 0);
  sys.close(fd);
  t.equal(isLeft(sys, path), true);
  t.equal(isLeft(sys, join(dir, 'nothing')), false);
});

t.test('what is young, no socket, a link, of another name or of another user stays', async (t) => {
  const dir = directory(t);
  const elsewhere = directory(t);
  sys.close(bound(join(dir, 'young')));
  writeFileSync(join(dir, 'file'), '');
  utimesSync(join(dir, 'file'), LONG_AGO, LONG_AGO);
  mkdirSync(join(dir, 'directory'));
  left(join(elsewhere, 'target'));
  symlinkSync(join(elsewhere, 'target'), join(dir, 'link'));
  left(join(dir, '.hidden'));
  left(join(dir, 'a b'));
  left(join(dir, 'x'.repeat(81)));
  const names = readdirSync(dir).sort();
  t.equal(sweep(sys, dir), 0);
  t.strictSame(readdirSync(dir).sort(), names);
  t.ok(existsSync(join(elsewhere, 'target')));
  // A mistaken answer of the kernel for each of them changes nothing either.
  t.equal(sweep({ ...sys, connect: () => ECONNREFUSED }, dir), 0);
  t.strictSame(readdirSync(dir).sort(), names);
  if (process.getuid?.() !== 0) return;
  chmodSync(elsewhere, 0o777);
  process.seteuid?.(65534);
  const others = sweep({ ...sys, connect: () => ECONNREFUSED }, elsewhere);
  process.seteuid?.(0);
  t.equal(others, 0);
  t.ok(existsSync(join(elsewhere, 'target')));
});

t.test('a daemon that takes the name in the meantime keeps it', async (t) => {
  const dir = directory(t);
  const path = join(dir, 'cid');
  left(path);
  let fd = -1;
  const connect = (probe: number, probed: string): number => {
    const result = sys.connect(probe, probed);
    unlinkSync(path);
    fd = bound(path);
    sys.listen(fd, 4);
    return result;
  };
  t.equal(sweep({ ...sys, connect }, dir), 0);
  t.teardown(() => sys.close(fd));
  t.strictSame(readdirSync(dir), ['cid'], 'and nothing is beside it');
  t.equal(isLeft(sys, path), false);
});

t.test('of a full directory a part goes at a time, of one without any only a few are looked at', async (t) => {
  const dir = directory(t);
  for (let i = 0; i < 200; i++) left(join(dir, `cid-${i}`));
  let looks = 0;
  const connect = (fd: number, path: string): number => {
    looks++;
    return sys.connect(fd, path);
  };
  t.equal(sweep({ ...sys, connect }, dir), 64);
  t.equal(looks, 64);
  let total = 64;
  for (let i = 0; i < 3; i++) total += sweep(sys, dir);
  t.equal(total, 200);
  for (let i = 0; i < 40; i++) live(t, join(dir, `cid-${i}`));
  looks = 0;
  t.equal(sweep({ ...sys, connect }, dir), 0);
  t.equal(looks, 8);
});

t.test('one that is left among many that live is found in the end', async (t) => {
  const dir = directory(t);
  for (let i = 0; i < 60; i++) live(t, join(dir, `cid-${i}`));
  left(join(dir, 'left'));
  // 61 names, 8 looks a sweep: after 300 sweeps it is still there with a probability of 1e-18.
  for (let i = 0; i < 300 && existsSync(join(dir, 'left')); i++) sweep(sys, dir);
  t.notOk(existsSync(join(dir, 'left')));
  t.equal(readdirSync(dir).length, 60);
});

const source = (path: string): string => new URL(`../../../src/${path}`, import.meta.url).href;
const SWEEPER = `
import { sys } from '${source('native/sys.ts')}';
import { sweep } from '${source('session/left-sockets.ts')}';
process.stdin.on('data', () => { process.stdout.write(String(removed)); process.exit(0); });
let removed = 0;
process.stdout.write('ready ');
const again = () => { removed += sweep(sys, process.argv[1]); setImmediate(again); };
again();
`;

t.test('many that sweep at once while daemons start under the same names take nobody’s socket', async (t) => {
  const dir = directory(t);
  const sweepers = [0, 1, 2].map(() => spawn(process.execPath, ['--input-type=module', '-e', SWEEPER, dir]));
  const said = sweepers.map((sweeper) => {
    const one = { text: '' };
    sweeper.stdout.setEncoding('utf8').on('data', (text: string) => {
      one.text += text;
    });
    t.teardown(() => sweeper.kill('SIGKILL'));
    return one;
  });
  await waitFor('the sweepers', () => said.every(({ text }) => text.startsWith('ready')));
  for (let round = 0; round < 300; round++) {
    const path = join(dir, `cid-${round % 5}`);
    // A sweeper may put the last round's back after it was removed here.
    const killed = bindOver(path);
    await waitFor('it to be at its place', () => madeOld(path));
    sys.close(killed);
    const fd = bindOver(path); // as a daemon of the same id
    sys.listen(fd, 4);
    await new Promise((resolve) => setTimeout(resolve, 1));
    // One that was taken for the one before is moved aside for a moment.
    await waitFor(`the socket of round ${round}`, () => connect(path) === 0);
    sys.close(fd);
    rmSync(path, { force: true });
  }
  for (const sweeper of sweepers) sweeper.stdin.write('\n');
  await Promise.all(sweepers.map((sweeper) => new Promise((resolve) => sweeper.once('close', resolve))));
  const removed = said.reduce((sum, { text }) => sum + Number(text.split(' ')[1]), 0);
  t.comment(`${removed} were removed`);
  t.ok(removed > 0, 'they had something to remove');
  t.strictSame(
    readdirSync(dir).filter((name) => name.startsWith('.')),
    [],
    'nothing is left aside',
  );
});

/** false while a sweeper has it aside, having taken it for the one before. */
function madeOld(path: string): boolean {
  if (!existsSync(path)) return false;
  try {
    utimesSync(path, LONG_AGO, LONG_AGO);
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return false;
    throw error;
  }
}

/** Binds to `path`, whatever is there. */
function bindOver(path: string): number {
  const fd = sys.socket(SOCK_SEQPACKET | SOCK_NONBLOCK);
  while (sys.bind(fd, path) < 0) rmSync(path, { force: true });
  return fd;
}

function connect(path: string): number {
  const fd = sys.socket(SOCK_SEQPACKET | SOCK_NONBLOCK);
  const result = sys.connect(fd, path);
  sys.close(fd);
  return result;
}
