/** Podman runs containers under conmon: streams, status, terminals, fds, and how they end. */
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { agree, IMAGE } from '../helpers/podman.ts';
import { waitFor } from '../helpers/wait.ts';

agree('the configured conmon is the one in use, and --conmon names another', async (podman) => {
  podman.t.equal(await podman.ok(['info', '--format', '{{.Host.Conmon.Path}}']), podman.monitor.path);
  const format = '{{.Host.Conmon.Path}} {{.Host.Conmon.Version}}';
  const other = await podman.ok(['--conmon', '/usr/bin/conmon', 'info', '--format', format]);
  podman.t.match(other, /^\/usr\/bin\/conmon conmon version 2\./);
  podman.t.equal(await podman.ok(['--conmon', podman.monitor.path, 'run', '--rm', IMAGE, 'echo', 'hi']), 'hi');
});

for (const runtime of ['runc', 'crun'])
  agree(`run: both streams and the status come back, under ${runtime}`, async (podman) => {
    const script = 'echo out; echo err >&2; exit 3';
    podman.t.match(await podman.run(['--runtime', runtime, 'run', '--rm', IMAGE, 'sh', '-c', script]), {
      code: 3,
      stdout: 'out\n',
      stderr: 'err\n',
    });
  });

agree('run: 128 and the signal when one ended it', async (podman) => {
  const name = podman.name();
  const running = podman.start(['run', '--name', name, IMAGE, 'sh', '-c', 'echo up; sleep 1000']);
  await waitFor('the container', () => running.stdout === 'up\n');
  await podman.ok(['kill', name]);
  podman.t.match(await running.ended, { code: 137, stdout: 'up\n' });
  podman.t.equal(await podman.inspect(name, '{{.State.ExitCode}}'), '137');
  await podman.ok(['rm', name]);
});

agree(
  'run: a command that does not exist is 127, one that cannot be run is 126, and Podman says why',
  async (podman) => {
    const missing = await podman.run(['run', '--rm', IMAGE, '/no/such/program']);
    podman.t.equal(missing.code, 127);
    podman.t.match(missing.stderr, /no such file or directory|not found/i);
    const directory = await podman.run(['run', '--rm', IMAGE, '/etc']);
    podman.t.equal(directory.code, 126);
    podman.t.match(directory.stderr, /permission denied|is a directory/i);
  },
);

agree('run -i: stdin reaches the container, and its end too', async (podman) => {
  const { code, stdout } = await podman.run(['run', '-i', '--rm', IMAGE, 'cat'], { stdin: 'one\ntwo' });
  podman.t.equal(code, 0);
  podman.t.equal(stdout, 'one\ntwo');
});

agree('run: a megabyte comes through whole, with newlines or without', async (podman) => {
  const { stdout } = await podman.run(['run', '--rm', IMAGE, 'sh', '-c', 'head -c 1000000 /dev/zero | tr "\\0" x']);
  podman.t.ok(stdout === 'x'.repeat(1_000_000), 'a million of x');
  const lines = await podman.run(['run', '--rm', IMAGE, 'seq', '1', '100000']);
  const wanted = Array.from({ length: 100_000 }, (_, index) => `${index + 1}\n`).join('');
  podman.t.ok(lines.stdout === wanted, '100000 numbers');
});

