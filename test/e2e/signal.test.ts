/**
 * Signals to conmon, and the limit of time: who gets them, who survives, who ends.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { promise } from '../helpers/case.ts';
import { isRunning, processesMarked } from '../helpers/proc.ts';
import { realRuntimes } from '../helpers/runtimes.ts';
import { waitFor, within } from '../helpers/wait.ts';

const FORWARDED = ['SIGTERM', 'SIGINT', 'SIGQUIT'] as const;

promise('SIGTERM, SIGINT and SIGQUIT to conmon reach the container', { runtimes: realRuntimes() }, async (c) => {
  for (const [index, signal] of FORWARDED.entries()) {
    const script = `trap 'echo got ${signal}; exit ${50 + index}' ${signal.slice(3)}; echo ready; while :; do sleep 0.02; done`;
    const container = c.container({ script });
    await container.run();
    await waitFor('the trap', () => readFileSync(container.logPath, 'latin1').includes('F ready'));
    process.kill(container.daemonPid, signal);
    c.t.equal(await container.finished(), 50 + index, `${signal}: the container's status`);
    c.t.match(container.log().stdout.toString(), `got ${signal}\n`, `${signal}: the container got it`);
  }
});

promise('with --sync the signals reach the container too, and conmon ends with its status', {}, async (c) => {
  for (const signal of FORWARDED) {
    const container = c.container({
      sync: true,
      fake: [`container trap 'exit 33' ${signal.slice(3)}; echo ready; while :; do sleep 0.02; done`],
    });
    await container.created();
    await waitFor('the trap', () => readFileSync(container.logPath, 'latin1').includes('F ready'));
    container.conmon.child.kill(signal);
    c.t.equal(await container.exited(), 33, signal);
    c.t.strictSame(await within('conmon to end', container.conmon.started), { code: 33, signal: null });
  }
});

promise('SIGPIPE to conmon and a caller that is gone harm nothing', {}, async (c) => {
  const end = c.workspace.path('end');
  const container = c.container({ fake: [`container while [ ! -e ${end} ]; do sleep 0.01; done; echo x; exit 8`] });
  await container.created();
  container.conmon.release();
  process.kill(container.daemonPid, 'SIGPIPE');
  process.kill(container.daemonPid, 'SIGPIPE');
  writeFileSync(end, '');
  c.t.equal(await container.exited(), 8);
  c.t.equal(container.log().stdout.toString(), 'x\n');
});

promise(
  'a caller that is gone before the pid is sent harms nothing',
  {
    differs: { c: 'C 2.1.6 dies of a broken sync pipe: `Unable to send container stderr message to parent`' },
  },
  async (c) => {
    const go = c.workspace.path('go');
    const container = c.container({ fake: [`wait-file ${go}`, 'container echo x; exit 8'] });
    await container.startedOk();
    container.conmon.closeSyncPipe();
    writeFileSync(go, '');
    if (c.differs === undefined) {
      c.t.equal(await container.exited(), 8);
    } else {
      const daemon = Number(readFileSync(container.conmonPidfile, 'latin1'));
      await waitFor('conmon to die', () => !isRunning(daemon));
      c.t.throws(() => readFileSync(container.exitFile), { code: 'ENOENT' });
    }
  },
);

promise(
  'SIGTERM to conmon ends a runtime that hangs; the failure is told and nothing stays',
  {
    differs: { c: 'C 2.1.6 says nothing on the sync pipe when the runtime left nothing on stderr' },
  },
  async (c) => {
    for (const sync of [false, true]) {
      const container = c.container({ fake: (self) => [`touch ${self.path('runs')}`, 'hang'], sync });
      await waitFor('the runtime to hang', () => existsSync(container.path('runs')));
      const pid = sync ? container.conmon.child.pid : await daemonOf(container.conmonPidfile);
      await waitFor('a handler for SIGTERM', () => catches(pid ?? 0, 15));
      process.kill(pid ?? 0, 'SIGTERM');
      if (c.differs === undefined) {
        const { json } = await container.failureMessage();
        c.t.equal(json['pid'], -1, 'the sync pipe says so');
      }
      await container.conmon.syncClosed();
      if (sync) {
        c.t.strictSame(await within('conmon to end', container.conmon.started), { code: 1, signal: null });
      }
    }
  },
);

async function daemonOf(pidfile: string): Promise<number> {
  return await waitFor('the conmon-pidfile', () => {
    try {
      return Number(readFileSync(pidfile, 'latin1')) || undefined;
    } catch {
      return undefined;
    }
  });
}

/** True when the process has a handler for the signal, or when it has no mask to look at any more. */
function catches(pid: number, signal: number): boolean {
  const caught = /^SigCgt:\s*([0-9a-f]+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1] ?? '0';
  return (BigInt(`0x${caught}`) & (1n << BigInt(signal - 1))) !== 0n;
}

promise('SIGTERM before the start pipe says go ends conmon with status 1', {}, async (c) => {
  const container = c.container({ fake: (self) => [`touch ${self.path('ran')}`], holdStart: true });
  await waitFor('a handler for SIGTERM', () => catches(container.conmon.child.pid ?? 0, 15));
  container.conmon.child.kill('SIGTERM');
  c.t.strictSame(await within('conmon to end', container.conmon.started), { code: 1, signal: null });
});

promise('SIGKILL to conmon takes the runtime that is creating with it', { keepsFiles: true }, async (c) => {
  for (const sync of [false, true]) {
    const container = c.container({ fake: (self) => [`touch ${self.path('runs')}`, 'hang'], sync });
    await waitFor('the runtime to hang', () => existsSync(container.path('runs')));
    const pid = sync ? (container.conmon.child.pid ?? 0) : await daemonOf(container.conmonPidfile);
    process.kill(pid, 'SIGKILL');
    await waitFor('everything to end', () => processesMarked(container.dir).length === 0);
    c.t.pass(`sync ${sync}: nothing runs any more`);
  }
});

promise(
  '--timeout kills the container’s process group; the status is -1',
  { runtimes: ['runc', 'crun'] },
  async (c) => {
    const from = performance.now();
    const container = c.container({ script: 'sleep 1000 & echo begun; sleep 1000', args: ['--timeout', '1'] });
    await container.run();
    c.t.equal(await container.finished(), -1);
    const ms = performance.now() - from;
    // GLib's timers of whole seconds may fire a quarter of one early.
    c.t.ok(ms >= (c.monitor.name === 'c' ? 700 : 1000) && ms < 4000, `after ${ms.toFixed(0)} ms`);
    c.t.equal(container.log().stdout.toString(), 'begun\n', 'what was logged before stays');
    await waitFor('the container to end', () => !isRunning(container.containerPid));
  },
);

promise('--timeout kills children in the container’s process group too', {}, async (c) => {
  const container = c.container({ fake: ['container sleep 1000 & sleep 1000 & wait'], args: ['--timeout', '1'] });
  await container.created();
  c.t.equal(await container.finished(), -1);
});

promise('a container that ends before its --timeout has its own status', {}, async (c) => {
  const container = c.container({ fake: ['container-exit 9'], args: ['--timeout', '1'], sync: true });
  await container.created();
  c.t.equal(await container.exited(), 9);
  c.t.strictSame(await within('conmon to end', container.conmon.started), { code: 9, signal: null });
});
