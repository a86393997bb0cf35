/** The checks between options: C's messages in C's order, and the Options that pass. */
import assert from 'node:assert/strict';
import t from 'tap';
import {
  BARE,
  CREATE,
  CRIO_EXEC_SYNC,
  CWD,
  ID,
  options,
  PODMAN_CREATE,
  read,
  refusal,
} from './fixtures/command-line.ts';

const e = (text: string) => `[conmon:e]: ${text}`;
const ENOENT = 2;
const EACCES = 13;
const gone = {
  cwd: () => {
    throw Object.assign(new Error('uv_cwd'), { code: 'ENOENT' });
  },
};

t.test('the checks made while parsing have their own prefix', async (t) => {
  t.equal(refusal([]), 'conmon: Container ID not provided. Use --cid');
  t.equal(refusal(['--log-max-files', '-1']), 'conmon: log-max-files must be non-negative, got -1');
  t.equal(
    refusal(['--log-rotate', '--log-max-files', '0']),
    'conmon: log-max-files must be at least 1 when log-rotate is enabled, got 0',
  );
  t.equal(options([...CREATE, '--log-max-files', '0']).logMaxFiles, 0);
});

t.test('the first thing wrong is the one that is told, in the order of C', async (t) => {
  const argv = ['-c', '1', '--log-level', 'loud', '-e', '--restore', 'x', '--exec-attach', '--exit-delay', '-1'];
  const without = (list: string[], ...names: string[]) => list.filter((argument) => !names.includes(argument));
  t.equal(refusal(argv), e('No such log level loud'));
  let next = without(argv, '--log-level', 'loud');
  t.equal(refusal(next), e("Cannot use 'exec' and 'restore' at the same time"));
  next = without(next, '-e');
  t.equal(refusal(next), e('Attach can only be specified with exec'));
  next = [...without(next, '--restore', 'x'), '-e'];
  t.equal(refusal(next), e('Attach can only be specified for a non-legacy exec session'));
  next = [...next, '--api-version', '1'];
  t.equal(refusal(next), e('Container UUID not provided. Use --cuuid'));
  next = [...next, '-u', 'u'];
  t.equal(refusal(next), e('Runtime path not provided. Use --runtime'));
  next = [...next, '-r', '/nowhere'];
  const runtime = { probe: { canExecute: () => ENOENT, canEnter: () => 0 } };
  t.equal(refusal(next, runtime), e('Runtime path /nowhere is not valid No such file or directory'));
  t.equal(refusal(next), e('Exec process spec path not provided. Use --exec-process-spec'));
  next = [...next, '--exec-process-spec', '/spec'];
  t.equal(refusal(next, gone), e('Failed to get working directory'));
  t.equal(refusal(next), e('Delay before invoking exit command must be greater than or equal to 0'));
  next = [...next, '--exit-delay=0'];
  t.equal(refusal(next), e('Log driver not provided. Use --log-path'));
  next = [...next, '-l', 'journald'];
  t.equal(refusal(next), e('Container ID must be longer than 12 characters'));
  options([...next, '-l', 'journald', '-c', ID]);
});

t.test(
  'the bundle is the current directory where none is given, also to who says where the pid file is; not for an exec',
  async (t) => {
    t.equal(options(CREATE).bundle, CWD);
    t.equal(options([...CREATE, '-p', '/run/pidfile']).bundle, CWD);
    t.equal(refusal([...CREATE, '-p', '/run/pidfile'], gone), e('Failed to get working directory'));
    t.equal(options([...CREATE, '-p', '/run/pidfile', '-e', '--exec-process-spec', '/s'], gone).bundle, undefined);
  },
);

t.test('a uuid may be missing from a legacy exec alone', async (t) => {
  const create = ['-c', ID, '-r', '/r', '-l', 'none'];
  t.equal(refusal(create), e('Container UUID not provided. Use --cuuid'));
  t.equal(refusal([...create, '--restore', '/cp']), e('Container UUID not provided. Use --cuuid'));
  t.equal(refusal([...create, '-e', '--api-version']), e('Container UUID not provided. Use --cuuid'));
  t.equal(options([...create, '-e', '--exec-process-spec', '/spec']).cuuid, undefined);
});

t.test('the runtime must be executable, else the reason is told in the words of libc', async (t) => {
  const asked: string[] = [];
  const probe = {
    canExecute: (path: string) => {
      asked.push(path);
      return EACCES;
    },
    canEnter: () => 0,
  };
  t.equal(refusal([...CREATE, '-r', 'runc'], { probe }), e('Runtime path runc is not valid Permission denied'));
  t.same(asked, ['runc']);
});

