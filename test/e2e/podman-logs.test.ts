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
  '--log-opt max-size: the file stays below it, and holds the end of the output in whole records',
  async (podman) => {
    const name = podman.name();
    await podman.ok(['run', '--name', name, '--log-opt', 'max-size=10kb', IMAGE, 'seq', '1', '2000']);
    const path = await podman.inspect(name, '{{.HostConfig.LogConfig.Path}}');
    const log = podman.space.read(path) ?? '';
    podman.t.ok(log.length > 0 && log.length <= 10_240, `${log.length} bytes`);
    const records = [...log.matchAll(/^\S+ stdout ([FP]) (\d*)\n/gm)];
    podman.t.equal(records.map(([record]) => record).join(''), log, 'nothing but records');
    const text = records.map(([, tag, content = '']) => content + (tag === 'F' ? '\n' : '')).join('');
    const wanted = Array.from({ length: 2000 }, (_, index) => `${index + 1}\n`).join('');
    podman.t.ok(text.length > 100 && wanted.endsWith(text), text.slice(-100));
    await podman.ok(['rm', name]);
  },
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

let journal: Promise<void> | undefined;

agree('journald: podman logs shows both streams, and each entry says whose it is', async (podman) => {
  journal ??= podman.space.startJournal();
  await journal;
  const name = podman.name();
  const script = 'echo out; echo err >&2; printf part';
  const args = ['run', '-d', '--name', name, '--log-driver', 'journald', '--log-opt', 'tag=a-tag', IMAGE];
  const id = await podman.ok([...args, 'sh', '-c', script]);
  await podman.ok(['wait', name]);
  // The journal is read back through its files, which are written behind the sender's back.
  await waitFor('the entries', async () => (await podman.run(['logs', name])).stdout.includes('part'));
  const logs = await podman.run(['logs', name]);
  podman.t.strictSame([logs.stdout, logs.stderr], ['out\npart', 'err\n']);
  const fields = 'MESSAGE,PRIORITY,CONTAINER_NAME,CONTAINER_ID,CONTAINER_TAG,SYSLOG_IDENTIFIER';
  const query = ['journalctl', '-o', 'json', `--output-fields=${fields}`, `CONTAINER_ID_FULL=${id}`, '_COMM=conmon'];
  const { stdout } = await podman.space.run(query);
  const entries = stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, string>)
    .map(({ MESSAGE, PRIORITY, CONTAINER_NAME, CONTAINER_ID, CONTAINER_TAG, SYSLOG_IDENTIFIER }) =>
      [MESSAGE?.trimEnd(), PRIORITY, CONTAINER_NAME, CONTAINER_ID, CONTAINER_TAG, SYSLOG_IDENTIFIER].join(' '),
    );
  const whose = `${name} ${id.slice(0, 12)} a-tag a-tag`;
  podman.t.strictSame(entries.sort(), [`err 3 ${whose}`, `out 6 ${whose}`, `part 6 ${whose}`]);
  await podman.ok(['rm', name]);
});

agree('journald: a thousand lines arrive, in order', async (podman) => {
  journal ??= podman.space.startJournal();
  await journal;
  const name = podman.name();
  await podman.ok(['run', '--name', name, '--log-driver', 'journald', IMAGE, 'seq', '1', '1000']);
  await waitFor('the last line', async () => (await podman.ok(['logs', '--tail', '1', name])) === '1000');
  const wanted = Array.from({ length: 1000 }, (_, index) => `${index + 1}`).join('\n');
  podman.t.equal(await podman.ok(['logs', name]), wanted);
  await podman.ok(['rm', name]);
});

agree('json-file is what Podman makes of it: its k8s-file', async (podman) => {
  const name = podman.name();
  await podman.ok(['run', '--name', name, '--log-driver', 'json-file', IMAGE, 'echo', 'hi']);
  podman.t.equal(await podman.ok(['logs', name]), 'hi');
  const path = await podman.inspect(name, '{{.HostConfig.LogConfig.Path}}');
  podman.t.match(podman.space.read(path), / stdout F hi\n$/);
  await podman.ok(['rm', name]);
});
