/** Podman's log drivers under conmon, and what `podman logs` makes of them. */
import { agree, IMAGE } from '../helpers/podman.ts';
import { waitFor } from '../helpers/wait.ts';

agree('k8s-file: the file holds CRI records, one a line', async (podman) => {
  const name = podman.name();
  const script = 'echo one; echo two >&2; printf three; exit 0';
  await podman.ok(['run', '--name', name, '--log-driver', 'k8s-file', IMAGE, 'sh', '-c', script]);
  const path = await podman.inspect(name, '{{.HostConfig.LogConfig.Path}}');
  const records = (podman.space.read(path) ?? '').split('\n').map((line) => line.replace(/^\S+ /, ''));
  podman.t.strictSame(
    records.filter((line) => line.startsWith('stdout')),
    ['stdout F one', 'stdout P three'],
  );
  podman.t.strictSame(
    records.filter((line) => line.startsWith('stderr')),
    ['stderr F two'],
  );
  podman.t.match(podman.space.read(path), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}[+-]\d\d:\d\d std/);
  await podman.ok(['rm', name]);
});

agree('logs --tail, --since, --timestamps read what conmon wrote', async (podman) => {
  const name = podman.name();
  await podman.ok(['run', '--name', name, IMAGE, 'seq', '1', '100']);
  podman.t.equal(await podman.ok(['logs', '--tail', '2', name]), '99\n100');
  podman.t.match(await podman.ok(['logs', '--timestamps', '--tail', '1', name]), /^\d{4}-\d\d-\d\dT\S+ 100$/);
  podman.t.equal(await podman.ok(['logs', '--since', '2100-01-01T00:00:00Z', name]), '');
  await podman.ok(['rm', name]);
});

agree('logs -f follows to the end of the container', async (podman) => {
  const name = podman.name();
  const script = 'echo first; while [ ! -e /tmp/go ]; do sleep 0.05; done; echo last';
  await podman.ok(['run', '-d', '--name', name, IMAGE, 'sh', '-c', script]);
  const follower = podman.start(['logs', '-f', name]);
  await waitFor('the first line', () => follower.stdout === 'first\n');
  await podman.ok(['exec', name, 'touch', '/tmp/go']);
  podman.t.match(await follower.ended, { code: 0, stdout: 'first\nlast\n' });
  await podman.ok(['rm', name]);
});

agree('a terminal is logged as well', async (podman) => {
  const name = podman.name();
  await podman.ok(['run', '-t', '--name', name, IMAGE, 'echo', 'on a terminal']);
  podman.t.match(await podman.ok(['logs', name]), /^on a terminal\r?$/);
  await podman.ok(['rm', name]);
});

agree(
  '--log-opt max-size: the file stays below it, and what is in it is whole',
  async (podman) => {
    const name = podman.name();
    const limit = ['--log-opt', 'max-size=10kb'];
    await podman.ok(['run', '--name', name, ...limit, IMAGE, 'seq', '1', '2000']);
    const path = await podman.inspect(name, '{{.HostConfig.LogConfig.Path}}');
    const log = podman.space.read(path) ?? '';
    podman.t.ok(log.length > 0 && log.length <= 10_240, `${log.length} bytes`);
    const lines = log.trimEnd().split('\n');
    podman.t.strictSame(
      lines.filter((line) => !(podman.differs ? /^\S+ stdout [FP] \d*$/ : /^\S+ stdout F \d+$/).test(line)),
      [],
    );
    podman.t.match(lines.at(-1), / F 2000$/);
    await podman.ok(['rm', name]);
  },
  { differs: { c: 'C cuts lines where its reads end' } },
);

agree('--log-opt path: the log is where the user wants it', async (podman) => {
  const name = podman.name();
  const path = `/run/tmp/${name}.log`;
  await podman.ok(['run', '--name', name, '--log-opt', `path=${path}`, IMAGE, 'echo', 'here']);
  podman.t.match(podman.space.read(path), / stdout F here\n$/);
  await podman.ok(['rm', name]);
  await podman.space.run(['rm', path]);
});

agree('none: the output reaches who is attached and no log', async (podman) => {
  const name = podman.name();
  podman.t.equal(await podman.ok(['run', '--name', name, '--log-driver', 'none', IMAGE, 'echo', 'gone']), 'gone');
  const logs = await podman.run(['logs', name]);
  podman.t.not(logs.code, 0);
  podman.t.match(logs.stderr, /no logs are available|none|cannot be/i);
  await podman.ok(['rm', name]);
});

agree('passthrough: the container has the streams of podman itself', async (podman) => {
  const args = ['run', '--rm', '--log-driver', 'passthrough', IMAGE, 'sh', '-c', 'echo out; echo err >&2; exit 2'];
  podman.t.match(await podman.run(args), { code: 2, stdout: 'out\n', stderr: 'err\n' });
});