t.test('log levels are taken in any case, with the names that mean the same', async (t) => {
  const names = {
    error: ['error', 'fatal', 'panic', 'ERROR'],
    warn: ['warn', 'warning', 'Warning'],
    info: ['info', 'INFO'],
    debug: ['debug'],
    trace: ['trace', 'Trace'],
  };
  for (const [level, spellings] of Object.entries(names)) {
    for (const name of spellings) t.equal(options([...CREATE, '--log-level', name]).logLevel, level);
  }
  for (const name of ['', 'loud', 'warn ', 'notice']) {
    t.equal(refusal([...CREATE, '--log-level', name]), e(`No such log level ${name}`));
  }
});

t.test('the bundle must be a directory for create and restore', async (t) => {
  const probe = { canExecute: () => 0, canEnter: (path: string) => (path === '/b' ? ENOENT : 0) };
  const problem = e('Bundle path /b is not valid No such file or directory');
  t.equal(refusal([...CREATE, '-b', '/b'], { probe }), problem);
  t.equal(refusal([...CREATE, '-b', '/b', '--restore', '/cp'], { probe }), problem);
  t.equal(options([...CREATE, '-b', '/b', '-e', '--exec-process-spec', '/s'], { probe }).bundle, '/b');
  t.equal(options([...CREATE, '-b', '/c'], { probe }).bundle, '/c');
  t.equal(refusal([...CREATE, '-b', '']), e('--bundle must not be empty'));
  t.equal(refusal([...CREATE, '-b', '', '-e', '--exec-process-spec', '/s']), e('--bundle must not be empty'));
});

t.test('the bundle is the current directory, but for an exec', async (t) => {
  t.equal(options(CREATE).bundle, CWD);
  t.equal(options([...CREATE, '--restore', '/cp']).bundle, CWD);
  t.equal(options([...CREATE, '-e', '--exec-process-spec', '/s']).bundle, undefined);
});

t.test('the pid file of the container is in the current directory when it is not given', async (t) => {
  t.equal(options(CREATE).containerPidfile, `${CWD}/pidfile-${ID}`);
  t.equal(options([...CREATE, '-p', 'here']).containerPidfile, 'here');
});

t.test('a deleted working directory matters only to what depends on it', async (t) => {
  const absolute = [...CREATE, '-b', '/bundle', '-p', '/run/pid'];
  t.equal(options(absolute, gone).bundle, '/bundle');
  t.equal(options([...CREATE, '-p', '/run/pid', '-e', '--exec-process-spec', '/s'], gone).bundle, undefined);
  for (const changed of [CREATE, [...absolute, '-b', '.'], [...absolute, '-p', 'pid'], [...CREATE, '-b', '/bundle']]) {
    t.equal(refusal(changed, gone), e('Failed to get working directory'));
  }
});

t.test('a size limit of 0 or less is no limit, and others are kept as they are', async (t) => {
  const sizes = (value: string) => {
    const { logSizeMaxBytes, logGlobalSizeMaxBytes } = options([
      ...[...CREATE, '--log-size-max', value],
      ...['--log-global-size-max', value],
    ]);
    t.equal(logSizeMaxBytes, logGlobalSizeMaxBytes);
    return logSizeMaxBytes;
  };
  for (const value of ['0', '-1', '-9223372036854775808']) t.equal(sizes(value), undefined, value);
  t.equal(sizes('1'), 1);
  t.equal(sizes('16777216'), 16_777_216);
  t.equal(sizes('9223372036854775807'), 2 ** 63);
});

t.test('a timeout of 0 or less is none', async (t) => {
  t.same(
    ['-5', '0', '5'].map((value) => options([...CREATE, '-T', value]).timeoutSeconds),
    [0, 0, 5],
  );
});

t.test('only the journal can leave its partial mark out; others get a warning', async (t) => {
  const warnings = (...argv: string[]) => {
    const result = read([...BARE, ...argv]);
    return result.kind === 'run' ? result.warnings : undefined;
  };
  const warning = '--no-container-partial-message has no effect without journald log driver';
  t.same(warnings('-l', '/x', '--no-container-partial-message'), [warning]);
  t.same(warnings('-l', 'journald', '--no-container-partial-message'), []);
  t.same(warnings('-l', '/x'), []);
});

