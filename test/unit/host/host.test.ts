/** For src/host: who joins, who is refused, and what is left of both. Real sockets; the launchers are this process itself. */
import { closeSync, openSync, readdirSync } from 'node:fs';
import { constants } from 'node:os';
import t from 'tap';
import { type Sys, sys } from '../../../src/native/sys.ts';
import { waitFor } from '../../helpers/wait.ts';
import { HostRig, type Plan } from './rig.ts';

const { EMFILE, EPIPE } = constants.errno;

const openFds = (): number => readdirSync('/proc/self/fd').length;

t.test(
  'an exec that joins is told so, with what was said of it, and then begins; nothing of it stays open',
  async (t) => {
    const rig = new HostRig(t, {
      warnings: ['first'],
      onMake: ({ diag }) => diag.warn('second'),
    });
    const before = openFds();
    const caller = openSync('/', 'r');
    const { made, launcher, answer } = await rig.join({
      environment: ['A=1', '_OCI_SYNCPIPE=7'],
      arguments: ['-c', 'cid'],
      fds: [caller],
      numbers: '7',
    });
    closeSync(caller);
    t.equal(answer, 'R[conmon:w]: first\n[conmon:w]: second\n');
    t.equal(await launcher.hears(), 'gone', 'it need not stay');
    launcher.leave();
    t.same(rig.parsed, [['-c', 'cid']]);
    t.same(made.journal, ['begin']);
    const { joiner } = made;
    t.equal(joiner.pipe('_OCI_SYNCPIPE'), joiner.fds[0]);
    t.equal(joiner.pipe('_OCI_STARTPIPE'), -1);
    t.same(joiner.launch.entryFds, [7]);
    joiner.diag.warn('nobody hears it any longer');
    t.ok(rig.host.busy);
    made.end(0);
    t.notOk(rig.host.busy);
    t.same(made.journal, ['begin', 'close']);
    t.equal(openFds(), before);
  },
);

t.test(
  'a launcher that stays forwards signals, and hears the status; one that leaves first has abandoned it',
  async (t) => {
    const rig = new HostRig(t, { options: { sync: true } });
    const before = openFds();
    const [one, other] = [await rig.join(), await rig.join()];
    t.equal(one.answer, 'S');
    one.launcher.say(Uint8Array.of(constants.signals.SIGTERM));
    await waitFor('the signal', () => one.made.posted.includes('signal'));
    one.made.end(0x103);
    t.equal(await one.launcher.hears(), 'E\x03');
    t.equal(await one.launcher.hears(), 'gone');
    other.launcher.leave();
    await waitFor('its end', () => other.made.posted.includes('abandoned'));
    other.made.end(1);
    one.launcher.leave();
    t.equal(openFds(), before);
  },
);

t.test('what may not join, or is no hand-over, is refused without a word, and nothing of it stays open', async (t) => {
  const noMemfd = openSync('/dev/null', 'r');
  t.teardown(() => closeSync(noMemfd));
  const refusals: readonly [string, RegExp, Plan, Partial<ConstructorParameters<typeof HostRig>[1]>?][] = [
    ['garbage', /damaged/, { text: 'hello' }],
    ['another build', /another build/, { build: 'build-2' }],
    ['an fd that was not sent', /fds are missing/, { numbers: '7' }],
    ['one that nobody spoke of', /fds are missing/, { fds: [0] }],
    ['more fds than we may have', /more open files/, { nofile: '64:101' }, { nofileHard: 100 }],
    ['no limit of its own', /more open files/, { nofile: '64:18446744073709551615' }, { nofileHard: 100 }],
    ['a number beyond our limit', /more open files/, { fds: [0], numbers: '100' }, { nofileHard: 100 }],
    ['an unknown oom_score_adj', /oom_score_adj/, { oom: '' }],
    ['a lower oom_score_adj', /oom_score_adj/, { oom: '-1001' }],
    ['an environment that can be changed', /no memfd/, { environFd: noMemfd }],
    ['a wrong command line', /Unknown option/, { arguments: ['--unknown'] }],
    ['another container', /another container/, {}, { options: { cid: 'other' } }],
    [
      'what cannot be made',
      /no room/,
      { fds: [0], numbers: '7' },
      {
        onMake: () => {
          throw new Error('no room');
        },
      },
    ],
  ];
  for (const [name, reason, plan, hostPlan] of refusals) {
    const rig = new HostRig(t, hostPlan);
    const before = openFds();
    const launcher = await rig.launcher();
    launcher.handOver(plan);
    t.equal(await launcher.hears(), 'gone', name);
    launcher.leave();
    t.equal(openFds(), before, `${name}: nothing is left open`);
    t.ok(
      rig.complaints.lines.some((line) => /has not joined/.test(line) && reason.test(line)),
      `${name}: ${rig.complaints.lines.join('\n')}`,
    );
    t.notOk(rig.host.busy, name);
  }
});

