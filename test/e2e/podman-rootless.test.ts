/** Podman of a user without root: conmon runs in the user's namespace, with the user's directories. */
import { agree, IMAGE } from '../helpers/podman.ts';
import { waitFor } from '../helpers/wait.ts';

const rootless = { rootless: true };

agree(
  'rootless: it is, and this conmon is in use',
  async (podman) => {
    const format = '{{.Host.Security.Rootless}} {{.Host.Conmon.Path}}';
    podman.t.equal(await podman.ok(['info', '--format', format]), `true ${podman.monitor.path}`);
  },
  rootless,
);

agree(
  'rootless run: streams, stdin, status',
  async (podman) => {
    const script = 'id -u; cat; echo err >&2; exit 3';
    const result = await podman.run(['run', '-i', '--rm', IMAGE, 'sh', '-c', script], { stdin: 'in\n' });
    podman.t.strictSame(result, { code: 3, stdout: '0\nin\n', stderr: 'err\n' });
  },
  rootless,
);

agree(
  'rootless run -d, exec, logs, stop, rm',
  async (podman) => {
    const name = podman.name();
    const script = 'trap "echo bye; exit 4" TERM; echo up; while :; do sleep 0.1; done';
    await podman.ok(['run', '-d', '--name', name, IMAGE, 'sh', '-c', script]);
    podman.t.match(await podman.run(['exec', name, 'sh', '-c', 'echo exec; exit 5']), { code: 5, stdout: 'exec\n' });
    await waitFor('the trap', async () => (await podman.ok(['logs', name])) === 'up');
    await podman.ok(['stop', name]);
    podman.t.equal(await podman.inspect(name, '{{.State.ExitCode}}'), '4');
    podman.t.equal(await podman.ok(['logs', name]), 'up\nbye');
    await podman.ok(['rm', name]);
  },
  rootless,
);

agree(
  'rootless run -it and exec -it',
  async (podman) => {
    const name = podman.name();
    const terminal = podman.terminal(['run', '-it', '--rm', '--name', name, IMAGE, 'sh']);
    await terminal.expect(/# /);
    await terminal.type('stty size\r', /30 100\r\n/);
    const second = podman.terminal(['exec', '-it', name, 'sh']);
    await second.expect(/# /);
    await second.type('stty size; exit 6\r', /30 100\r\n/);
    podman.t.equal(await second.exited(), 6);
    await terminal.type('exit 7\r', /exit 7/);
    podman.t.equal(await terminal.exited(), 7);
  },
  rootless,
);

agree(
  'rootless: a container whose podman was killed goes on to the end',
  async (podman) => {
    const name = podman.name();
    const script = 'echo before; while [ ! -e /tmp/go ]; do sleep 0.05; done; echo after; exit 42';
    const running = podman.start(['run', '--name', name, IMAGE, 'sh', '-c', script]);
    await waitFor('the container', () => running.stdout === 'before\n');
    await running.kill();
    await running.ended;
    await podman.ok(['exec', name, 'touch', '/tmp/go']);
    await podman.until(name, '{{.State.Status}} {{.State.ExitCode}}', 'exited 42');
    podman.t.equal(await podman.ok(['logs', name]), 'before\nafter');
    await podman.ok(['rm', name]);
  },
  rootless,
);
