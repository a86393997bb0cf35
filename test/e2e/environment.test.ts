/**
 * Hostile surroundings: whatever the caller's process looks like, the container runs and its output is logged.
 */
import { writeFileSync } from 'node:fs';
import { type Case, promise } from '../helpers/case.ts';
import type { Container, ContainerOptions } from '../helpers/container.ts';
import { type Recording, readRecording } from '../helpers/runtimes.ts';
import { waitFor } from '../helpers/wait.ts';

/** What a caller's environment may hold that changes a Node, or OpenSSL in it. */
const NODE_TRAPS = {
  NODE_OPTIONS: '--require /nonexistent',
  NODE_EXTRA_CA_CERTS: '/nonexistent/ca.pem',
  NODE_PATH: '/nonexistent',
  NODE_DEBUG: 'fs,child_process,module,worker',
  NODE_V8_COVERAGE: '/nonexistent/coverage',
  NODE_REPL_EXTERNAL_MODULE: '/nonexistent',
  NODE_ICU_DATA: '/nonexistent',
  NODE_PENDING_DEPRECATION: '1',
  NODE_REDIRECT_WARNINGS: '/nonexistent/warnings',
  NODE_COMPILE_CACHE: '/nonexistent/cache',
  NODE_TLS_REJECT_UNAUTHORIZED: '0',
  NODE_NO_WARNINGS: '1',
  OPENSSL_CONF: '/nonexistent/openssl.cnf',
  SSL_CERT_DIR: '/nonexistent',
  UV_THREADPOOL_SIZE: '1',
  UV_USE_IO_URING: '0',
};

interface Surroundings {
  readonly name: string;
  readonly options: (c: Case) => ContainerOptions;
  readonly differs?: { readonly reason: string; readonly does: 'refuses' | 'loses output' | 'dies' };
}

const CLOSED_PAIRS = 'C makes its pipes at the closed numbers and puts /dev/null over them';

const SURROUNDINGS: readonly Surroundings[] = [
  ...['0', '1', '2'].map((fd) => ({ name: `fd ${fd} closed`, options: () => ({ launch: ['--close', fd] }) })),
  ...['0 1', '1 2', '0 1 2'].map((fds) => ({
    name: `fds ${fds} closed`,
    options: () => ({ launch: fds.split(' ').flatMap((fd) => ['--close', fd]) }),
    differs: { reason: CLOSED_PAIRS, does: 'loses output' as const },
  })),
  {
    name: 'a working directory that was deleted',
    options: (c) => ({ launch: ['--deleted-cwd', `${c.workspace.dir}/gone`] }),
    differs: { reason: 'C says `Failed to get working directory`, also when every path is absolute', does: 'refuses' },
  },
  { name: 'no HOME', options: () => ({ unsetEnv: ['HOME'] }) },
  { name: 'no PATH', options: () => ({ unsetEnv: ['PATH'] }) },
  { name: 'nothing in the environment but the pipes', options: () => ({ unsetEnv: ['PATH', 'CRI_O_EXTERNAL'] }) },
  { name: 'a TMPDIR that does not exist', options: () => ({ env: { TMPDIR: '/nonexistent' } }) },
  { name: 'a locale that does not exist', options: () => ({ env: { LC_ALL: 'xx_YY.UTF-8', LANG: 'nonsense' } }) },
  { name: 'RLIMIT_NOFILE 64', options: () => ({ launch: ['--nofile', '64'] }) },
  { name: 'SIGPIPE, SIGHUP and SIGTERM ignored', options: () => ({ launch: ['13', '1', '15'].flatMap(ignore) }) },
  {
    name: 'SIGCHLD ignored',
    options: () => ({ launch: ignore('17') }),
    differs: { reason: 'C leaves SIGCHLD ignored and never gets a status', does: 'dies' },
  },
  { name: 'a process group of its own', options: () => ({ launch: ['--setpgid'] }) },
  {
    name: 'inherited fds from 10 to 60',
    options: () => ({ launch: [10, 11, 23, 60].flatMap((fd) => ['--open', String(fd), '/dev/null']) }),
  },
  { name: 'variables that would change Node', options: () => ({ env: NODE_TRAPS }) },
  { name: 'Podman and variables that would change Node', options: () => ({ style: 'podman', env: NODE_TRAPS }) },
];

function ignore(signal: string): string[] {
  return ['--ignore', signal];
}

for (const { name, options, differs } of SURROUNDINGS) {
  const annotation = differs === undefined ? {} : { differs: { c: differs.reason } };
  promise(`${name}: a container runs and is logged`, { runtimes: ['runc'], ...annotation }, async (c) => {
    const container = c.container({ ...options(c), script: 'echo out; echo err >&2; exit 3' });
    const does = c.differs === undefined ? 'as promised' : differs?.does;
    if (does === 'refuses') {
      c.t.strictSame(await container.conmon.started, { code: 1, signal: null });
      return;
    }
    if (does === 'dies') {
      await container.conmon.syncClosed();
      c.t.equal(container.conmon.unread, '', 'not a word');
      return;
    }
    await container.run();
    c.t.equal(await container.finished(), 3, 'status');
    c.t.equal(container.log().stdout.toString(), does === 'loses output' ? '' : 'out\n', 'stdout');
    c.t.equal(container.log().stderr.toString(), does === 'loses output' ? '' : 'err\n', 'stderr');
  });
}