t.test('as many fds and as low a limit as ours are no reason to refuse', async (t) => {
  const rig = new HostRig(t, { nofileHard: 100 });
  const { made, answer } = await rig.join({ nofile: '100:100', fds: [0], numbers: '99' });
  t.equal(answer, 'R');
  made.end(0);
});

t.test('nobody joins a container that is not running', async (t) => {
  const rig = new HostRig(t);
  rig.container.session.state = 'draining';
  const launcher = await rig.launcher();
  launcher.handOver();
  t.equal(await launcher.hears(), 'gone');
  t.same(rig.made, []);
});

t.test(
  'a launcher that has given up before it was judged has started a conmon of its own: nothing is made',
  async (t) => {
    const rig = new HostRig(t);
    const before = openFds();
    const launcher = await rig.launcher();
    launcher.handOver();
    launcher.leave();
    await waitFor('the refusal', () => rig.complaints.lines.some((line) => line.includes('has not joined')));
    t.same(rig.made, []);
    t.equal(openFds(), before);
  },
);

t.test('what a launcher that is gone cannot be told of is undone, and never begins', async (t) => {
  const answers = { refused: false };
  const rig = new HostRig(t, {
    calls: {
      sendmsg: (...call: Parameters<Sys['sendmsg']>) => (answers.refused ? -EPIPE : sys.sendmsg(...call)),
    },
  });
  const before = openFds();
  const launcher = await rig.launcher();
  answers.refused = true;
  launcher.handOver();
  t.equal(await launcher.hears(), 'gone');
  launcher.leave();
  t.same(rig.made[0]?.journal, ['cancel']);
  t.notOk(rig.host.busy);
  t.equal(openFds(), before);
});

t.test('one more than 256 at once has a conmon of its own; when one has ended the next may come', async (t) => {
  const rig = new HostRig(t);
  const before = openFds();
  for (let i = 0; i < 256; i++) {
    const { answer, launcher } = await rig.join();
    if (answer !== 'R') t.fail(`${i}: ${answer}`);
    launcher.leave();
  }
  const launcher = await rig.launcher();
  launcher.handOver();
  t.equal(await launcher.hears(), 'gone');
  launcher.leave();
  t.equal(rig.made.length, 256);
  rig.made[0]?.end(0);
  await rig.join();
  t.equal(rig.made.length, 257);
  for (const made of rig.made.slice(1)) made.end(0);
  t.notOk(rig.host.busy);
  await waitFor('all connections to be closed', () => openFds() <= before + 1); // the last launcher's
});

t.test(
  'the process stays for sessions that are here, tells them that it wants to end, and ends with the last',
  async (t) => {
    const rig = new HostRig(t);
    const [{ made: one }, { made: other }] = [await rig.join(), await rig.join()];
    one.end(0);
    t.same(rig.left, [], 'the container is there');
    rig.host.containerDone(7);
    t.same(rig.left, []);
    t.same([one.posted, other.posted], [[], ['hostEnds']]);
    other.end(0);
    t.same(rig.left, [7]);
    other.end(0);
    t.same(rig.left, [7], 'once');
    t.same(other.journal, ['begin', 'close'], 'also what it held');
  },
);

