/**
 * Execs that join their container's daemon: that they do, that the runtime and the caller notice nothing, and that
 * whatever is not as it should be ends in a conmon of its own. Under a fake runtime; real ones: exec*.test.ts.
 */
import {
  chmodSync,
  createReadStream,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import t from 'tap';
import { type Case, promise } from '../helpers/case.ts';
import type { Container } from '../helpers/container.ts';
import type { Exec, ExecOptions } from '../helpers/exec.ts';
import { K8sLogReader } from '../helpers/k8s-log.ts';
import { line, SAY } from '../helpers/numbered.ts';
import { allProcesses, childrenOf, endProcess, fdsOf, isRunning, processInfo } from '../helpers/proc.ts';
import { type Recording, readRecording } from '../helpers/runtimes.ts';
import { sessionSocket, socketOf } from '../helpers/session-socket.ts';
import { waitFor } from '../helpers/wait.ts';

const OURS = { excludes: { c: 'a conmon in C holds one session' } } as const;
const ON = { CONMON_SESSIONS: 'on' };
/** What a thousand execs more may add to the daemon's private memory. */
const FLAT_KIB = 6_000;
const OFF = { CONMON_SESSIONS: 'off' };

/** A container whose daemon execs can join. */
async function container(c: Case, script = 'sleep 1000', env: Record<string, string> = ON): Promise<Container> {
  const made = c.container({ fake: [`container exec ${script}`], env });
  await made.created();
  if (env === ON && process.getuid?.() === 0) await sessionSocket(made);
  return made;
}

let records = 0;

/** An exec under the container's own runtime, which does what `verbs` say. */
function exec(c: Case, made: Container, verbs: readonly string[], options: ExecOptions = {}): Exec {
  writeFileSync(`${made.runtimePath}.conf`, `${verbs.join('\n')}\n`);
  return c.exec(made, { env: ON, ...options });
}

/** Runs an exec that ends with `status` at once. @returns what its runtime found. */
async function recorded(c: Case, made: Container, options: ExecOptions = {}): Promise<Recording> {
  const dir = c.workspace.path(`record-${records++}`);
  const one = exec(c, made, [`record ${dir}`, 'container exit 5'], options);
  await one.everything();
  await one.ended();
  return waitFor('the recording', () => readRecording(dir));
}

const ended = async (made: Container): Promise<void> => {
  process.kill(made.containerPid, 'SIGKILL');
  await made.finished();
};

promise(
  'an exec joins: its runtime is a child of the container’s conmon, and there is no other process',
  OURS,
  async (c) => {
    const made = await container(c);
    for (const style of ['execsync', 'legacy'] as const) {
      const dir = c.workspace.path(`joined-${style}`);
      const one = exec(c, made, [`record ${dir}`, 'container echo out; echo err >&2; exit 7'], { style });
      c.t.equal(await one.everything(), '{"exit_code": 7}\n', style);
      c.t.strictSame(await one.ended(), { code: style === 'execsync' ? 7 : 0, signal: null });
      c.t.equal(readRecording(dir)?.ppid, made.daemonPid);
      c.t.equal(one.log().stdout.toString(), 'out\n');
      c.t.equal(one.log().stderr.toString(), 'err\n');
    }
    await ended(made);
    c.t.notOk(existsSync(socketOf(made)), 'the socket is gone with the container');
  },
);

promise('CONMON_SESSIONS=off for the exec or for the container: a conmon of its own', OURS, async (c) => {
  const on = await container(c);
  c.t.not((await recorded(c, on, { env: OFF })).ppid, on.daemonPid);
  const off = await container(c, 'sleep 1000', OFF);
  c.t.not((await recorded(c, off)).ppid, off.daemonPid);
  await ended(on);
  await ended(off);
});

promise('the runtime of a joined exec finds what it would find under a conmon of its own', OURS, async (c) => {
  const made = await container(c);
  const file = c.workspace.path('passed');
  writeFileSync(file, '');
  const launch = ['--open', '7', file, '--umask', '0077'];
  const options = { env: { CASE: 'x', LISTEN_FDS: '1' }, launch } as const;
  const own = await recorded(c, made, { ...options, env: { ...options.env, ...OFF } });
  const joined = await recorded(c, made, { ...options, env: { ...options.env, ...ON } });
  c.t.not(own.ppid, made.daemonPid);
  c.t.equal(joined.ppid, made.daemonPid);
  // Names of this one exec's files and pipes differ from exec to exec in any case.
  const plain = (text: string): string => text.replace(/\/e\d+\//g, '/eN/').replace(/\[\d+\]/g, '[N]');
  c.t.strictSame(joined.argv.map(plain), own.argv.map(plain), 'arguments');
  const withoutOurs = (entries: readonly string[]) => entries.filter((each) => !each.startsWith('CONMON_SESSIONS='));
  c.t.strictSame(withoutOurs(joined.environment), withoutOurs(own.environment), 'environment');
  c.t.equal(joined.cwd, own.cwd, 'working directory');
  c.t.equal(joined.oomScoreAdj, own.oomScoreAdj, 'oom_score_adj');
  c.t.equal(joined.pdeathsig, own.pdeathsig, 'death signal');
  c.t.equal(joined.limits, own.limits, 'limits');
  const fds = ({ fds: all }: Recording) => [...all].map(([fd, { target, mode }]) => [fd, plain(target), mode]);
  c.t.strictSame(fds(joined), fds(own), 'fds');
  c.t.ok(joined.fds.get(7)?.target === file, 'one of the caller’s at its number');
  const lines = ({ status }: Recording) =>
    status.match(/^(Umask|Uid|Gid|Groups|Sig(Blk|Ign|Cgt)|Cap\w+|NoNewPrivs|Seccomp|Cpus_allowed|NStgid):.*$/gm);
  c.t.strictSame(lines(joined)?.slice(0, 1), lines(own)?.slice(0, 1), 'umask');
  const same = (all: RegExpMatchArray | null) => all?.filter((line) => !line.startsWith('NStgid'));
  c.t.strictSame(same(lines(joined)), same(lines(own)), 'signals and credentials');
  c.t.not(joined.pgid, processInfo(made.daemonPid)?.pgid, 'not in the process group of the container’s conmon');
  await ended(made);
});

promise(
  'the daemon is killed in the middle of an exec: the caller hears what it hears of a killed conmon',
  { ...OURS, keepsFiles: true },
  async (c) => {
    for (const env of [OFF, ON]) {
      const made = await container(c, 'sleep 1000', env);
      const one = exec(c, made, ['container exec sleep 1000'], { env });
      const pid = await waitFor('the exec', () => {
        const text = readFileSync(one.pidFile, 'latin1');
        return text === '' ? undefined : Number(text);
      });
      const conmon = env === ON ? made.daemonPid : (childrenOf(one.conmon.child.pid ?? -1)[0]?.pid ?? -1);
      process.kill(conmon, 'SIGKILL');
      c.t.equal(await one.everything(), '', 'the end of the sync pipe, and nothing else');
      c.t.strictSame(await one.ended(), { code: 137, signal: null });
      for (const each of [pid, made.containerPid]) await endProcess(each);
      if (env === OFF) await made.ended();
      rmSync(socketOf(made), { force: true });
    }
  },
);

promise(
  'a daemon that hangs is not waited for: after a second the exec has a conmon of its own, and is run once',
  OURS,
  async (c) => {
    const made = await container(c);
    const count = c.workspace.path('count');
    process.kill(made.daemonPid, 'SIGSTOP');
    const one = exec(c, made, [`container echo x >>${count}; exit 4`]);
    c.t.equal(await one.everything(), '{"exit_code": 4}\n');
    c.t.strictSame(await one.ended(), { code: 4, signal: null });
    process.kill(made.daemonPid, 'SIGCONT');
    const two = exec(c, made, [`container echo x >>${count}; exit 6`]);
    c.t.equal(await two.everything(), '{"exit_code": 6}\n', 'and goes on when it can');
    c.t.equal(readFileSync(count, 'latin1'), 'x\nx\n', 'once each');
    await ended(made);
  },
);

promise('another build does not join', OURS, async (c) => {
  const made = await container(c);
  const root = c.workspace.directory('other');
  mkdirSync(`${root}/bin`);
  const id = readFileSync(new URL('../../build/build-id', import.meta.url), 'latin1').trim();
  const binary = readFileSync(c.monitor.path);
  const at = binary.indexOf(id);
  c.t.ok(at > 0, 'the launcher holds its build id');
  binary.write('0'.repeat(id.length), at, 'latin1');
  writeFileSync(`${root}/bin/conmon`, binary);
  chmodSync(`${root}/bin/conmon`, 0o755);
  const { symlinkSync } = await import('node:fs');
  symlinkSync(new URL('../../libexec', import.meta.url).pathname, `${root}/libexec`);
  const other = { ...c.monitor, path: `${root}/bin/conmon` };
  const dir = c.workspace.path('record-other');
  writeFileSync(`${made.runtimePath}.conf`, `record ${dir}\ncontainer exit 3\n`);
  const { Exec: Session } = await import('../helpers/exec.ts');
  const one = new Session(Object.assign(Object.create(c) as Case, { monitor: other }), made, { env: ON });
  c.t.equal(await one.everything(), '{"exit_code": 3}\n');
  c.t.not(readRecording(dir)?.ppid, made.daemonPid);
  await ended(made);
});

promise('what an exec with errors says is what its own conmon says', OURS, async (c) => {
  const made = await container(c);
  const said: string[] = [];
  for (const env of [OFF, ON]) {
    const one = exec(c, made, ['container exit 0'], { env, args: ['--log-level', 'nonsense'] });
    c.t.strictSame(await one.ended(), { code: 1, signal: null });
    said.push(one.conmon.stderr);
  }
  c.t.equal(said[0], '[conmon:e]: No such log level nonsense\n');
  c.t.equal(said[1], said[0]);
  await ended(made);
});

promise('a runtime that fails is told with its words', OURS, async (c) => {
  const made = await container(c);
  const words = c.workspace.path('words');
  writeFileSync(words, 'no such program\n');
  const one = exec(c, made, [`stderr ${words}`, 'exit 1']);
  c.t.equal(await one.everything(), '{"exit_code": -1, "message": "no such program\\n"}\n');
  c.t.strictSame(await one.ended(), { code: 1, signal: null });
  await ended(made);
});

promise('signals to a launcher that stays reach its own exec alone', OURS, async (c) => {
  const made = await container(c);
  const one = exec(c, made, ['container trap "exit 9" TERM; echo ready; while :; do sleep 0.05; done']);
  await waitFor('the first', () => existsSync(one.logPath) && one.log().stdout.length > 0);
  const other = exec(c, made, ['container exec sleep 1000']);
  await waitFor('the second', () => readFileSync(other.pidFile, 'latin1') !== '');
  one.conmon.child.kill('SIGTERM');
  c.t.equal(await one.everything(), '{"exit_code": 9}\n');
  c.t.strictSame(await one.ended(), { code: 9, signal: null });
  c.t.ok(isRunning(made.containerPid) && isRunning(Number(readFileSync(other.pidFile, 'latin1'))), 'the others go on');
  other.conmon.child.kill('SIGINT');
  c.t.equal(await other.everything(), '{"exit_code": 130}\n');
  await ended(made);
});

promise('a launcher that is killed takes its exec’s session with it, as a conmon of its own would', OURS, async (c) => {
  const made = await container(c);
  // All threads run once an exec with a log has been here.
  c.t.equal(await exec(c, made, ['container exit 2']).everything(), '{"exit_code": 2}\n');
  const before = fdsOf(made.daemonPid).size;
  const one = exec(c, made, ['container exec sleep 1000']);
  await waitFor('the exec', () => readFileSync(one.pidFile, 'latin1') !== '');
  one.conmon.child.kill('SIGKILL');
  c.t.equal(await one.everything(), '', 'no notice');
  const pid = Number(readFileSync(one.pidFile, 'latin1'));
  c.t.ok(isRunning(pid), 'the process goes on');
  await waitFor('the daemon to let go', () => fdsOf(made.daemonPid).size <= before + 2);
  await endProcess(pid);
  const next = exec(c, made, ['container exit 8']);
  c.t.equal(await next.everything(), '{"exit_code": 8}\n', 'and the daemon goes on');
  await ended(made);
});

promise('twenty execs that wait for their exit command are no process at all', OURS, async (c) => {
  const made = await container(c);
  for (let i = 0; i < 20; i++) {
    const one = exec(c, made, ['container exit 0'], {
      style: 'podman',
      exitCommand: () => ['exit 0'],
      args: ['--exit-delay', '300'],
      env: { ...ON, CONMON_E2E_WAITS: '1' },
    });
    await one.ended();
    c.t.match(await one.everything(), /^\{"data": \d+\}\n\{"data": 0\}\n$/);
  }
  const conmons = allProcesses().filter(
    (pid) => cmdlineOf(pid).includes(c.workspace.mark) && /^conmon/.test(processInfo(pid)?.comm ?? ''),
  );
  c.t.strictSame(conmons, [made.daemonPid]);
  process.kill(made.containerPid, 'SIGKILL');
  await made.finished();
  const waiting = () =>
    allProcesses().filter(
      (pid) => cmdlineOf(pid).startsWith('conmon-exit-delay\0') && cmdlineOf(pid).includes(c.workspace.mark),
    );
  // A process that is just being executed has no command line for an instant.
  await waitFor('twenty that wait by themselves once the container’s conmon has ended', () => waiting().length === 20);
  for (const pid of waiting()) process.kill(pid, 'SIGTERM');
  await waitFor('their end', () => waiting().length === 0);
});

promise('an exit command that is due after the container’s end is run then', OURS, async (c) => {
  const made = await container(c);
  const done = c.workspace.path('done');
  const one = exec(c, made, ['container exit 0'], {
    style: 'podman',
    exitCommand: () => [`touch ${done}`],
    args: ['--exit-delay', '2'],
  });
  await one.everything();
  process.kill(made.containerPid, 'SIGKILL');
  await made.finished();
  c.t.notOk(existsSync(done), 'conmon does not stay for it, nor hurry it');
  await waitFor('the exit command', () => existsSync(done));
});

promise(
  'a thousand execs one after the other and fifty at once, in a container that floods its log: nothing lost, memory flat',
  { ...OURS, timeoutMs: 280_000 },
  async (c) => {
    const [stop, written] = [c.workspace.path('stop'), c.workspace.path('written')];
    const flood = `i=1; while [ ! -e ${stop} ]; do say $i $((i+999)); i=$((i+1000)); sleep 0.02; done; echo $((i-1)) >${written}`;
    const script = c.workspace.path('flood');
    writeFileSync(script, `${SAY}\n${flood}\nexit 3\n`);
    const made = await container(c, `sh ${script}`);
    writeFileSync(`${made.runtimePath}.conf`, 'container echo from the exec; exit 7\n');
    let count = 0;
    const run = async (): Promise<void> => {
      const one = c.exec(made, { env: ON });
      const said = await one.everything(60_000);
      const { code } = await one.ended(60_000);
      const log = one.log().stdout.toString();
      one.conmon.release();
      if (said !== '{"exit_code": 7}\n' || code !== 7 || log !== 'from the exec\n')
        throw new Error(`${JSON.stringify(said)} ${code} ${JSON.stringify(log)} ${one.conmon.stderr}`);
      count++;
    };
    const series = async (length: number): Promise<void> => {
      for (let i = 0; i < length; i++) await run();
    };
    // Without files' pages: those of Node's are private or not as other daemons come and go beside this test, and dirty when
    // just installed.
    const privateKiB = (): number => {
      const text = readFileSync(`/proc/${made.daemonPid}/smaps_rollup`, 'latin1');
      return Number(/^Anonymous:\s+(\d+)/m.exec(text)?.[1]);
    };
    await series(200);
    const fds = fdsOf(made.daemonPid).size;
    const threads = (): number =>
      readdirSync(`/proc/${made.daemonPid}/task`).filter((tid) =>
        readFileSync(`/proc/${made.daemonPid}/task/${tid}/comm`, 'latin1').startsWith('WorkerThread'),
      ).length;
    const seen = [privateKiB()];
    const most = [threads()];
    // What V8 takes to compile is given back half a second later; what stays above the limit is seen all the same.
    const look = async (): Promise<void> => {
      const level = (): boolean => privateKiB() < (seen[0] ?? 0) + FLAT_KIB;
      await waitFor('memory to be given back', level, { timeoutMs: 5000 }).catch(() => undefined);
      seen.push(privateKiB());
      most.push(threads());
    };
    for (let i = 0; i < 4; i++) {
      await series(200);
      await look();
    }
    for (let i = 0; i < 2; i++) {
      await Promise.all(Array.from({ length: 50 }, run));
      await look();
    }
    await waitFor('the daemon to let go of all fds', () => fdsOf(made.daemonPid).size <= fds);
    c.t.equal(count, 1100);
    c.t.comment(`private, after 200 and each 200 more, then after each 50 at once: ${seen.join(', ')} KiB`);
    c.t.ok(
      Math.max(...most) <= 2,
      `the container’s log has one at most, and all execs’ logs: ${most.join(', ')} threads`,
    );
    // What each left behind would be 4 MiB for 4 KiB of it; collectors and late compilation take a few.
    c.t.ok(Math.max(...seen) < (seen[0] ?? 0) + FLAT_KIB, `${seen.join(', ')} KiB`);
    writeFileSync(stop, '');
    c.t.equal(await made.finished(), 3);
    let expected = 0;
    const reader = new K8sLogReader((_stream, tag, buffer, start, end) => {
      if (tag !== 'F' || buffer.toString('latin1', start, end) !== line(++expected))
        throw new Error(`line ${expected} is ${tag} ${buffer.toString('latin1', start, end)}`);
    });
    for await (const chunk of createReadStream(made.logPath, { highWaterMark: 1 << 20 })) reader.write(chunk as Buffer);
    reader.end();
    c.t.equal(expected, Number(readFileSync(written, 'latin1')), 'every line of the container’s is in its log');
  },
);

function cmdlineOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'latin1');
  } catch {
    return '';
  }
}

if (process.getuid?.() !== 0) t.comment('as a user the sockets are below XDG_RUNTIME_DIR');