agree('run -it: a terminal with its size, resized with the window, and its status', async (podman) => {
  const terminal = podman.terminal(['run', '-it', '--rm', IMAGE, 'sh']);
  await terminal.expect(/# /);
  await terminal.type('stty size; tty\r', /30 100\r\n\/dev\/pts\/\d+\r\n/);
  terminal.resize(77, 22);
  // The new size takes its way through two processes.
  await waitFor('the new size', async () => {
    await terminal.type('stty size\r', /\d+ \d+\r\n/);
    return /22 77/.test(terminal.seen);
  });
  await terminal.type('echo err >&2; exit 4\r', /err\r\n/);
  podman.t.equal(await terminal.exited(), 4);
});

agree('run -d, then logs, wait and rm', async (podman) => {
  const name = podman.name();
  const id = await podman.ok(['run', '-d', '--name', name, IMAGE, 'sh', '-c', 'echo out; echo err >&2; exit 5']);
  podman.t.match(id, /^[0-9a-f]{64}$/);
  podman.t.equal(await podman.ok(['wait', name]), '5');
  const logs = await podman.run(['logs', name]);
  podman.t.strictSame([logs.stdout, logs.stderr], ['out\n', 'err\n']);
  podman.t.equal(await podman.inspect(name, '{{.State.Status}} {{.State.ExitCode}}'), 'exited 5');
  await podman.ok(['rm', name]);
});

agree('a detached container is gone by itself with --rm', async (podman) => {
  const name = podman.name();
  await podman.ok(['run', '-d', '--rm', '--name', name, IMAGE, 'true']);
  await waitFor('the removal', async () => (await podman.run(['container', 'exists', name])).code === 1);
});

agree('create, start, start --attach', async (podman) => {
  const name = podman.name();
  await podman.ok(['create', '--name', name, IMAGE, 'sh', '-c', 'echo again; exit 6']);
  podman.t.match(await podman.run(['start', '--attach', name]), { code: 6, stdout: 'again\n' });
  podman.t.match(await podman.run(['start', '--attach', name]), { code: 6, stdout: 'again\n' });
  podman.t.equal(await podman.ok(['logs', name]), 'again\nagain', 'the log goes on where it was');
  await podman.ok(['rm', name]);
});

agree('--preserve-fds: the files are there, at their numbers', async (podman) => {
  const directory = mkdtempSync(join(tmpdir(), 'conmon-fds-'));
  const fds = ['three', 'four'].map((text) => {
    writeFileSync(join(directory, text), `${text}\n`);
    return openSync(join(directory, text), 'r');
  });
  try {
    const script = 'cat <&3; cat <&4; ls /proc/self/fd | wc -l';
    const args = ['run', '--rm', '--preserve-fds', '2', IMAGE, 'sh', '-c', script];
    // 0, 1, 2, 3, 4, and the one that ls reads with.
    podman.t.match(await podman.run(args, { fds }), { code: 0, stdout: 'three\nfour\n6\n' });
  } finally {
    for (const fd of fds) closeSync(fd);
    rmSync(directory, { recursive: true });
  }
});

agree('stop: SIGTERM, then SIGKILL when the container does not care', async (podman) => {
  const name = podman.name();
  const script = 'trap "echo bye; exit 0" TERM; echo up; while :; do sleep 0.1; done';
  await podman.ok(['run', '-d', '--name', name, IMAGE, 'sh', '-c', script]);
  await waitFor('the trap', async () => (await podman.ok(['logs', name])) === 'up');
  await podman.ok(['stop', name]);
  podman.t.equal(await podman.inspect(name, '{{.State.ExitCode}}'), '0');
  podman.t.equal(await podman.ok(['logs', name]), 'up\nbye');
  await podman.ok(['rm', name]);
  await podman.ok(['run', '-d', '--name', name, IMAGE, 'sh', '-c', 'trap "" TERM; while :; do sleep 0.1; done']);
  await podman.ok(['stop', '-t', '0', name]);
  podman.t.equal(await podman.inspect(name, '{{.State.ExitCode}}'), '137');
  await podman.ok(['rm', name]);
});

agree('kill: the signal reaches the container', async (podman) => {
  const name = podman.name();
  const script = 'trap "echo hup" HUP; trap "exit 9" USR1; echo up; while :; do sleep 0.1; done';
  await podman.ok(['run', '-d', '--name', name, IMAGE, 'sh', '-c', script]);
  await waitFor('the trap', async () => (await podman.ok(['logs', name])) === 'up');
  await podman.ok(['kill', '-s', 'HUP', name]);
  await waitFor('the signal', async () => (await podman.ok(['logs', name])) === 'up\nhup');
  await podman.ok(['kill', '-s', 'USR1', name]);
  podman.t.equal(await podman.ok(['wait', name]), '9');
  await podman.ok(['rm', name]);
});

agree('rm -f of a running container', async (podman) => {
  const name = podman.name();
  await podman.ok(['run', '-d', '--name', name, IMAGE, 'sleep', '1000']);
  await podman.ok(['rm', '-f', '-t', '0', name]);
});

agree('--timeout ends a container that runs on', async (podman) => {
  const { code } = await podman.run(['run', '--rm', '--timeout', '1', IMAGE, 'sleep', '1000']);
  podman.t.not(code, 0);
});

agree('pause and unpause leave the monitor at work', async (podman) => {
  const name = podman.name();
  await podman.ok(['run', '-d', '--name', name, IMAGE, 'sh', '-c', 'while :; do echo tick; sleep 0.1; done']);
  await podman.ok(['pause', name]);
  const paused = (await podman.ok(['logs', name])).length;
  await podman.ok(['unpause', name]);
  await waitFor('more lines', async () => (await podman.ok(['logs', name])).length > paused);
  await podman.ok(['rm', '-f', '-t', '0', name]);
});