t.test('without sessions the process ends with its container', (t) => {
  const rig = new HostRig(t);
  rig.host.containerDone(0);
  t.same(rig.left, [0]);
  t.end();
});

t.test('what a session holds is kept until its clients have left', async (t) => {
  const rig = new HostRig(t, { withOutput: true });
  const { made } = await rig.join();
  made.end(0);
  t.same([made.journal, made.released], [['begin'], false]);
  made.closed?.();
  t.same([made.journal, made.released], [['begin', 'close'], true]);
});

t.test(
  'after execs malloc gives back what it can do without, once for those that end together, and again later',
  async (t) => {
    const rig = new HostRig(t);
    for (let i = 0; i < 3; i++) await rig.join();
    for (const made of rig.made) made.end(0);
    t.equal(rig.trims, 0, 'not at once');
    await waitFor('the first time', () => rig.trims > 0);
    t.same([rig.trims, rig.rests], [1, 1], 'so does who keeps something for the next exec');
    const { made } = await rig.join();
    made.end(0);
    await waitFor('the second time', () => rig.trims > 1);
    t.same([rig.trims, rig.rests], [2, 2]);
  },
);

t.test(
  'garbage is collected after 128 ended sessions when nobody is here, else after four times as many',
  async (t) => {
    const rig = new HostRig(t);
    let rounds = 0;
    const { memoryPressure } = sys;
    Object.assign(sys, { memoryPressure: () => rounds++ });
    t.teardown(() => Object.assign(sys, { memoryPressure }));
    const turn = () => new Promise((resolve) => setImmediate(resolve));
    const each = async (times: number): Promise<void> => {
      for (let i = 0; i < times; i++) {
        const { made, launcher } = await rig.join();
        launcher.leave();
        made.end(0);
      }
      await turn();
    };
    await each(127);
    t.equal(rounds, 0);
    await each(1);
    t.equal(rounds, 2, 'V8 is told of the want of memory, and of its end');
    const { made: guest } = await rig.join();
    await each(511);
    t.equal(rounds, 2);
    await each(1);
    t.equal(rounds, 4);
    guest.end(0);
  },
);

t.test('who says nothing for a second is hung up on, each after its own, and nobody else', async (t) => {
  const SECOND_MS = 1000;
  const rig = new HostRig(t, { options: { sync: true } });
  const joined = await rig.join();
  const goneAfterMs = async (): Promise<number> => {
    const beforeMs = performance.now();
    const launcher = await rig.launcher();
    t.equal(await launcher.hears(), 'gone');
    return performance.now() - beforeMs;
  };
  const first = goneAfterMs();
  await new Promise((resolve) => setTimeout(resolve, SECOND_MS / 2));
  const second = goneAfterMs();
  for (const ms of await Promise.all([first, second])) t.ok(ms >= SECOND_MS, `after ${ms} ms`);
  t.ok((await goneAfterMs()) >= SECOND_MS, 'and so is one that comes when nobody was waited for');
  t.same(
    [joined.made.posted, joined.launcher.silent],
    [[], true],
    'who has joined may say nothing for as long as it likes',
  );
  joined.made.end(0);
});

t.test('who knocks is let in, eight at a time; without fds they wait, and that is told', (t) => {
  let asked = 0;
  let failing = false;
  const rig = new HostRig(t, {
    calls: {
      accept4: (fd, flags) => {
        asked++;
        return failing ? -EMFILE : sys.accept4(fd, flags);
      },
    },
  });
  for (let i = 0; i < 10; i++) rig.knock();
  t.ok(rig.host.accept(rig.listenFd));
  t.equal(asked, 8);
  t.ok(rig.host.accept(rig.listenFd), 'nobody else is there');
  t.equal(asked, 11);
  failing = true;
  t.notOk(rig.host.accept(rig.listenFd));
  t.end();
});
