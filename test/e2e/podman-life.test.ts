/** What happens to containers when nobody looks: restarts, health checks, readiness, pods, an engine that is gone. */
import { SOCK_CLOEXEC, SOCK_DGRAM, SOCK_NONBLOCK } from '../../src/native/constants.ts';
import { sys } from '../../src/native/sys.ts';
import { agree, IMAGE } from '../helpers/podman.ts';
import { waitFor } from '../helpers/wait.ts';

agree('a container whose podman was killed goes on: log, status and clean-up are right', async (podman) => {
  const name = podman.name();
  const script = 'echo before; while [ ! -e /tmp/go ]; do sleep 0.05; done; echo after; echo err >&2; exit 42';
  const running = podman.start(['run', '--name', name, IMAGE, 'sh', '-c', script]);
  await waitFor('the container', () => running.stdout === 'before\n');
  process.kill(await running.pid(), 'SIGKILL');
  await running.ended;
  podman.t.equal(await podman.inspect(name, '{{.State.Status}}'), 'running');
  await podman.ok(['exec', name, 'touch', '/tmp/go']);
  // The exit command, run by conmon, is what writes this down.
  await podman.until(name, '{{.State.Status}} {{.State.ExitCode}}', 'exited 42');
  const logs = await podman.run(['logs', name]);
  podman.t.strictSame([logs.stdout, logs.stderr], ['before\nafter\n', 'err\n']);
  podman.t.equal(await podman.ok(['wait', name]), '42');
  const mounted = await podman.ok(['mount', '--format', 'json']);
  podman.t.equal(mounted, '[]', 'its file system is unmounted');
  await podman.ok(['rm', name]);
});

agree('with --rm it removes itself, though nobody is left to do so', async (podman) => {
  const name = podman.name();
  const script = 'echo up; while [ ! -e /tmp/go ]; do sleep 0.05; done';
  const running = podman.start(['run', '--rm', '--name', name, IMAGE, 'sh', '-c', script]);
  await waitFor('the container', () => running.stdout === 'up\n');
  process.kill(await running.pid(), 'SIGKILL');
  await running.ended;
  // It may be gone before this exec has looked for its status.
  await podman.run(['exec', name, 'touch', '/tmp/go']);
  await waitFor('the removal', async () => (await podman.run(['container', 'exists', name])).code === 1);
});

agree('a client that was killed with its terminal leaves the container at work', async (podman) => {
  const name = podman.name();
  await podman.ok(['run', '-dit', '--name', name, IMAGE, 'sh']);
  const attached = podman.start(['attach', '--no-stdin', name]);
  const pid = await attached.pid();
  const next = podman.terminal(['attach', name]);
  await next.type('echo on-$((1 + 1))\r', /on-2\r\n/);
  process.kill(pid, 'SIGKILL');
  await attached.ended;
  await next.type('echo on-$((1 + 2))\r', /on-3\r\n/);
  await next.type('exit\r', /exit/);
  await next.exited();
  await podman.ok(['rm', name]);
});

agree('--restart on-failure: the exit command starts it again, as often as was said', async (podman) => {
  const name = podman.name();
  await podman.ok(['run', '-d', '--name', name, '--restart', 'on-failure:2', IMAGE, 'sh', '-c', 'echo run; exit 1']);
  await podman.until(name, '{{.State.Status}} {{.RestartCount}}', 'exited 2');
  podman.t.equal(await podman.ok(['logs', name]), 'run\nrun\nrun');
  await podman.ok(['rm', name]);
});

agree('health checks run as execs, and their failures count', async (podman) => {
  const name = podman.name();
  const health = ['--health-cmd', 'test -e /tmp/well', '--health-retries', '1', '--health-interval', 'disable'];
  const env = { DISABLE_HC_SYSTEMD: 'true' };
  await podman.ok(['run', '-d', '--name', name, ...health, IMAGE, 'sleep', '1000'], { env });
  podman.t.equal((await podman.run(['healthcheck', 'run', name], { env })).code, 1);
  podman.t.match(await podman.inspect(name, '{{.State.Health.Status}}'), /unhealthy/);
  await podman.ok(['exec', name, 'touch', '/tmp/well']);
  podman.t.equal((await podman.run(['healthcheck', 'run', name], { env })).code, 0);
  podman.t.equal(await podman.inspect(name, '{{.State.Health.Status}}'), 'healthy');
  await podman.ok(['rm', '-f', '-t', '0', name]);
});

agree('--sdnotify=container: READY=1 of the container reaches who started podman', async (podman) => {
  const name = podman.name();
  const path = `/run/tmp/${name}.sock`;
  const fd = sys.socket(SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK);
  try {
    const bound = sys.bind(fd, podman.space.outside(path));
    if (bound < 0) throw new Error(sys.strerror(bound));
    const bytes = new Uint8Array(4096);
    let heard = '';
    const script = 'notify "$NOTIFY_SOCKET" READY=1; exec sleep 1000';
    const args = ['run', '-d', '--name', name, '--sdnotify', 'container', IMAGE, 'sh', '-c', script];
    await podman.ok(args, { env: { NOTIFY_SOCKET: path } });
    await waitFor('READY=1', () => {
      const length = sys.read(fd, bytes, 0, bytes.length);
      if (length > 0) heard += `${Buffer.from(bytes.subarray(0, length)).toString('latin1')}\n`;
      return /^READY=1$/m.test(heard);
    });
    await podman.ok(['rm', '-f', '-t', '0', name]);
  } finally {
    sys.close(fd);
    await podman.space.run(['rm', '-f', path]);
  }
});

agree('a pod: two containers share it, stop with it, and are removed with it', async (podman) => {
  const pod = podman.name('pod');
  const infra = ['--infra-image', IMAGE, '--infra-command', '/bin/sleep 1000'];
  await podman.ok(['pod', 'create', '--name', pod, ...infra]);
  const [one, two] = [podman.name('one'), podman.name('two')];
  await podman.ok(['run', '-d', '--pod', pod, '--name', one, IMAGE, 'sh', '-c', 'echo in the pod; sleep 1000']);
  await podman.ok(['run', '-d', '--pod', pod, '--name', two, IMAGE, 'sleep', '1000']);
  podman.t.equal(await podman.ok(['pod', 'inspect', '--format', '{{.State}} {{.NumContainers}}', pod]), 'Running 3');
  await waitFor('the log', async () => (await podman.ok(['logs', one])) === 'in the pod');
  podman.t.equal(await podman.ok(['exec', two, 'echo', 'exec']), 'exec');
  await podman.ok(['pod', 'stop', '-t', '0', pod]);
  podman.t.equal(await podman.inspect(one, '{{.State.Status}} {{.State.ExitCode}}'), 'exited 137');
  await podman.ok(['pod', 'start', pod]);
  await podman.until(one, '{{.State.Status}}', 'running');
  await podman.ok(['pod', 'rm', '-f', '-t', '0', pod]);
});

agree('ten containers at once: each has its own output and status', async (podman) => {
  const names = Array.from({ length: 10 }, (_, index) => podman.name(`n${index}`));
  await Promise.all(
    names.map((name, index) =>
      podman.ok(['run', '-d', '--name', name, IMAGE, 'sh', '-c', `echo ${name}; exit ${index}`], {
        timeoutMs: 120_000,
      }),
    ),
  );
  for (const [index, name] of names.entries()) {
    podman.t.equal(await podman.ok(['wait', name]), String(index));
    podman.t.equal(await podman.ok(['logs', name]), name);
  }
  await podman.ok(['rm', ...names]);
});
