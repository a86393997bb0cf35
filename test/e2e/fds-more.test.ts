/**
 * File descriptors once more, from inside: what a real container and the exec's runtime and exit command have, socket
 * activation, and what conmon itself keeps.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { attach } from '../helpers/attach-case.ts';
import { promise } from '../helpers/case.ts';
import type { ContainerOptions } from '../helpers/container.ts';
import { noContainer } from '../helpers/exec.ts';
import { fdsOf } from '../helpers/proc.ts';
import { readRecording } from '../helpers/runtimes.ts';
import { waitFor } from '../helpers/wait.ts';

const REAL = ['runc', 'crun'] as const;
/** Out of the way of what a caller hands down from 3 on. */
const PIPES_AT_20: ContainerOptions = {
  launch: ['--move', '3', '20', '--move', '4', '21'],
  env: { _OCI_SYNCPIPE: '20', _OCI_STARTPIPE: '21' },
};

for (const [name, args, terminal] of [
  ['without stdin', [], false],
  ['with -i', ['-i'], false],
  ['with -t', ['-t'], true],
] as const) {
  promise(
    `a real container ${name} has fds 0, 1 and 2 and no other, whatever the caller left open`,
    { runtimes: REAL },
    async (c) => {
      const end = c.workspace.path('end');
      const script = `echo ready; while [ ! -e ${end} ]; do sleep 0.02; done`;
      const container = c.container({
        process: { args: ['/bin/sh', '-c', script], terminal },
        args,
        launch: ['--open', '7', c.workspace.path('seven'), '--open', '30', c.workspace.path('thirty')],
      });
      await container.run();
      await waitFor('its line', () => readFileSync(container.logPath, 'latin1').includes('F ready'));
      const fds = [...fdsOf(container.containerPid)].filter(([, target]) => !target.startsWith('/dev/tty'));
      c.t.strictSame(
        fds
          .map(([fd]) => fd)
          .filter((fd) => fd < 10)
          .sort(),
        [0, 1, 2],
      );
      c.t.strictSame(
        fds.filter(([, target]) => /seven|thirty|socket:/.test(target)),
        [],
        'nothing of the caller’s',
      );
      writeFileSync(end, '');
      await container.finished();
    },
  );
}

promise(
  'socket activation: LISTEN_FDS and LISTEN_PID reach a real container, its fd at the same number',
  { runtimes: ['runc'] },
  async (c) => {
    const path = c.workspace.path('activated');
    writeFileSync(path, 'activated\n');
    const container = c.container({
      ...PIPES_AT_20,
      launch: [...(PIPES_AT_20.launch ?? []), '--open', '3', path, '--listen-pid'],
      env: { ...PIPES_AT_20.env, LISTEN_FDS: '1' },
      script: 'echo "$LISTEN_FDS $LISTEN_PID"; cat <&3',
      args: ['--replace-listen-pid'],
    });
    await container.run();
    c.t.equal(await container.finished(), 0);
    c.t.equal(container.log().stdout.toString(), '1 1\nactivated\n');
  },
);

promise(
  'a socket activation that is meant for somebody else reaches no container',
  { runtimes: ['runc'] },
  async (c) => {
    const path = c.workspace.path('activated');
    writeFileSync(path, 'activated\n');
    const container = c.container({
      ...PIPES_AT_20,
      launch: [...(PIPES_AT_20.launch ?? []), '--open', '3', path],
      env: { ...PIPES_AT_20.env, LISTEN_FDS: '1', LISTEN_PID: '1' },
      script: 'echo "<$LISTEN_FDS>"; test -e /proc/self/fd/3 && echo fd 3; true',
    });
    await container.run();
    c.t.equal(await container.finished(), 0);
    c.t.equal(container.log().stdout.toString(), '<>\n');
  },
);

