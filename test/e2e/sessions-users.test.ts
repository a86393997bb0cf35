/**
 * Execs that join, and users: a user's exec joins the user's own container, with XDG_RUNTIME_DIR and nothing of root's;
 * nobody's exec gets into the daemon of another user, and a directory that is not its user's alone is not used.
 */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  copyFileSync,
  cpSync,
  existsSync,
  lchownSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { type Case, promise } from '../helpers/case.ts';
import type { Container } from '../helpers/container.ts';
import type { Exec } from '../helpers/exec.ts';
import { nativeHelper, REPOSITORY } from '../helpers/native.ts';
import { readRecording } from '../helpers/runtimes.ts';
import { waitFor } from '../helpers/wait.ts';

const OURS = { excludes: { c: 'a conmon in C holds one session' } } as const;
const ROOT = 0;
const [ALICE, BOB] = [61_001, 61_002];

function give(path: string, uid: number): void {
  lchownSync(path, uid, uid);
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    const inner = join(path, entry.name);
    if (entry.isDirectory()) give(inner, uid);
    else lchownSync(inner, uid, uid);
  }
}

const asUser = (uid: number): string[] =>
  uid === ROOT ? [] : ['setpriv', '--reuid', String(uid), '--regid', String(uid), '--clear-groups', '--'];

/** conmon as a program of that user. */
function conmonOf(c: Case, uid: number): string {
  if (uid === ROOT) return c.monitor.path;
  const path = c.workspace.path(`conmon-${uid}`);
  writeFileSync(path, `#!/bin/sh\nexec ${asUser(uid).join(' ')} ${c.monitor.path} "$@"\n`, { mode: 0o755 });
  return path;
}

function runtimeDir(c: Case, uid: number, mode = 0o700): string {
  const path = c.workspace.directory(`run-${uid}`);
  chmodSync(path, mode);
  chownSync(path, uid, uid);
  return path;
}

const environment = (dir: string): Record<string, string> => ({ CONMON_SESSIONS: 'on', XDG_RUNTIME_DIR: dir });

/** A user's container, as far as its pid. */
async function container(c: Case, uid: number, dir: string): Promise<Container> {
  const fake = ['container exec sleep 1000'];
  const made = c.container({ fake, conmonPath: conmonOf(c, uid), env: environment(dir), holdStart: true });
  // Users may not be let into the tree that the tests run from.
  rmSync(made.runtimePath);
  copyFileSync(nativeHelper('fake-runtime'), made.runtimePath);
  chmodSync(made.runtimePath, 0o755);
  give(made.dir, uid);
  made.conmon.go();
  await made.created();
  return made;
}

/** An exec of that user's, in whosever container. @returns the process that its runtime had as a parent. */
async function parentOfExec(c: Case, made: Container, uid: number, dir: string): Promise<number> {
  const record = made.path(`record-${uid}-${Math.random()}`);
  mkdirSync(record);
  writeFileSync(`${made.runtimePath}.conf`, `record ${record}\ncontainer echo out; exit 5\n`);
  chownSync(record, uid, uid);
  const one: Exec = c.exec(made, { conmonPath: conmonOf(c, uid), env: environment(dir), holdStart: true });
  give(one.dir, uid);
  one.conmon.go();
  c.t.equal(await one.everything(), '{"exit_code": 5}\n', 'it runs, whoever holds it');
  await one.ended();
  c.t.equal(one.log().stdout.toString(), 'out\n');
  return (await waitFor('the recording', () => readRecording(record))).ppid;
}

/** The program, where every user can read it. */
function handOverClient(c: Case): string {
  const tree = c.workspace.directory('client');
  for (const path of ['src/native', 'test/helpers/hand-over-client.ts', 'libexec/conmon/sys.node'])
    cpSync(join(REPOSITORY, path), join(tree, path), { recursive: true });
  writeFileSync(join(tree, 'package.json'), '{"type":"module"}');
  return join(tree, 'test/helpers/hand-over-client.ts');
}

const socketOf = (dir: string, made: Container): string => `${dir}/conmon/${made.cid}`;

async function end(made: Container): Promise<void> {
  process.kill(made.containerPid, 'SIGKILL');
  await made.finished();
}

promise('a user’s exec joins the user’s container, by XDG_RUNTIME_DIR', OURS, async (c) => {
  const dir = runtimeDir(c, ALICE);
  const made = await container(c, ALICE, dir);
  await waitFor('the socket', () => existsSync(socketOf(dir, made)));
  c.t.notOk(existsSync(`/run/conmon/${made.cid}`), 'root’s directory is not asked');
  c.t.equal(await parentOfExec(c, made, ALICE, dir), made.daemonPid);
  c.t.not(await parentOfExec(c, made, ALICE, runtimeDir(c, BOB)), made.daemonPid, 'another directory, nobody there');
  await end(made);
  c.t.notOk(existsSync(socketOf(dir, made)));
});

