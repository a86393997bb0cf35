/** The look for session sockets that killed daemons have left: when there is time for it (docs/adr/0062-from-poll-to-the-line.md). */
import { chmodSync, existsSync, utimesSync, writeFileSync } from 'node:fs';
import { SOCK_CLOEXEC, SOCK_SEQPACKET } from '../../src/native/constants.ts';
import { sys } from '../../src/native/sys.ts';
import { promise } from '../helpers/case.ts';
import { readLog } from '../helpers/k8s-log.ts';
import { sessionSocket } from '../helpers/session-socket.ts';
import { waitFor } from '../helpers/wait.ts';

/** Lines that come one by one from the start, until the file `quiet` is there. */
const LINES = '#!/bin/sh\nwhile [ ! -e quiet ]; do echo line; sleep 0.02; done; exec sleep 1000\n';
/** So many take more than twice as long as the moment without any after which there is time. */
const LINES_MIN = 120;
/** A pause that may be such a moment: the machine was busy, and the round says nothing. */
const PAUSE_MS = 900;
const ROUNDS = 5;
const LONG_AGO = new Date('2026-01-01');
/** conmon with a directory that only it has in the place of /run/conmon: other daemons look around there too. */
function apart(conmonPath: string, directory: string): string {
  const inside = `mkdir -p /run/conmon && mount --bind ${directory} /run/conmon && exec ${conmonPath} "$@"`;
  return `#!/bin/sh\nexec unshare -m sh -c '${inside}' sh "$@"\n`;
}

promise(
  'the look for sockets that were left does not come amid lines, but when there have been none for a moment',
  { excludes: { c: 'a conmon in C holds one session' }, keepsFiles: true },
  async (c) => {
    const env = { CONMON_SESSIONS: 'on' };
    let told = false;
    for (let round = 0; round < ROUNDS && !told; round++) {
      const directory = c.workspace.directory(`sockets-${round}`);
      chmodSync(directory, 0o700);
      const left = `${directory}/left`;
      const fd = sys.socket(SOCK_SEQPACKET | SOCK_CLOEXEC);
      c.t.equal(sys.bind(fd, left), 0);
      sys.close(fd);
      utimesSync(left, LONG_AGO, LONG_AGO);
      const [script, conmonPath] = [c.workspace.path(`lines-${round}`), c.workspace.path(`conmon-${round}`)];
      writeFileSync(script, LINES, { mode: 0o755 });
      writeFileSync(conmonPath, apart(c.monitor.path, directory), { mode: 0o755 });
      const beganMs = Date.now();
      const made = c.container({ fake: [`container exec ${script}`], env, conmonPath });
      await made.created();
      await sessionSocket(made);
      const times = await waitFor('lines', () => {
        const { records } = readLog(made.logPath);
        return records.length >= LINES_MIN && [beganMs, ...records.map(({ timestamp }) => Date.parse(timestamp))];
      });
      const isThere = existsSync(left);
      told =
        times.every((time, i) => time - (times[i - 1] ?? time) < PAUSE_MS) &&
        Date.now() - (times.at(-1) ?? 0) < PAUSE_MS;
      if (told) c.t.ok(isThere, 'it is still there');
      writeFileSync(`${made.bundle}/quiet`, '');
      await waitFor('the look', () => !existsSync(left));
      process.kill(made.containerPid, 'SIGKILL');
      await made.finished();
    }
    c.t.ok(told, 'in one round lines came without a pause');
  },
);
