/** What bench/native/starter.c gives the monitor that it starts. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { openSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import t from 'tap';
import { parseStarterReport } from '../../../bench/harness/monitor.ts';
import { buildProgram } from '../../../bench/harness/native.ts';

const starter = await buildProgram('starter');
/** The last fd that the caller leaves open. */
const LAST = 30;
/** Stands where the monitor would: says on the sync pipe which fds it was started with. */
const MONITOR = `
  for fd in $(seq 0 ${LAST + 5}); do [ -e /proc/$$/fd/$fd ] && fds="$fds $fd"; done
  echo "{\\"pid\\": 1, \\"fds\\": \\"$fds\\"}" >&3`;

t.test(
  'a monitor has its streams, sync and start pipe, and none of the fds that the caller of the bench left open',
  async (t) => {
    const left = openSync('/dev/null', 'r');
    const stdio = ['ignore', 'pipe', 'inherit', ...Array.from({ length: LAST - 2 }, () => left)] as const;
    const child = spawn(starter, ['/bin/sh', '-c', MONITOR], { stdio: [...stdio], timeout: 40_000 });
    if (child.stdout === null) throw new Error('no stdout');
    const [output, [status]] = await Promise.all([text(child.stdout), once(child, 'close')]);
    t.equal(status, 0);
    const { message } = parseStarterReport(output);
    t.strictSame(JSON.parse(message), { pid: 1, fds: ' 0 1 2 3 4' });
  },
);
