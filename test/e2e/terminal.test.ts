/**
 * Containers with a terminal: the console socket, the pty as stdin and stdout, and the log of both.
 */
import { readdirSync } from 'node:fs';
import { promise } from '../helpers/case.ts';
import type { Container } from '../helpers/container.ts';
import { readRecording, realRuntimes } from '../helpers/runtimes.ts';
import { within } from '../helpers/wait.ts';

promise('a container with a terminal logs what it writes to it', { runtimes: realRuntimes() }, async (c) => {
  for (const style of ['crio', 'podman'] as const) {
    const script = 'test -t 0 && test -t 1 && test -t 2 && echo terminal; echo err >&2; exit 9';
    const container = c.container({
      style,
      process: { args: ['/bin/sh', '-c', script], terminal: true },
      ownTmpDir: true,
    });
    await container.run();
    c.t.equal(await container.finished(), 9, `${style}: status`);
    const { stdout, stderr } = container.log();
    c.t.equal(stdout.toString(), 'terminal\r\nerr\r\n', `${style}: both streams, CR LF`);
    c.t.equal(stderr.toString(), '', `${style}: nothing of its own for stderr`);
  }
});

promise(
  'the console socket is named after the runtime’s other options and goes when the create has failed',
  { keepsFiles: true, differs: { c: 'C leaves the socket file when the runtime has not connected to it' } },
  async (c) => {
    const fake = (self: Container) => [`record ${self.path('got')}`, 'exit 1'];
    const container = c.container({ fake, sync: true, args: ['-t'], ownTmpDir: true });
    c.t.strictSame(await within('conmon to end', container.conmon.started), { code: 1, signal: null });
    const argv = readRecording(container.path('got'))?.argv ?? [];
    c.t.strictSame([argv.at(-3), argv.at(-1)], ['--console-socket', container.cid]);
    c.t.match(argv.at(-2), /^\//);
    c.t.equal(readdirSync(container.tmpDir).length, c.differs === undefined ? 0 : 1);
  },
);

promise(
  'a runtime that never sends a terminal: the sync pipe says so, status 1',
  {
    keepsFiles: true,
    differs: { c: 'C 2.1.6 says so on its stderr only, /dev/null by then, and leaves the socket file' },
  },
  async (c) => {
    const container = c.container({ fake: ['container sleep 0.3'], sync: true, args: ['-t'], ownTmpDir: true });
    c.t.strictSame(await within('conmon to end', container.conmon.started), { code: 1, signal: null });
    await container.conmon.syncClosed();
    const expected = '{"pid": -1, "message": "Runtime did not set up terminal"}\n';
    c.t.equal(container.conmon.unread, c.differs === undefined ? expected : '');
    c.t.equal(readdirSync(container.tmpDir).length, c.differs === undefined ? 0 : 1);
  },
);
