/** Podman executes in and attaches to containers under conmon. */
import { readFileSync } from 'node:fs';
import { agree, IMAGE, type Podman } from '../helpers/podman.ts';
import { waitFor } from '../helpers/wait.ts';

/** A container that stays; removed by the case. */
async function sleeper(podman: Podman, ...args: string[]): Promise<string> {
  const name = podman.name();
  await podman.ok(['run', '-d', '--name', name, ...args, IMAGE, 'sleep', '1000']);
  return name;
}

agree('exec: streams, status and stdin', async (podman) => {
  const name = await sleeper(podman);
  const both = ['exec', name, 'sh', '-c', 'echo out; echo err >&2; exit 3'];
  podman.t.match(await podman.run(both), { code: 3, stdout: 'out\n', stderr: 'err\n' });
  podman.t.match(await podman.run(['exec', '-i', name, 'cat'], { stdin: 'in' }), { code: 0, stdout: 'in' });
  podman.t.match(await podman.run(['exec', name, 'cat']), { code: 0, stdout: '' }, 'without -i there is no stdin');
  podman.t.equal(await podman.ok(['logs', name]), '', 'an exec is not in the log');
  await podman.ok(['rm', '-f', '-t', '0', name]);
});

agree('exec: the statuses of success, of a signal, of what is missing and what cannot run', async (podman) => {
  const name = await sleeper(podman);
  const status = async (...command: string[]) => (await podman.run(['exec', name, ...command])).code;
  podman.t.strictSame(
    [
      await status('true'),
      await status('false'),
      await status('sh', '-c', 'exit 255'),
      await status('sh', '-c', 'kill -9 $$'),
      await status('/no/such/program'),
      await status('/etc'),
    ],
    [0, 1, 255, 137, 127, 126],
  );
  await podman.ok(['rm', '-f', '-t', '0', name]);
});

agree('forty short execs, ten at a time: no status is lost, nothing is left', async (podman) => {
  const name = await sleeper(podman);
  for (let round = 0; round < 4; round++) {
    const runs = Array.from({ length: 10 }, async (_, index) => {
      const result = await podman.run(['exec', name, 'sh', '-c', `echo ${index}; exit ${index}`]);
      return `${result.code} ${result.stdout}${result.stderr}`;
    });
    podman.t.strictSame(
      await Promise.all(runs),
      Array.from({ length: 10 }, (_, index) => `${index} ${index}\n`),
    );
  }
  await podman.ok(['rm', '-f', '-t', '0', name]);
});

agree('exec: a megabyte out and back in', async (podman) => {
  const name = await sleeper(podman);
  const stdin = '0123456789abcdef'.repeat(65_536);
  const { code, stdout } = await podman.run(['exec', '-i', name, 'cat'], { stdin });
  podman.t.equal(code, 0);
  podman.t.ok(stdout === stdin, 'what went in came out');
  await podman.ok(['rm', '-f', '-t', '0', name]);
});

agree('exec -d returns at once, and the process goes on', async (podman) => {
  const name = await sleeper(podman);
  const id = await podman.ok(['exec', '-d', name, 'sh', '-c', 'sleep 0.3; echo done >/tmp/detached']);
  podman.t.match(id, /^[0-9a-f]{64}$/);
  await waitFor(
    'the detached process',
    async () => (await podman.run(['exec', name, 'cat', '/tmp/detached'])).stdout === 'done\n',
  );
  await podman.ok(['rm', '-f', '-t', '0', name]);
});

agree('exec -it: a terminal of its own, its size, its status', async (podman) => {
  const name = await sleeper(podman);
  const terminal = podman.terminal(['exec', '-it', name, 'sh']);
  await terminal.expect(/# /);
  await terminal.type('stty size; tty\r', /30 100\r\n\/dev\/pts\/\d+\r\n/);
  await terminal.type('exit 7\r', /exit 7/);
  podman.t.equal(await terminal.exited(), 7);
  await podman.ok(['rm', '-f', '-t', '0', name]);
});

agree('exec with user, directory and environment of its own', async (podman) => {
  const name = await sleeper(podman);
  const args = ['exec', '-u', 'nobody', '-w', '/tmp', '-e', 'SAID=hello', name, 'sh', '-c', 'id -u; pwd; echo $SAID'];
  podman.t.equal(await podman.ok(args), '65534\n/tmp\nhello');
  await podman.ok(['rm', '-f', '-t', '0', name]);
});

agree('an exec ends with its container', async (podman) => {
  const name = await sleeper(podman);
  const exec = podman.start(['exec', name, 'sh', '-c', 'echo up; sleep 1000']);
  await waitFor('the exec', () => exec.stdout === 'up\n');
  await podman.ok(['kill', name]);
  podman.t.equal((await exec.ended).code, 137);
  await podman.ok(['rm', '-f', '-t', '0', name]);
});

agree('attach: output from now on, the status at the end', async (podman) => {
  const name = podman.name();
  const script = 'while [ ! -e /tmp/go ]; do sleep 0.05; done; echo out; echo err >&2; exit 8';
  await podman.ok(['run', '-d', '--name', name, IMAGE, 'sh', '-c', script]);
  const attached = [podman.start(['attach', name]), podman.start(['attach', name])];
  // Podman says nowhere that it has attached; both must be there before the container goes on.
  await waitFor('two connections', () => {
    const sockets = readFileSync(`/proc/${podman.space.init}/net/unix`, 'utf8').split('\n');
    return sockets.filter((line) => line.endsWith('/attach') && / 03 +\d+ /.test(line)).length >= 2;
  });
  await podman.ok(['exec', name, 'touch', '/tmp/go']);
  for (const client of attached) {
    const { code, stdout, stderr } = await client.ended;
    podman.t.strictSame([stdout.trimEnd(), stderr.trimEnd()], ['out', 'err']);
    podman.t.ok(code === 8 || code === 0, '4.3 may return 0');
  }
  podman.t.equal(await podman.ok(['wait', name]), '8');
  await podman.ok(['rm', name]);
});

agree('attach on a terminal, detach with the keys, attach again', async (podman) => {
  const name = podman.name();
  await podman.ok(['run', '-dit', '--name', name, IMAGE, 'sh']);
  const first = podman.terminal(['attach', name]);
  await first.type('A=one; echo is-$A\r', /is-one\r\n/);
  await first.press('\x10', '\x11');
  await first.exited();
  podman.t.equal(await podman.inspect(name, '{{.State.Status}}'), 'running');
  const second = podman.terminal(['attach', name]);
  await second.type('echo still-$A\r', /still-one\r\n/);
  await second.type('exit 3\r', /exit 3/);
  await second.exited();
  podman.t.equal(await podman.ok(['wait', name]), '3');
  await podman.ok(['rm', name]);
});