promise('several preserved fds are fds 3 to 5 of a real container', { runtimes: REAL }, async (c) => {
  const numbers = [3, 4, 5];
  const open = numbers.flatMap((fd) => {
    writeFileSync(c.workspace.path(`fd-${fd}`), `this is ${fd}\n`);
    return ['--open', String(fd), c.workspace.path(`fd-${fd}`)];
  });
  const container = c.container({
    ...PIPES_AT_20,
    launch: [...(PIPES_AT_20.launch ?? []), ...open],
    script: 'cat <&3; cat <&4; cat <&5; test -e /proc/self/fd/6 && echo fd 6; true',
    args: ['--runtime-opt', '--preserve-fds', '--runtime-opt', '3'],
  });
  await container.run();
  c.t.equal(await container.finished(), 0);
  c.t.equal(container.log().stdout.toString(), 'this is 3\nthis is 4\nthis is 5\n');
});

promise('neither attach, start nor sync pipe of an exec reaches its runtime or its exit command', {}, async (c) => {
  const exec = c.exec(noContainer(c), {
    style: 'podman',
    attach: true,
    fake: (self) => [`record ${self.path('runtime-got')}`, 'container-exit 0'],
    exitCommand: (self) => [`record ${self.path('exit-command-got')}`],
    launch: ['--open', '9', c.workspace.path('nine')],
  });
  await waitFor('the word on the attach pipe', () => exec.conmon.attachPipe.includes('\n'));
  exec.conmon.go();
  await exec.everything();
  const read = (name: string) => waitFor(name, () => readRecording(exec.path(name)));
  c.t.strictSame(
    [...(await read('runtime-got')).fds.keys()].sort(),
    [0, 1, 2, 9],
    'the runtime: what the caller left open',
  );
  c.t.strictSame([...(await read('exit-command-got')).fds.keys()].sort(), [0, 1, 2], 'the exit command: nothing');
  await exec.daemonGone();
});

promise('with passthrough the runtime has the caller’s streams and fds, and nothing of conmon’s', {}, async (c) => {
  const container = c.container({
    logPaths: ['passthrough'],
    fake: (self) => [`record ${self.path('got')}`, 'container echo out; exit 2'],
    exitCommand: { script: (self) => [`record ${self.path('exit-command-got')}`] },
    launch: ['--open', '9', c.workspace.path('nine')],
  });
  await container.created();
  c.t.equal(await container.exited(), 2);
  const got = await waitFor('the recording', () => readRecording(container.path('got')));
  c.t.strictSame([...got.fds.keys()].sort(), [0, 1, 2, 9]);
  await waitFor('its output', () => container.conmon.stdout === 'out\n');
  const after = await waitFor('the exit command', () => readRecording(container.path('exit-command-got')));
  c.t.strictSame([...after.fds.keys()].sort(), [0, 1, 2]);
  await container.ended();
});

promise(
  'while the container runs, conmon keeps neither its ends of the streams nor those of the start',
  { runtimes: ['runc'] },
  async (c) => {
    const end = c.workspace.path('end');
    const container = c.container({ script: `while [ ! -e ${end} ]; do sleep 0.02; done`, args: ['-i'] });
    await container.run();
    const daemon = fdsOf(container.daemonPid);
    const streams = [0, 1, 2].map((fd) => fdsOf(container.containerPid).get(fd));
    for (const [index, pipe] of streams.entries()) {
      c.t.match(pipe, /^pipe:/, `fd ${index} of the container`);
      // As many as conmon reads or writes; a second one would keep the container from seeing the end.
      const ends = [...daemon].filter(([, target]) => target === pipe);
      for (const [fd] of ends) {
        const flags = Number.parseInt(
          /^flags:\s+(\d+)$/m.exec(readFileSync(`/proc/${container.daemonPid}/fdinfo/${fd}`, 'latin1'))?.[1] ?? '',
          8,
        );
        c.t.equal(flags & 3, index === 0 ? 1 : 0, `conmon's fd ${fd} is the other end`);
      }
      c.t.ok(ends.length >= 1, 'which it has');
    }
    writeFileSync(end, '');
    await container.finished();
  },
);

