/** What Node gets from the launcher: arguments, fds, session, umask, limits and CONMON_LAUNCHER. */
import { join } from 'node:path';
import { type Dump, NODE_FLAGS, promise, SEED_FLAG } from './harness.ts';

/** The fds of 3 and above, those of the hand-over left out. */
function otherFds(dump: Dump): number[] {
  const own = [Number(dump.handOver('status')), Number(dump.handOver('environ'))];
  return [...dump.fds.keys()].filter((fd) => fd > 2 && !own.includes(fd));
}

promise(
  "Node is executed as conmon with its flags, the bundle and the caller's arguments as they are",
  async (t, it) => {
    const args = ['-c', 'id', '', '--', '--title=x', '--require=/evil', 'a b\n"\'', 'x'.repeat(100_000)];
    const dump = await it.observe({ args: [...args, Buffer.of(0xff, 0x2d, 0xc3, 0x28)] });
    const bundle = join(it.root, 'libexec/conmon/main.cjs');
    const passed = dump.all('arg').slice(0, -1);
    t.same(passed.slice(0, 1 + NODE_FLAGS.length), ['conmon', ...NODE_FLAGS]);
    t.match(passed[1 + NODE_FLAGS.length], SEED_FLAG);
    t.same(passed.slice(2 + NODE_FLAGS.length), [bundle, ...args, '\xff\x2d\xc3\x28']);
    t.equal(dump.one('exe'), it.node);
  },
);

promise('CONMON_LAUNCHER comes first and has exactly its six fields', async (t, it) => {
  const dump = await it.observe({ env: ['TZ=UTC'], caller: ['nofile=100:200', 'null=3', 'null=7'] });
  const pattern = new RegExp(
    `^CONMON_LAUNCHER=v1 status=\\d+ environ=\\d+ nofile=100:200 ppid=${process.pid} fds=3,7$`,
  );
  t.match(dump.all('env')[0], pattern);
  t.equal(dump.all('env')[1], 'TZ=UTC');
});

promise(
  'fds that were open at entry reach Node at their numbers and are listed, with none of the launcher',
  async (t, it) => {
    const wanted = [3, 4, 5, 9, ...Array.from({ length: 31 }, (_, i) => 10 + i)];
    const dump = await it.observe({ caller: wanted.map((fd) => `null=${fd}`) });
    t.equal(dump.handOver('fds'), '3-5,9-40');
    t.same(otherFds(dump), wanted);
    for (const [fd, { flags }] of dump.fds) {
      t.equal(flags, 0, `fd ${fd} is inheritable`);
    }
  },
);

promise('without inherited fds the list is empty', async (t, it) => {
  const dump = await it.observe();
  t.equal(dump.handOver('fds'), '');
  t.same(otherFds(dump), []);
});

promise('a thousand fds with gaps are all listed', async (t, it) => {
  const wanted = Array.from({ length: 1000 }, (_, i) => 4 + 2 * i);
  const dump = await it.observe({ caller: ['nofile=2100', ...wanted.map((fd) => `copy=0:${fd}`)] });
  t.same(dump.handOver('fds').split(',').map(Number), wanted);
});

promise('RLIMIT_NOFILE 64 with inherited fds is enough, and is handed over unchanged', async (t, it) => {
  const caller = Array.from({ length: 31 }, (_, i) => `null=${10 + i}`);
  const dump = await it.observe({ caller: [...caller, 'nofile=64'] });
  t.equal(dump.handOver('nofile'), '64:64');
  t.same([dump.number('soft'), dump.number('hard')], [64, 64]);
  t.equal(dump.handOver('fds'), '10-40');
});

promise('an fd above the limit is listed', async (t, it) => {
  const dump = await it.observe({ caller: ['null=500', 'nofile=64'] });
  t.equal(dump.handOver('fds'), '500');
});

promise('Node leads a session of its own, with umask 0022 whatever the caller had', async (t, it) => {
  for (const umask of ['0777', '0', '0027']) {
    const dump = await it.observe({ caller: [`umask=${umask}`] });
    t.equal(dump.number('umask'), 0o022, `caller's umask ${umask}`);
    t.equal(dump.number('sid'), dump.number('pid'));
  }
});

promise("the working directory is the caller's, also when it is gone", async (t, it) => {
  t.equal((await it.observe({ caller: ['cd=/usr'] })).one('cwd'), '/usr');
  const lost = it.file('lost');
  t.equal((await it.observe({ caller: [`lost=${lost}`] })).one('cwd'), `${lost} (deleted)`);
});

promise('closed standard streams are on /dev/null before anything else lands there', async (t, it) => {
  for (let closed = 1; closed < 8; closed++) {
    const numbers = [0, 1, 2].filter((fd) => closed & (1 << fd));
    const dump = await it.observe({ caller: ['null=5', ...numbers.map((fd) => `close=${fd}`)] });
    for (const fd of [0, 1, 2]) {
      const target = dump.fds.get(fd)?.target ?? 'closed';
      t.match(target, numbers.includes(fd) ? /^\/dev\/null$/ : /^(socket|pipe):/, `fd ${fd} with ${numbers} closed`);
    }
    t.equal(dump.handOver('fds'), '5');
    t.same(otherFds(dump), [5]);
  }
});

if (process.getuid?.() === 0) {
  promise('where /proc cannot be listed the fds are found one by one', async (t, it) => {
    const caller = ['null=3', 'null=9', 'null=10', 'nofile=64', `emptyproc=${it.conmon}`];
    const dump = await it.observe({ caller });
    t.equal(dump.handOver('fds'), '3,9-10');
  });
}
