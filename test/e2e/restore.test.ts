/**
 * --restore: the runtime's command line, what the caller hears, and a container that really comes back from a checkpoint
 * where the kernel lets CRIU work.
 */
import { execFile, spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { type Case, promise } from '../helpers/case.ts';
import type { Container } from '../helpers/container.ts';
import { readRecording } from '../helpers/runtimes.ts';
import { waitFor } from '../helpers/wait.ts';

const run = promisify(execFile);
const recorder = (self: Container) => [`record ${self.path('got')}`, 'container sleep 0.05; echo back; exit 6'];

async function argvOf(container: Container): Promise<readonly string[]> {
  const { argv } = await waitFor('the recording', () => readRecording(container.path('got')));
  return argv;
}

promise('restore: the runtime’s command line in the order of the contract; afterwards as create', {}, async (c) => {
  for (const style of ['crio', 'podman'] as const) {
    const args = [
      ...[
        '--restore',
        '/check/point',
        '--no-pivot',
        '--no-new-keyring',
        '-s',
        '--runtime-arg',
        '--log',
        '--runtime-arg',
        '/x y',
      ],
      ...['--runtime-opt', '--lsm-profile=x', '--restore-arg', '--tcp-established'],
    ];
    const container = c.container({ style, fake: recorder, args });
    await container.created();
    const globals = ['--systemd-cgroup', `--root=${container.runtimeRoot}`, '--log', '/x y'];
    const paths = ['--bundle', container.bundle, '--pid-file', container.containerPidfile];
    const images = [
      '--no-pivot',
      '--no-new-keyring',
      '--detach',
      '--image-path',
      '/check/point',
      '--work-path',
      container.bundle,
    ];
    const options = ['--lsm-profile=x', '--tcp-established'];
    const expected = [container.runtimePath, ...globals, 'restore', ...paths, ...images, ...options, container.cid];
    c.t.strictSame(await argvOf(container), expected, style);
    c.t.equal(await container.exited(), 6);
    c.t.equal(readFileSync(container.persistFile, 'latin1'), '6');
    c.t.equal(container.log().stdout.toString(), 'back\n');
  }
});

promise(
  'restore with a terminal: a console socket before the id, and the terminal is the container’s',
  {},
  async (c) => {
    const container = c.container({
      fake: (self) => [
        `record ${self.path('got')}`,
        'console pty',
        'container sleep 0.05; test -t 1 && echo tty; exit 6',
      ],
      args: ['-t', '--restore', '/check/point'],
    });
    await container.created();
    const argv = await argvOf(container);
    c.t.equal(argv.at(-3), '--console-socket');
    c.t.equal(argv.at(-1), container.cid);
    c.t.equal(await container.exited(), 6);
    c.t.equal(container.log().stdout.toString(), 'tty\r\n');
  },
);

promise('a restore that fails: -1 and the runtime’s words', {}, async (c) => {
  const container = c.container({
    fake: (self) => {
      writeFileSync(self.path('words'), 'criu failed: type RESTORE\n');
      return [`stderr ${self.path('words')}`, 'exit 1'];
    },
    args: ['--restore', '/check/point'],
  });
  c.t.strictSame((await container.failureMessage()).json, { pid: -1, message: 'criu failed: type RESTORE\n' });
});

promise('a checkpoint that is none: -1 and the words of a real runtime', { runtimes: ['runc'] }, async (c) => {
  const container = c.container({ script: 'exit 0', args: ['--restore', c.workspace.directory('nothing')] });
  const { json } = await container.failureMessage();
  c.t.equal(json['pid'], -1);
  c.t.match(json['message'], /descriptors\.json|criu/i);
  c.t.notOk(existsSync(container.exitFile));
});

/** What CRIU says of this kernel; undefined = it works. */
function criuComplaint(): string | undefined {
  const check = spawnSync('criu', ['check'], { encoding: 'utf8', timeout: 20_000 });
  if (check.error) {
    throw check.error; // not installed: a missing package is a failure
  }
  return check.status === 0 ? undefined : check.stderr;
}

/** As Podman and CRI-O checkpoint: the runtime alone, without conmon. */
async function checkpoint(c: Case, container: Container, images: string): Promise<void> {
  const args = ['checkpoint', '--image-path', images, '--work-path', c.workspace.directory('work'), container.cid];
  await run(container.runtimePath, [`--root=${container.runtimeRoot}`, ...args], { timeout: 30_000 });
}

promise(
  'a real container comes back from its checkpoint and goes on where it was; without CRIU its failure is told',
  { runtimes: ['runc'] },
  async (c) => {
    const complaint = criuComplaint();
    const images = c.workspace.directory('images');
    const end = c.workspace.path('end');
    const script = `i=0; while [ ! -e ${end} ]; do i=$((i+1)); echo $i; sleep 0.05; done; exit 9`;
    const first = c.container({ script });
    await first.run();
    await waitFor('some lines', () => first.log().stdout.length > 10);
    if (complaint !== undefined) {
      c.t.comment(`criu check: ${complaint.trim().split('\n').at(-1)}`);
      await c.t.rejects(checkpoint(c, first, images), /criu/i, 'the kernel does not let CRIU work');
      const restored = c.container({ script, args: ['--restore', images] });
      c.t.equal((await restored.failureMessage()).json['pid'], -1, 'which a restore tells');
      writeFileSync(end, '');
      c.t.equal(await first.finished(), 9, 'the container is none the worse');
      return;
    }
    await checkpoint(c, first, images);
    await first.finished();
    const before = Number(first.log().stdout.toString().trim().split('\n').at(-1));
    await first.delete();
    const second = c.container({ script, args: ['--restore', images] });
    await second.created();
    await waitFor('more lines', () => second.log().stdout.length > 10);
    writeFileSync(end, '');
    c.t.equal(await second.finished(), 9);
    const after = Number(second.log().stdout.toString().split('\n')[0]);
    c.t.ok(after === before + 1 || after === before, `${before} was the last before, ${after} the first after`);
  },
);
