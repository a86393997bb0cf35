/**
 * File descriptors: what the caller left open for the container reaches the runtime at the same numbers, the rest does
 * not, and what the caller leaked on purpose is closed before the exit is told.
 */

import { readFileSync, watch, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { type Case, promise } from '../helpers/case.ts';
import type { ContainerOptions } from '../helpers/container.ts';
import { type Recording, readRecording } from '../helpers/runtimes.ts';
import { waitFor } from '../helpers/wait.ts';

/** Moves the pipes out of the way of preserved fds, as Podman's and CRI-O's callers do with LISTEN_FDS. */
const PIPES_AT_20: ContainerOptions = {
  launch: ['--move', '3', '20', '--move', '4', '21'],
  env: { _OCI_SYNCPIPE: '20', _OCI_STARTPIPE: '21' },
};

async function recorded(c: Case, options: ContainerOptions): Promise<{ runtime: Recording; exitCommand: Recording }> {
  const container = c.container({
    ...options,
    fake: (self) => [`record ${self.path('runtime-got')}`, 'container-exit 0'],
    exitCommand: { script: (self) => [`record ${self.path('exit-command-got')}`] },
  });
  await container.created();
  await container.exited();
  const read = (name: string) => waitFor(name, () => readRecording(container.path(name)));
  return { runtime: await read('runtime-got'), exitCommand: await read('exit-command-got') };
}

function numbersOf({ fds }: Recording): number[] {
  return [...fds.keys()].sort((a, b) => a - b);
}

promise('fds that the caller left open reach the runtime at the same numbers, and no other does', {}, async (c) => {
  const numbers = [5, 6, 9, 10, 11, 17, 63, 100, 255, 900];
  const path = (fd: number) => `${c.workspace.dir}/inherited-${fd}`;
  const launch = numbers.flatMap((fd) => ['--open', String(fd), path(fd)]);
  const { runtime, exitCommand } = await recorded(c, { launch });
  c.t.strictSame(numbersOf(runtime), [0, 1, 2, ...numbers]);
  for (const fd of numbers) {
    c.t.equal(runtime.fds.get(fd)?.target, path(fd), `fd ${fd} is the same file`);
  }
  c.t.strictSame(numbersOf(exitCommand), [0, 1, 2], 'the exit command gets none of them');
});

promise('fds 3 and 4 of the caller reach the runtime when the pipes are elsewhere', {}, async (c) => {
  const path = (fd: number) => `${c.workspace.dir}/inherited-${fd}`;
  const launch = [...(PIPES_AT_20.launch ?? []), '--open', '3', path(3), '--open', '4', path(4)];
  const { runtime } = await recorded(c, { ...PIPES_AT_20, launch });
  c.t.strictSame(numbersOf(runtime), [0, 1, 2, 3, 4], 'neither the sync nor the start pipe');
  c.t.equal(runtime.fds.get(3)?.target, path(3));
  c.t.equal(runtime.fds.get(4)?.target, path(4));
});

promise('the exit command gets /dev/null for its streams', {}, async (c) => {
  const { exitCommand } = await recorded(c, {});
  c.t.strictSame(
    [...exitCommand.fds.values()].map(({ target }) => target),
    ['/dev/null', '/dev/null', '/dev/null'],
  );
});

promise('a preserved fd is fd 3 of a real container', { runtimes: ['runc', 'crun'] }, async (c) => {
  const path = c.workspace.path('preserved');
  writeFileSync(path, 'preserved\n');
  const container = c.container({
    ...PIPES_AT_20,
    launch: [...(PIPES_AT_20.launch ?? []), '--open', '3', path],
    script: 'cat <&3',
    args: ['--runtime-opt', '--preserve-fds', '--runtime-opt', '1'],
  });
  await container.run();
  c.t.equal(await container.finished(), 0);
  c.t.equal(container.log().stdout.toString(), 'preserved\n');
});

function isListening(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

function canListen(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}

promise(
  'a port that the caller leaked stays taken while the container runs and is free when its end is told',
  {
    runtimes: ['runc'],
  },
  async (c) => {
    const [portFile, end] = [c.workspace.path('port'), c.workspace.path('end')];
    // fd 8: beyond what the runtime passes on to the container.
    const container = c.container({
      launch: ['--listen', '8', portFile],
      script: `while [ ! -e ${end} ]; do sleep 0.01; done`,
    });
    await container.run();
    const port = Number(readFileSync(portFile, 'latin1'));
    c.t.ok(await isListening(port), 'taken while the container runs');
    const told = new Promise<boolean>((resolve) => {
      const watcher = watch(container.exitDir, (_, name) => {
        if (name === container.cid) {
          watcher.close();
          resolve(canListen(port));
        }
      });
    });
    writeFileSync(end, '');
    c.t.ok(await told, 'free when the exit file appears');
    await container.finished();
  },
);
