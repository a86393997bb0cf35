/** What the bench's helpers tell each other, and how they start conmon. */
import t from 'tap';
import { crioArguments, crioEnvironment, podmanExecArguments } from '../../../bench/harness/command-line.ts';
import { numberIn, parseReply } from '../../../bench/harness/container.ts';
import { podmanStatus, syncStatus } from '../../../bench/harness/exec-session.ts';
import { leastLogBytes } from '../../../bench/harness/flood.ts';
import { parseStarterReport } from '../../../bench/harness/monitor.ts';
import { cpuPerExec } from '../../../bench/scenarios/exec.ts';

function starterReport(message: string): string {
  const times = { execNs: 1, syncNs: 3, launcherExitNs: 2, launcherStatus: 0, launcherCpuUs: 1500, treeCpuNs: 7 };
  return JSON.stringify({ ...times, message });
}

t.test('a reply is a name and numbers', async (t) => {
  const reply = parseReply('written first=12 last=9007199254740991\n');
  t.equal(reply.name, 'written');
  t.equal(numberIn(reply, 'last'), Number.MAX_SAFE_INTEGER);
  t.throws(() => numberIn(parseReply('failed step=write errno=32'), 'first'), /failed .*errno.*32/);
});

t.test('the pid comes from the sync message; anything else is no container', async (t) => {
  t.equal(parseStarterReport(starterReport('{"pid": 42}')).containerPid, 42);
  t.equal(parseStarterReport(starterReport('{"data": 42}')).containerPid, -1);
  t.equal(parseStarterReport(starterReport('{"pid": -1, "message": "no"}')).containerPid, -1);
  t.equal(parseStarterReport(starterReport('{"pid": 4')).containerPid, -1);
  t.equal(parseStarterReport(starterReport('')).containerPid, -1);
  t.equal(parseStarterReport(starterReport('')).launcherCpuNs, 1_500_000);
  t.equal(parseStarterReport(starterReport('')).treeCpuNs, 7);
  t.throws(() => parseStarterReport('{}'), /starter gave no/);
});

t.test('conmon is started as CRI-O does: no api-version, no exit command, only its environment', async (t) => {
  const paths = {
    ...{ id: 'i', bundle: '/b', logPath: '/l', runtime: '/r' },
    ...{ exitDir: '/e', persistDir: '/p', socketDir: '/s' },
  };
  const argv = crioArguments(paths, { log: (path) => `journald:${path}`, extra: ['--log-size-max', '1'] });
  t.equal(argv[argv.indexOf('-l') + 1], 'journald:/l');
  t.same(argv.slice(-3), ['--no-sync-log', '--log-size-max', '1']);
  t.equal(argv[argv.indexOf('-P') + 1], '/b/conmon-pidfile');
  t.notOk(argv.includes('--api-version') || argv.includes('--exit-command'));
  t.same(Object.keys(crioEnvironment()).sort(), ['CRI_O_EXTERNAL', 'PATH', '_OCI_STARTPIPE', '_OCI_SYNCPIPE']);
});

t.test('the least size of a log counts a prefix for each record and a newline for each P', async (t) => {
  t.equal(leastLogBytes(20, 200), 10 * 65);
  t.equal(leastLogBytes(8193, 8193), 45 + 8193, 'content of 8192 bytes fits one record');
  t.equal(leastLogBytes(8194, 8194), 45 + 8194 + 46);
  t.equal(leastLogBytes(20_000, 20_000), 45 + 20_000 + 2 * 46);
});

t.test("an exec's status is read where its engine reads it, and nothing else is one", async (t) => {
  t.equal(syncStatus('{"exit_code": 0}'), 0);
  t.equal(syncStatus('{"exit_code": 3}'), 3);
  t.equal(syncStatus('{"data": 0}'), undefined);
  t.equal(syncStatus(''), undefined);
  t.equal(podmanStatus('{"data": 42}\n{"data": 0}'), 0);
  t.equal(podmanStatus('{"data": 42}\n{"data": 137}\n'), 137);
  t.equal(podmanStatus('{"data": 0}'), undefined, 'one message is not two');
  t.equal(podmanStatus('{"data": -1, "message": "no"}\n{"data": 0}'), undefined, 'no process, no status');
  t.equal(podmanStatus('{"data": 42}\n{"data": 0}\n{"data": 0}'), undefined, 'nor three');
});

t.test('Podman names its exit command and when it is due; the container as the runtime knows it', async (t) => {
  const paths = {
    ...{ id: 'i', bundle: '/b', logPath: '/l', runtime: '/r', pidFile: '/pid', processSpec: '/spec' },
    ...{ exitDir: '/e', persistDir: '/p', socketDir: '/s', runtimeArgs: ['--root=/x'] },
  };
  const argv = podmanExecArguments(paths, 300);
  t.equal(argv[argv.indexOf('--exit-delay') + 1], '300');
  t.equal(argv[argv.indexOf('--runtime-arg') + 1], '--root=/x');
  t.equal(argv[argv.indexOf('-l') + 1], 'none');
  t.notOk(argv.includes('--sync'));
});

t.test("CPU of an exec: its own processes' and its share of the daemon's", async (t) => {
  t.same(cpuPerExec([{ cpuNs: 1e6 }, { cpuNs: 3e6 }], 4e6), { cpuMs: 4, daemonCpuMs: 2 });
  t.same(cpuPerExec([{ cpuNs: 5e6 }], 0), { cpuMs: 5, daemonCpuMs: 0 });
});