promise('another user’s exec, and root’s, have a conmon of their own', OURS, async (c) => {
  const dir = runtimeDir(c, ALICE, 0o755);
  const made = await container(c, ALICE, dir);
  await waitFor('the socket', () => existsSync(socketOf(dir, made)));
  // Alice lets everybody in.
  chmodSync(`${dir}/conmon`, 0o755);
  chmodSync(socketOf(dir, made), 0o777);
  c.t.not(await parentOfExec(c, made, BOB, dir), made.daemonPid, 'a directory of hers is not his');
  const his = runtimeDir(c, BOB);
  mkdirSync(`${his}/conmon`, { mode: 0o700 });
  chownSync(`${his}/conmon`, BOB, BOB);
  symlinkSync(socketOf(dir, made), socketOf(his, made));
  c.t.not(await parentOfExec(c, made, BOB, his), made.daemonPid, 'nor is her daemon, at his own socket’s place');
  c.t.not(await parentOfExec(c, made, ROOT, dir), made.daemonPid, 'root looks in /run/conmon alone');
  chmodSync(`${dir}/conmon`, 0o700);
  c.t.equal(await parentOfExec(c, made, ALICE, dir), made.daemonPid, 'hers still joins');
  await end(made);
});

promise('the daemon refuses whoever reaches its socket and is another user', OURS, async (c) => {
  const dir = runtimeDir(c, ALICE, 0o755);
  const made = await container(c, ALICE, dir);
  await waitFor('the socket', () => existsSync(socketOf(dir, made)));
  chmodSync(`${dir}/conmon`, 0o755);
  chmodSync(socketOf(dir, made), 0o777);
  const libexec = join(dirname(dirname(c.monitor.path)), 'libexec/conmon');
  const build = /buildId="([0-9a-f]{32})"/.exec(readFileSync(join(libexec, 'main.js'), 'latin1'))?.[1] ?? '';
  const record = made.path('record-by-hand');
  mkdirSync(record, { mode: 0o777 });
  chmodSync(record, 0o777);
  writeFileSync(`${made.runtimePath}.conf`, `record ${record}\ncontainer exit 0\n`);
  const client = handOverClient(c);
  const attempt = (uid: number): string => {
    const pidfile = made.path(`by-hand-${uid}`);
    const conmon = ['-c', made.cid, '-r', made.runtimePath, '-p', pidfile, '-e', '--exec-process-spec', '/dev/null'];
    const more = ['-l', 'none', '--runtime-arg', `--root=${made.runtimeRoot}`];
    const program = [join(libexec, 'node'), client, socketOf(dir, made), build];
    // `env -i`: tap puts its own loader into the environment of every child.
    const variables = Object.entries(environment(dir)).map(([name, value]) => `${name}=${value}`);
    const args = ['-i', ...variables, ...asUser(uid), ...program, ...conmon, ...more];
    return execFileSync('/usr/bin/env', args, { cwd: made.dir, encoding: 'utf8', timeout: 30_000 });
  };
  c.t.equal(attempt(BOB), 'refused');
  c.t.equal(attempt(ROOT), 'refused');
  c.t.equal(readRecording(record), undefined, 'and nothing was run');
  c.t.equal(attempt(ALICE), 'taken', 'the same from herself is taken');
  c.t.equal((await waitFor('the recording', () => readRecording(record))).ppid, made.daemonPid);
  await end(made);
});

promise(
  'a directory that is not its user’s alone is not used: no socket, and execs are none the worse',
  OURS,
  async (c) => {
    const spoils: Readonly<Record<string, (dir: string) => string>> = {
      'writable by others': (dir) => {
        chmodSync(dir, 0o777);
        return dir;
      },
      'of another user': (dir) => {
        chownSync(dir, BOB, BOB);
        chmodSync(dir, 0o755);
        return dir;
      },
      'with a conmon that others may enter': (dir) => {
        mkdirSync(`${dir}/conmon`);
        chownSync(`${dir}/conmon`, ALICE, ALICE);
        chmodSync(`${dir}/conmon`, 0o750);
        return dir;
      },
      'with a conmon of another user': (dir) => {
        mkdirSync(`${dir}/conmon`);
        chownSync(`${dir}/conmon`, BOB, BOB);
        chmodSync(`${dir}/conmon`, 0o777);
        return dir;
      },
      'with a symlink for conmon': (dir) => {
        const elsewhere = c.workspace.directory('elsewhere');
        chownSync(elsewhere, ALICE, ALICE);
        chmodSync(elsewhere, 0o700);
        symlinkSync(elsewhere, `${dir}/conmon`);
        return dir;
      },
      relative: () => 'run',
    };
    let number = 0;
    for (const [name, spoil] of Object.entries(spoils)) {
      const dir = c.workspace.directory(`spoilt-${number++}`);
      chownSync(dir, ALICE, ALICE);
      chmodSync(dir, 0o700);
      const spoilt = spoil(dir);
      const made = await container(c, ALICE, spoilt);
      c.t.not(await parentOfExec(c, made, ALICE, spoilt), made.daemonPid, name);
      c.t.strictSame(
        [dir, `${dir}/conmon`, c.workspace.directory('elsewhere')].flatMap((each) =>
          existsSync(each) ? readdirSync(each).filter((entry) => entry === made.cid) : [],
        ),
        [],
        name,
      );
      await end(made);
    }
  },
);