t.test('without any option more than needed the defaults are those of C', async (t) => {
  t.same(options(CREATE), {
    apiVersion: false,
    bundle: CWD,
    cid: ID,
    cuuid: ID,
    name: undefined,
    conmonPidfile: undefined,
    containerPidfile: `${CWD}/pidfile-${ID}`,
    runtime: '/usr/bin/runc',
    runtimeArgs: [],
    runtimeOpts: [],
    systemdCgroup: false,
    noPivot: false,
    noNewKeyring: false,
    terminal: false,
    stdin: false,
    leaveStdinOpen: false,
    logTargets: [{ driver: 'k8s-file', path: '/var/log/ctr.log' }],
    logSizeMaxBytes: undefined,
    logGlobalSizeMaxBytes: undefined,
    logRotate: false,
    logMaxFiles: 1,
    logAllowlistDirs: [],
    logTag: undefined,
    logLabels: [],
    noContainerPartialMessage: false,
    syncLog: true,
    logLevel: 'warn',
    syslog: false,
    exitDir: undefined,
    persistDir: undefined,
    exitCommand: undefined,
    exitCommandArgs: [],
    exitDelaySeconds: 0,
    exec: false,
    execProcessSpec: undefined,
    execAttach: false,
    restorePath: undefined,
    socketDirPath: '/var/run/crio',
    fullAttach: false,
    sdnotifySocket: undefined,
    timeoutSeconds: 0,
    sync: false,
    replaceListenPid: false,
    createTimeoutSeconds: 0,
    attachStallTimeoutSeconds: 0,
  });
});

t.test('every option has its place in the result', async (t) => {
  const exec = ['--exec', '--exec-attach', '--exec-process-spec', '/spec', '--api-version', '1'];
  const flags = ['--no-sync-log', '--leave-stdin-open', '-i', '--replace-listen-pid', '--log-rotate'];
  const values = [
    '--log-max-files',
    '3',
    '--log-allowlist-dir',
    '/l1',
    '--log-allowlist-dir',
    '/l2',
    '--log-tag',
    'tag',
  ];
  const own = [
    '--create-timeout',
    '60',
    '--attach-stall-timeout',
    '10',
    '--exit-delay',
    '300',
    '--persist-dir',
    '/per',
  ];
  const found = options([...BARE, '-l', 'journald', ...exec, ...flags, ...values, ...own]);
  t.match(found, {
    exec: true,
    execAttach: true,
    execProcessSpec: '/spec',
    apiVersion: true,
    syncLog: false,
    leaveStdinOpen: true,
    stdin: true,
    replaceListenPid: true,
    logRotate: true,
    logMaxFiles: 3,
    logAllowlistDirs: ['/l1', '/l2'],
    logTag: 'tag',
    createTimeoutSeconds: 60,
    attachStallTimeoutSeconds: 10,
    exitDelaySeconds: 300,
    persistDir: '/per',
  });
  t.equal(options([...CREATE, '--restore', '/cp']).restorePath, '/cp');
});

t.test("Podman's create is understood", async (t) => {
  t.match(options(PODMAN_CREATE), {
    apiVersion: true,
    bundle: '/var/lib/ctr/userdata',
    cid: ID,
    cuuid: ID,
    name: 'web',
    conmonPidfile: '/run/ctr/conmon.pid',
    containerPidfile: '/run/ctr/pidfile',
    runtime: '/usr/bin/crun',
    runtimeArgs: ['--log-format=json', '--log', '/run/ctr/oci-log'],
    runtimeOpts: ['--preserve-fds', '3'],
    systemdCgroup: true,
    noPivot: true,
    noNewKeyring: true,
    terminal: true,
    logTargets: [{ driver: 'k8s-file', path: '/var/lib/ctr/userdata/ctr.log' }],
    logSizeMaxBytes: 10_485_760,
    syslog: true,
    exitDir: '/run/libpod/exits',
    persistDir: '/run/libpod/persist',
    exitCommand: '/usr/bin/podman',
    exitCommandArgs: ['--root', '', 'cleanup', '--rm', ID],
    fullAttach: true,
    sdnotifySocket: '/run/systemd/notify',
    timeoutSeconds: 30,
  });
});

t.test("CRI-O's ExecSync is understood", async (t) => {
  t.match(options(CRIO_EXEC_SYNC), {
    apiVersion: false,
    exec: true,
    bundle: undefined,
    cuuid: undefined,
    containerPidfile: '/tmp/pid',
    logTargets: [{ driver: 'k8s-file', path: '/tmp/log' }],
    logGlobalSizeMaxBytes: 16_777_216,
    sync: true,
    timeoutSeconds: 10,
    systemdCgroup: true,
    logLevel: 'info',
    runtimeArgs: ['--root=/run/runc'],
  });
});

t.test('options and warnings are frozen, lists too', async (t) => {
  for (const argv of [CREATE, PODMAN_CREATE]) {
    const result = read([...argv, '--no-container-partial-message']);
    assert(result.kind === 'run', JSON.stringify(result));
    t.ok(Object.isFrozen(result.options));
    t.ok(Object.isFrozen(result.warnings));
    for (const [name, value] of Object.entries(result.options)) {
      if (typeof value !== 'object') continue;
      t.ok(Object.isFrozen(value), name);
      if (Array.isArray(value)) for (const item of value) t.ok(Object.isFrozen(item), name);
    }
  }
});