promise(
  'conmon’s stdin is its attach socket while clients may come, then /dev/null; the exit command’s is /dev/null',
  { excludes: { c: 'its stdin is /dev/null' } },
  async (c) => {
    const container = c.container({
      fake: (self) => [`container while [ ! -e ${self.path('end')} ]; do sleep 0.02; done`],
      exitCommand: { script: (self) => [`record ${self.path('exit-command-got')}`] },
      args: ['--exit-delay', '1'],
    });
    await container.created();
    c.t.match(fdsOf(container.daemonPid).get(0), /^socket:/);
    const client = await attach(c, container);
    client.close();
    writeFileSync(container.path('end'), '');
    await container.exited();
    await waitFor('/dev/null', () => fdsOf(container.daemonPid).get(0) === '/dev/null');
    const got = await waitFor('the exit command', () => readRecording(container.path('exit-command-got')));
    c.t.strictSame(
      [...got.fds.values()].map(({ target }) => target),
      ['/dev/null', '/dev/null', '/dev/null'],
    );
    await container.ended();
  },
);

/** What an idle conmon holds at most, by what the kernel calls it (docs/performance.md). No ring of io_uring is among it. */
interface Holding {
  readonly kind: string;
  readonly pattern: RegExp;
  /** Node's own: of each event loop, and one pair for its signal handler. */
  readonly nodes: number;
  readonly ours: number;
}

/** Node 26 has an event loop in main, in its tracing agent, and in the thread for delayed tasks; a worker would have one more. */
function holdings(loops: number, logged: boolean): readonly Holding[] {
  const kinds: readonly [string, RegExp, number, number][] = [
    // The third of them is the attach socket.
    ['stdout and stderr', /^\/dev\/null$/, 0, 2],
    ['log', /[/.]log$/, 0, logged ? 1 : 0],
    ['ctl and winsz', /\/(ctl|winsz)$/, 0, 2],
    ['attach and session socket', /^socket:/, 0, 2],
    ['pipes', /^pipe:/, 2 + 2 * loops, 2],
    ['epoll', /eventpoll/, loops, 0],
    // OOM events come through an eventfd or inotify.
    ['eventfd, inotify', /eventfd|inotify/, loops, 1],
  ];
  return kinds.map(([kind, pattern, nodes, ours]) => ({ kind, pattern, nodes, ours }));
}

for (const [name, logPaths, loops, most] of [
  ['with a log', undefined, 3, 24],
  ['without a log', ['none'], 3, 23],
] as const) {
  promise(
    `an idle conmon ${name} holds at most ${most} fds, each of a kind that it needs`,
    { excludes: { c: 'what C holds is its own affair' } },
    async (c) => {
      const container = c.container({
        style: 'crio',
        fake: (self) => [`container while [ ! -e ${self.path('end')} ]; do sleep 0.02; done`],
        ...(logPaths === undefined ? {} : { logPaths }),
      });
      await container.created();
      const kinds = holdings(loops, logPaths === undefined);
      // What this test's own caller has left open, and we with it.
      const leaked = new Set([...fdsOf(process.pid).values()].filter((path) => !path.startsWith('anon_inode:')));
      const held = (): readonly string[] =>
        [...fdsOf(container.daemonPid).values()].filter((path) => path === '/dev/null' || !leaked.has(path));
      const others = (all: readonly string[]) => all.filter((path) => !kinds.some(({ pattern }) => pattern.test(path)));
      // Each thread's loop comes by and by; the start's own fds are gone by then, and so are those of the look for left sockets.
      const idle = await waitFor('all loops, and nothing more than that', () => {
        const all = held();
        const started = all.filter((path) => /eventpoll/.test(path)).length === loops;
        return started && all.length <= most && others(all).length === 0 && all;
      }).catch(held);
      c.t.equal(idle.filter((path) => /eventpoll/.test(path)).length, loops, 'all loops');
      c.t.ok(idle.length <= most, `${idle.length} fds`);
      for (const { kind, pattern, nodes, ours } of kinds) {
        const count = idle.filter((path) => pattern.test(path)).length;
        c.t.ok(count <= nodes + ours, `${kind}: ${count}, of at most ${nodes} of Node's and ${ours} of ours`);
      }
      c.t.strictSame(others(idle), [], 'nothing of another kind');
      c.t.equal(
        kinds.reduce((sum, { nodes, ours }) => sum + nodes + ours, 0),
        most,
        'as documented',
      );
      writeFileSync(container.path('end'), '');
      await container.exited();
    },
  );
}
