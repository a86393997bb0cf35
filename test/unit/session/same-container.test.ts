/** Which execs may join a container's daemon, and which need a conmon of their own. */
import t from 'tap';
import type { Options } from '../../../src/cli/options.ts';
import { Environment } from '../../../src/session/environment.ts';
import { whyNotJoin } from '../../../src/session/same-container.ts';
import { block } from '../native/report.ts';
import { options } from './options.ts';

const container = (changes: Partial<Options> = {}, ...environment: readonly string[]) => ({
  options: options({ bundle: '/bundle', ...changes }),
  environment: new Environment(block(...environment)),
});
const exec = (changes: Partial<Options> = {}, ...environment: readonly string[]) =>
  container({ exec: true, bundle: undefined, execProcessSpec: '/spec', ...changes }, ...environment);

t.test('an exec of the same container under the same runtime may join', async (t) => {
  t.equal(whyNotJoin(container(), exec()), undefined);
  const args = ['--root', '/run/runc'];
  t.equal(whyNotJoin(container({ runtimeArgs: args }), exec({ runtimeArgs: args })), undefined);
});

t.test('anything else than an exec, and an exec of another container or runtime, may not', async (t) => {
  t.equal(whyNotJoin(container(), container()), 'it is no exec');
  t.equal(whyNotJoin(container(), exec({ cid: 'other' })), 'it is for another container');
  t.equal(whyNotJoin(container(), exec({ runtime: '/other' })), 'it is for another runtime');
});

t.test('the same id under another root of the runtime is another container', async (t) => {
  for (const [own, its] of [
    [['--root=/a'], ['--root=/b']],
    [
      ['--root', '/a'],
      ['--root', '/b'],
    ],
    [['--root=/a'], []],
    [[], ['--root=/a']],
    [['--root', '/a'], ['--root=/a']],
    [
      ['--root=/a', '--root=/b'],
      ['--root=/b', '--root=/a'],
    ],
    [['--systemd-cgroup'], []],
    // What looks like a root is a value here, and the other way round.
    [['--log', '--root=/a'], ['--root=/a']],
  ] as const)
    t.equal(
      whyNotJoin(container({ runtimeArgs: own }), exec({ runtimeArgs: its })),
      'it has other arguments for the runtime',
      `${own} and ${its}`,
    );
});

t.test("the runtime's own log, which Podman gives each exec anew, makes no difference", async (t) => {
  const own = ['--root=/a', '--log-format=json', '--log', '/bundle/oci-log'];
  const its = ['--root=/a', '--log-format=json', '--log', '/exec/oci-log', '--debug'];
  t.equal(whyNotJoin(container({ runtimeArgs: own }), exec({ runtimeArgs: its })), undefined);
  t.equal(whyNotJoin(container({ runtimeArgs: ['--log=/a'] }), exec({ runtimeArgs: ['--log=/b'] })), undefined);
});

t.test('without a root the runtime looks at XDG_RUNTIME_DIR', async (t) => {
  const [own, same, other] = ['XDG_RUNTIME_DIR=/run/user/1', 'XDG_RUNTIME_DIR=/run/user/1', 'XDG_RUNTIME_DIR=/x'];
  t.equal(whyNotJoin(container({}, own), exec({}, 'A=1', same)), undefined);
  t.equal(whyNotJoin(container({}, own), exec({}, other)), 'it has another runtime directory');
  t.equal(whyNotJoin(container({}, own), exec({})), 'it has another runtime directory');
  const runtimeArgs = ['--root', '/r'];
  t.equal(whyNotJoin(container({ runtimeArgs }, own), exec({ runtimeArgs }, other)), undefined);
});

t.test('what the process has but once must be the same, or is not shared', async (t) => {
  t.equal(whyNotJoin(container({}, 'TZ=UTC'), exec({}, 'TZ=Asia/Tokyo')), 'it has another time zone');
  t.equal(whyNotJoin(container(), exec({}, 'TZDIR=/x')), 'it has another time zone');
  const pidFile = whyNotJoin(container(), exec({ conmonPidfile: '/pid' }));
  t.equal(pidFile, 'its caller asks for the pid of its conmon');
  const streams = whyNotJoin(container(), exec({ logTargets: [{ driver: 'passthrough' }] }));
  t.equal(streams, "it gets its caller's streams");
});