promise(
  'umask 0777: a container runs and is logged',
  {
    runtimes: ['runc'],
    differs: { c: 'C 2.1.6 keeps the caller’s umask, so its files have no permission bits; 2.2.1 sets 0022' },
  },
  async (c) => {
    const container = c.container({ script: 'echo out; exit 3', launch: ['--umask', '0777'] });
    await container.run();
    c.t.equal(await container.finished(), 3, 'status');
    c.t.equal(container.log().stdout.toString(), 'out\n', 'stdout');
  },
);

/** Runs a container under a runtime that records what it and the exit command get. */
async function recorded(
  c: Case,
  options: ContainerOptions,
): Promise<{ container: Container; runtime: Recording; exitCommand: Recording }> {
  const container = c.container({
    ...options,
    fake: (self) => [`record ${self.path('runtime-got')}`, 'container-exit 0'],
    exitCommand: { script: (self) => [`record ${self.path('exit-command-got')}`] },
  });
  await container.created();
  await container.exited();
  const read = (name: string) => waitFor(name, () => readRecording(container.path(name)));
  return { container, runtime: await read('runtime-got'), exitCommand: await read('exit-command-got') };
}

for (const style of ['crio', 'podman'] as const) {
  promise(`variables that would change Node reach runtime and exit command as they are, ${style}`, {}, async (c) => {
    const { runtime, exitCommand } = await recorded(c, { style, env: NODE_TRAPS });
    const expected = Object.entries(NODE_TRAPS).map(([name, value]) => `${name}=${value}`);
    for (const [who, { environment }] of [
      ['runtime', runtime],
      ['exit command', exitCommand],
    ] as const) {
      c.t.strictSame(
        expected.filter((variable) => !environment.includes(variable)),
        [],
        `${who}: none is missing or changed`,
      );
      const names = environment.map((variable) => variable.slice(0, variable.indexOf('=')));
      c.t.strictSame(
        names.filter((name, index) => names.indexOf(name) !== index),
        [],
        `${who}: none is there twice`,
      );
      c.t.strictSame(
        names.filter((name) => /CONMON|^__/.test(name)),
        [],
        `${who}: nothing of conmon’s own`,
      );
    }
    c.t.strictSame([...exitCommand.environment].sort(), [...runtime.environment].sort(), 'the same for both');
  });
}

promise('odd variables pass through: empty, with newlines, with equals signs, long', {}, async (c) => {
  const env = { EMPTY: '', LINES: 'a\nb\n', EQUALS: '=a=b', LONG: 'x'.repeat(60_000), UTF8: 'żółw' };
  const { runtime, exitCommand } = await recorded(c, { env });
  for (const { environment } of [runtime, exitCommand]) {
    for (const [name, value] of Object.entries(env)) {
      c.t.ok(environment.includes(`${name}=${value}`), name);
    }
  }
});

promise('RLIMIT_NOFILE 64 is still 64 in the runtime and the exit command', {}, async (c) => {
  const { runtime, exitCommand } = await recorded(c, { launch: ['--nofile', '64'] });
  for (const { limits } of [runtime, exitCommand]) {
    c.t.match(limits, /^Max open files +64 +64 /m);
  }
});

promise('LISTEN_PID becomes the runtime’s own pid when it was conmon’s', {}, async (c) => {
  const { runtime } = await recorded(c, { sync: true, launch: ['--listen-pid'], env: { LISTEN_FDS: '1' } });
  c.t.ok(runtime.environment.includes(`LISTEN_PID=${runtime.pid}`));
  c.t.ok(runtime.environment.includes('LISTEN_FDS=1'));
});

promise('LISTEN_PID becomes the runtime’s own pid with --replace-listen-pid', {}, async (c) => {
  const { runtime } = await recorded(c, { env: { LISTEN_PID: '1' }, args: ['--replace-listen-pid'] });
  c.t.ok(runtime.environment.includes(`LISTEN_PID=${runtime.pid}`));
});

promise('LISTEN_PID of somebody else stays as it is', {}, async (c) => {
  const { runtime } = await recorded(c, { env: { LISTEN_PID: '1' } });
  c.t.ok(runtime.environment.includes('LISTEN_PID=1'));
});

promise('without an environment there is no LISTEN_PID', {}, async (c) => {
  const { runtime } = await recorded(c, { args: ['--replace-listen-pid'] });
  c.t.notOk(runtime.environment.some((variable) => variable.startsWith('LISTEN_PID=')));
});

promise('variables that would change Node do not change what conmon says', {}, async (c) => {
  const container = c.container({ fake: ['exit 1'], env: NODE_TRAPS, args: ['--no-such-option'] });
  c.t.strictSame(await container.conmon.started, { code: 1, signal: null });
  const said = container.conmon.stdout + container.conmon.stderr;
  c.t.match(said, /^conmon: option parsing failed: [^\n]*no-such-option\n$/);
});

promise('a file named like one of Node’s in the working directory is not read', {}, async (c) => {
  const cwd = c.workspace.directory('trap');
  for (const name of ['node.config.json', '.env', 'package.json', 'index.js', 'main.cjs']) {
    writeFileSync(`${cwd}/${name}`, 'throw new Error(');
  }
  const container = c.container({ fake: ['container-exit 6'], cwd });
  await container.created();
  c.t.equal(await container.exited(), 6);
});
