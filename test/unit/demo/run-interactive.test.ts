/** What `make run CMD=...` does on a terminal: a shell under conmon, driven through a pseudo-terminal. */

import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { spawn } from 'node-pty';
import t, { type Test } from 'tap';
import { waitFor } from '../../helpers/wait.ts';
import { MONITORS, REPOSITORY, Scratch } from './support.ts';

const scratch = new Scratch(t);
const TIMEOUT_MS = 60_000;

/** Starts the program on a terminal of 30 rows and 100 columns. */
function start(t: Test, conmon: string, command: string, leader: readonly string[] = []) {
  const temporary = scratch.fresh('tmp');
  mkdirSync(temporary);
  const settings = { CONMON: conmon, CMD: command, RUNTIME: scratch.runtime, TMPDIR: temporary };
  const env = { PATH: process.env['PATH'] ?? '', PS1: '$ ', ...settings };
  const [file = '', ...args] = [...leader, process.execPath, join(REPOSITORY, 'src/demo/run.ts')];
  const terminal = spawn(file, args, { cols: 100, rows: 30, env });
  const guard = setTimeout(() => terminal.kill('SIGTERM'), TIMEOUT_MS);
  let seen = '';
  let status: number | undefined;
  terminal.onData((text) => {
    seen += text;
  });
  terminal.onExit(({ exitCode }) => {
    status = exitCode;
    clearTimeout(guard);
  });
  // A run that has failed cleans up after itself, too.
  t.teardown(async () => {
    if (status === undefined) terminal.kill('SIGTERM');
    await waitFor('the exit', () => status !== undefined);
  });
  const expectSeen = async (expected: RegExp) => {
    await waitFor(String(expected), () => expected.test(seen)).catch((error: unknown) => {
      throw new Error(`${error}; the terminal shows ${JSON.stringify(seen.slice(-500))}`);
    });
  };
  return {
    terminal,
    /** Hangs the terminal up. */
    close(): void {
      // node-pty does not say so in its types.
      (terminal as unknown as { destroy(): void }).destroy();
    },
    /** Types, then waits for what it brings about. */
    async type(text: string, expected: RegExp): Promise<void> {
      seen = '';
      terminal.write(text);
      await expectSeen(expected);
    },
    expect: expectSeen,
    /** The exit status, once nothing is left of the run. */
    async end(): Promise<number> {
      const exit = await waitFor('the exit', () => (status === undefined ? undefined : { status }));
      await waitFor('the temporary directory to be empty', () => readdirSync(temporary).length === 0);
      return exit.status;
    },
  };
}

for (const conmon of MONITORS) {
  const label = conmon.replace(`${REPOSITORY}/`, '');

  t.test(`${label}: a shell is interactive, sees our window's size, and its status is ours`, async (t) => {
    const run = start(t, conmon, 'exec sh');
    await run.expect(/[$#] $/);
    await run.type('stty size; tty\r', /30 100\r\n\/dev\/pts\/\d+\r\n/);
    await run.type('echo $((6*7)); test -t 0 -a -t 1 -a -t 2 && echo "all three"\r', /42\r\nall three\r\n/);
    run.terminal.resize(90, 20);
    await run.type('until [ "$(stty size)" = "20 90" ]; do sleep 0.02; done; echo resized\r', /\r\nresized\r\n/);
    run.terminal.write('exit 9\r');
    t.equal(await run.end(), 9);
  });

  t.test(`${label}: Ctrl-C is for the container's program, not for us`, async (t) => {
    const run = start(t, conmon, 'trap "echo caught; exit 5" INT; echo ready; while :; do sleep 0.05; done');
    await run.expect(/ready/);
    run.terminal.write('\x03');
    await run.expect(/caught/);
    t.equal(await run.end(), 5);
  });

  t.test(`${label}: Ctrl-P Ctrl-Q detaches, and Ctrl-C then ends the container`, async (t) => {
    const run = start(t, conmon, 'echo ready; cat');
    await run.expect(/ready/);
    run.terminal.write('\x10');
    await run.type('\x11', /detached/);
    run.terminal.write('\x03');
    t.equal(await run.end(), 130);
  });

  t.test(`${label}: output of a command that ends at once is all there`, async (t) => {
    const run = start(t, conmon, 'seq 2000; exit 3');
    t.equal(await run.end(), 3);
    await run.expect(/\n1999\r\n2000\r\n/);
  });

  t.test(`${label}: a terminal that is closed ends the container`, async (t) => {
    // The terminal's signal goes to the leader of the session, which is not always the run: think of make.
    const run = start(t, conmon, 'trap "" HUP; echo ready; sleep 300', [
      '/bin/sh',
      '-c',
      'trap "" HUP; "$@"; exit $?',
      'sh',
    ]);
    await run.expect(/ready/);
    run.close();
    t.equal(await run.end(), 129);
  });
}
