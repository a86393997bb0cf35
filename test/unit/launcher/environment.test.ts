/** The environment guard: what the caller set never changes Node, and reaches the daemon byte for byte in the memfd. */
import { existsSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { NODE_FLAGS, promise, SEED_FLAG, strings } from './harness.ts';

const latin1 = (values: readonly (string | Buffer)[]) => strings(values).toString('latin1');

/** What the launcher sets for Node, whatever the caller has (docs/adr/0029-malloc-and-io-uring.md, 0050-in-front-of-node.md). */
const SETTINGS = [
  'GLIBC_TUNABLES=glibc.malloc.arena_max=1:glibc.malloc.trim_threshold=65536:glibc.malloc.top_pad=0',
  'OPENSSL_CONF=/dev/null',
];

/** The environment of Node without the launcher's own entries, which come last. Throws when its settings are not there. */
function passed(entries: readonly string[]): readonly string[] {
  const own = entries.filter((entry) => !entry.startsWith('CONMON_LAUNCHER='));
  if (String(own.slice(-SETTINGS.length)) !== String(SETTINGS))
    throw new Error(`settings: ${own.slice(-SETTINGS.length)}`);
  return own.slice(0, -SETTINGS.length);
}

const EVIL = [
  'NODE_OPTIONS=--require=/evil.js',
  'NODE_EXTRA_CA_CERTS=/evil.pem',
  'NODE_PATH=/evil',
  'NODE_DEBUG=fs',
  'NODE_V8_COVERAGE=/evil',
  'NODE_COMPILE_CACHE=/evil',
  'NODE_CHANNEL_FD=3',
  'UV_THREADPOOL_SIZE=1',
  'OPENSSL_CONF=/evil',
  'SSL_CERT_FILE=/evil',
  'ICU_DATA=/evil',
  'LD_PRELOAD=/evil.so',
  'LD_LIBRARY_PATH=/evil',
  'LD_DEBUG=all',
  'MALLOC_ARENA_MAX=1',
  'PATH=/evil',
  'HOME=/evil',
  'LANG=xx_XX',
];

promise('only the allow-list reaches Node, in order, with duplicates', async (t, it) => {
  const allowed = [
    'TZ=UTC',
    'TZDIR=/z',
    'TMPDIR=/t',
    'XDG_RUNTIME_DIR=/run/user/0',
    'LISTEN_PID=1',
    'LISTEN_FDS=0',
    'LISTEN_FDNAMES=a:b',
    'NOTIFY_SOCKET=/n',
    'CONMON_ATTACH_STALL_TIMEOUT=10',
    'CONMON_=',
    'CONMON_LAUNCHER_=1',
    '_OCI_SYNCPIPE=3',
    '_OCI_ATTACHPIPE=5',
    'TZ=again',
  ];
  const refused = [
    'TZX=1',
    'TZ',
    'CONMON_X',
    'CONMON=1',
    'conmon_x=1',
    'XCONMON_X=1',
    'LISTEN=1',
    ' TZ=1',
    '=TZ=1',
    '',
  ];
  const env = allowed.flatMap((entry, i) => [EVIL[i] ?? '', entry, refused[i] ?? '']);
  const dump = await it.observe({ env });
  t.same(passed(dump.all('env')), allowed);
  t.equal(dump.one('environ'), latin1(env));
});

promise('a CONMON_LAUNCHER of the caller does not reach Node', async (t, it) => {
  const env = ['CONMON_LAUNCHER=v1 status=0 environ=0 nofile=1:1 ppid=1 fds=', 'TZ=UTC'];
  const dump = await it.observe({ env });
  const own = dump.all('env').filter((entry) => entry.startsWith('CONMON_LAUNCHER'));
  t.equal(own.length, 1);
  t.not(own[0], env[0]);
  t.equal(dump.one('environ'), latin1(env));
});

promise('the memfd is sealed and is read from its start', async (t, it) => {
  const dump = await it.observe({ env: ['A=b'] });
  t.match(dump.fds.get(Number(dump.handOver('environ')))?.target, /^\/memfd:conmon-environ/);
  t.equal(dump.number('position'), 0);
  const seals = 0x1 | 0x2 | 0x4 | 0x8; // SEAL, SHRINK, GROW, WRITE of fcntl(2)
  t.equal(dump.number('seals') & seals, seals);
});

promise('a kernel that knows no executable bit of memfds gets by without', async (t, it) => {
  const dump = await it.observe({ env: ['A=b'], caller: ['kernel=5.10'] });
  t.equal(dump.one('environ'), 'A=b\0');
});

promise('an empty environment is an empty memfd', async (t, it) => {
  const dump = await it.observe();
  t.equal(dump.one('environ'), '');
  t.same(passed(dump.all('env')), []);
});

promise('entries of any bytes are kept as they are', async (t, it) => {
  const env = [
    '',
    'NO_EQUALS',
    '=',
    '=x',
    '',
    Buffer.of(0xff, 0xfe, 0x3d, 0xc3, 0x28),
    'A=1',
    'A=2',
    'A',
    'NEWLINE=a\nb',
    'EQUALS=a=b=c',
    Buffer.from('CONMON_\xe9=\xff', 'latin1'),
    '',
  ];
  const dump = await it.observe({ env });
  t.equal(dump.one('environ'), latin1(env));
  t.same(passed(dump.all('env')), ['CONMON_\xe9=\xff']);
});

promise('what the C library reads for itself is kept as well and says nothing on stderr', async (t, it) => {
  const env = [
    'GLIBC_TUNABLES=glibc.malloc.tcache_count=0:glibc.malloc.mmap_max=1',
    'A=1',
    'GLIBC_TUNABLES=glibc.malloc.tcache_count=glibc.malloc.tcache_count=3::x=:=:glibc.cpu.hwcaps=-AVX2',
    'GLIBC_TUNABLES=',
    'GLIBC_TUNABLES',
    'B=2',
  ];
  const dump = await it.observe({ env });
  t.equal(dump.one('environ'), latin1(env));
  t.same(passed(dump.all('env')), []);
  t.equal(dump.outcome.stderr, '');
});

promise(
  'the dynamic linker has no say',
  async (t, it) => {
    const env = [
      'LD_PRELOAD=/nonexistent.so',
      'LD_DEBUG=all',
      'LD_LIBRARY_PATH=/nonexistent',
      'LD_AUDIT=/x.so',
      ...EVIL,
    ];
    const dump = await it.observe({ env });
    t.equal(dump.one('environ'), latin1(env));
    t.equal(dump.outcome.stderr, '');
    t.equal(dump.outcome.stdout, '');
  },
  ['static'],
);

promise('an environment near the limit of the kernel is kept', async (t, it) => {
  const long = Array.from({ length: 10 }, (_, i) => `LONG_${i}=${String(i).repeat(131_000)}`);
  const short = Array.from({ length: 10_000 }, (_, i) => (i % 10 === 0 ? `CONMON_${i}=${i}` : `SHORT_${i}=${i}`));
  const env = [...long, ...short];
  const dump = await it.observe({ env });
  t.ok(dump.one('environ') === latin1(env), `${latin1(env).length} bytes`);
  t.equal(passed(dump.all('env')).length, 1000);
});

promise(
  'the real Node boots on it, untouched by NODE_OPTIONS and what else the caller set',
  async (t, it) => {
    rmSync(it.node);
    symlinkSync(process.execPath, it.node);
    const report = it.file('report');
    const program = `require('node:fs').writeFileSync(${JSON.stringify(report)}, JSON.stringify([process.env, process.execArgv]))`;
    writeFileSync(join(it.root, 'libexec/conmon/main.cjs'), program);
    const outcome = await it.run({ env: EVIL });
    t.match(outcome, { status: 0, stdout: '', stderr: '' });
    const [env, execArgv] = JSON.parse(readFileSync(report, 'utf8'));
    t.same(Object.keys(env).sort(), ['CONMON_LAUNCHER', 'GLIBC_TUNABLES', 'OPENSSL_CONF']);
    t.same(execArgv.slice(0, -1), [...NODE_FLAGS]);
    t.match(execArgv.at(-1), SEED_FLAG);
  },
  ['static'],
);

promise('no memfd: a clear error, and nothing is started', async (t, it) => {
  const dump = it.file('dump');
  const outcome = await it.run({ caller: ['deny=memfd_create:38'], args: [`do:dump=${dump}`] });
  t.equal(outcome.status, 1);
  t.equal(outcome.stderr, '[conmon:e]: Failed to create a memfd for the environment: Function not implemented\n');
  t.notOk(existsSync(dump));
});

promise('RLIMIT_FSIZE 0: a clear error instead of SIGXFSZ', async (t, it) => {
  const outcome = await it.run({ caller: ['fsize=0'], env: ['A=b'] });
  t.equal(outcome.status, 1);
  t.equal(outcome.stderr, '[conmon:e]: Failed to keep the environment: File too large\n');
});
