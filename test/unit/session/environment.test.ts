/** The caller's environment reaches the runtime as it was, but for LISTEN_PID. */
import { mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { F_GETFD } from '../../../src/native/constants.ts';
import { sys } from '../../../src/native/sys.ts';
import { Environment, toBlock } from '../../../src/session/environment.ts';
import { block, report } from '../native/report.ts';

const dir = mkdtempSync(join(tmpdir(), 'conmon-environment-'));
t.teardown(() => rmSync(dir, { recursive: true, force: true }));

const of = (...entries: readonly string[]) => new Environment(block(...entries));
const NOT_OURS = [4194304, 4194303];
const ODD = ['A=1', 'NOVALUE=', 'no equals sign', '', '=x', 'A=2', 'B=\xff\xfe\x80', 'LISTEN_PIDX=5', 'XLISTEN_PID=6'];

t.test('what is not LISTEN_PID is untouched, byte for byte', async (t) => {
  const environment = of(...ODD);
  for (const { envp, listenPidOffset } of [environment.untouched(), environment.forRuntime([1, 2], true)]) {
    t.same(envp, block(...ODD));
    t.equal(listenPidOffset, -1);
  }
});

t.test('it is taken whole from a file, which is closed', async (t) => {
  const path = join(dir, 'environ');
  const entries = block(...ODD, `BIG=${'x'.repeat(1 << 20)}`);
  writeFileSync(path, entries);
  const fd = openSync(path, 'r');
  t.same(Environment.take(fd).untouched().envp, entries);
  t.equal(sys.fcntl(fd, F_GETFD, 0), -constants.errno.EBADF);
  writeFileSync(path, '');
  t.equal(Environment.take(openSync(path, 'r')).untouched().envp.length, 0);
});

t.test('the first of several values counts, as for getenv', async (t) => {
  const environment = of('A=1', 'A=2', 'EMPTY=', 'no equals sign', 'no', 'AB=3');
  t.equal(environment.get('A'), '1');
  t.equal(environment.get('EMPTY'), '');
  t.equal(environment.get('AB'), '3');
  for (const name of ['no', 'B', 'no equals sign', 'EMPT', 'EMPTY=', 'LISTEN_PID'])
    t.equal(environment.get(name), undefined);
  t.equal(of().get('A'), undefined);
  t.equal(of('A=\xff').get('A'), '\ufffd', 'what is no UTF-8 is replaced');
  t.equal(new Environment(Buffer.from('A=cut')).get('A'), 'cut', 'the last NUL may be missing');
});

t.test("an equals sign of the next entry is not mistaken for this one's", async (t) => {
  t.equal(of('LISTEN', 'PID=5').get('LISTEN_PID'), undefined);
  t.equal(of('LISTEN_PI', '=5').get('LISTEN_PID'), undefined);
});

t.test("LISTEN_PID becomes the runtime's pid when it was conmon's", async (t) => {
  const { envp, listenPidOffset } = of('A=1', 'LISTEN_PID=77', 'LISTEN_FDS=1').forRuntime([76, 77], false);
  const said = await report([], { envp, listenPidOffset });
  t.same(said.report.all('env'), ['A=1', `LISTEN_PID=${said.pid}`, 'LISTEN_FDS=1']);
});

t.test('the last entry and the only one have room for a pid too', async (t) => {
  for (const before of [[], ['A=1']]) {
    const { envp, listenPidOffset } = of(...before, 'LISTEN_PID=7').forRuntime([7], false);
    const said = await report([], { envp, listenPidOffset });
    t.same(said.report.all('env'), [...before, `LISTEN_PID=${said.pid}`]);
  }
});

t.test("somebody else's LISTEN_PID stays, unless it is always to be replaced", async (t) => {
  const environment = of('LISTEN_PID=77');
  t.same(environment.forRuntime(NOT_OURS, false), environment.untouched());
  t.not(environment.forRuntime(NOT_OURS, true).listenPidOffset, -1);
});

t.test('a pid is read as strtol does', async (t) => {
  for (const value of ['77', ' 77', '+77', '077', '77 ', '77x'])
    t.not(of(`LISTEN_PID=${value}`).forRuntime([77], false).listenPidOffset, -1, JSON.stringify(value));
});

t.test('a LISTEN_PID that is no pid is an error', async (t) => {
  for (const value of ['', ' ', 'x', '-1', '0', '2147483648', '9'.repeat(50), '\xff'])
    for (const always of [true, false])
      t.throws(() => of(`LISTEN_PID=${value}`).forRuntime([1], always), {
        code: 'LISTEN_PID',
        message: `Invalid LISTEN_PID ${value.slice(0, 10)}`,
      });
});

t.test('only the first LISTEN_PID is the one that counts', async (t) => {
  const { envp, listenPidOffset } = of('LISTEN_PID=7', 'LISTEN_PID=8').forRuntime([7], false);
  const said = await report([], { envp, listenPidOffset });
  t.same(said.report.all('env'), [`LISTEN_PID=${said.pid}`, 'LISTEN_PID=8']);
});

t.test('arguments become a block; one with a NUL is an error', async (t) => {
  t.same(toBlock(['a', '', 'ünï']), Buffer.from('a\0\0ünï\0'));
  t.same(toBlock([]), Buffer.alloc(0));
  t.throws(() => toBlock(['a', 'b\0c']), { code: 'ARGUMENT', message: 'argument with a NUL: "b\\u0000c"' });
});
