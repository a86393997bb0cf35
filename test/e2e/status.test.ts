/**
 * The container's status reaches the exit files whatever it is and however early the container ends.
 */
import { readFileSync } from 'node:fs';
import { promise } from '../helpers/case.ts';
import { realRuntimes } from '../helpers/runtimes.ts';
import { mapBounded } from '../helpers/wait.ts';

const EVERY_CODE = Array.from({ length: 256 }, (_, code) => code);
/** Every signal that ends a process by default: neither stops, ignores nor continues. */
const DEADLY_SIGNALS = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 24, 25, 26, 27, 29, 30, 31, 34, 64];

promise('each exit code from 0 to 255 of a container that ends at once is in both exit files', {}, async (c) => {
  const wrong = await mapBounded(EVERY_CODE, 4, async (code) => {
    const container = c.container({ fake: [`container-exit ${code}`] });
    await container.created();
    const status = await container.exited();
    container.conmon.release();
    const persisted = readFileSync(container.persistFile, 'latin1');
    return status === code && persisted === String(code) ? [] : [{ code, status, persisted }];
  });
  c.t.strictSame(wrong.flat(), []);
});

promise('a container killed by a signal has the status 128 + signal', {}, async (c) => {
  const wrong = await mapBounded(DEADLY_SIGNALS, 4, async (signal) => {
    const container = c.container({ fake: [`container-kill ${signal}`] });
    await container.created();
    const status = await container.exited();
    return status === 128 + signal ? [] : [{ signal, status }];
  });
  c.t.strictSame(wrong.flat(), []);
});

promise('exit codes of real containers', { runtimes: realRuntimes() }, async (c) => {
  const codes = [0, 1, 2, 42, 126, 127, 128, 137, 254, 255];
  const statuses = await mapBounded(codes, 4, async (code) => {
    const container = c.container({ script: `exit ${code}` });
    await container.run();
    return await container.exited();
  });
  c.t.strictSame(statuses, codes);
});

promise('real containers that kill themselves', { runtimes: realRuntimes() }, async (c) => {
  const signals = [1, 2, 9, 13, 15, 34];
  const statuses = await mapBounded(signals, 4, async (signal) => {
    // Without a pid namespace: the init of one is immune against its own signals.
    const args = ['/bin/sh', '-c', `kill -${signal} $$; sleep 10`];
    const container = c.container({ process: { args, namespaces: ['ipc', 'uts', 'mount'] } });
    await container.run();
    return await container.exited();
  });
  c.t.strictSame(
    statuses,
    signals.map((signal) => 128 + signal),
  );
});

promise('a container that was created and never started, then killed', { runtimes: ['runc', 'crun'] }, async (c) => {
  const container = c.container({ script: 'exit 0' });
  const pid = await container.created();
  process.kill(pid, 'SIGKILL');
  c.t.equal(await container.exited(), 137);
});
