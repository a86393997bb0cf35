/** The runtime's command line, word for word as contract section 4 has it. */
import t from 'tap';
import type { Options } from '../../../src/cli/options.ts';
import { runtimeArgs } from '../../../src/session/runtime-args.ts';
import { options } from './options.ts';

const line = (changes: Partial<Options>, consoleSocket?: string) =>
  runtimeArgs(options(changes), consoleSocket).join(' ');
const everything: Partial<Options> = {
  systemdCgroup: true,
  runtimeArgs: ['--root', '/run/r', '--debug'],
  noPivot: true,
  noNewKeyring: true,
  runtimeOpts: ['--preserve-fds', '2'],
};

t.test('create', async (t) => {
  t.equal(line({}), '/runtime create --bundle /bundle --pid-file /pidfile cid');
  t.equal(
    line(everything, '/tmp/console'),
    '/runtime --systemd-cgroup --root /run/r --debug create --bundle /bundle --pid-file /pidfile --no-pivot ' +
      '--no-new-keyring --preserve-fds 2 --console-socket /tmp/console cid',
  );
});

t.test('restore', async (t) => {
  const image = { restorePath: '/checkpoint' };
  t.equal(
    line(image),
    '/runtime restore --bundle /bundle --pid-file /pidfile --detach --image-path /checkpoint --work-path /bundle cid',
  );
  t.equal(
    line({ ...everything, ...image }, '/tmp/console'),
    '/runtime --systemd-cgroup --root /run/r --debug restore --bundle /bundle --pid-file /pidfile --no-pivot ' +
      '--no-new-keyring --detach --image-path /checkpoint --work-path /bundle --preserve-fds 2 ' +
      '--console-socket /tmp/console cid',
  );
});

t.test('exec has neither --systemd-cgroup nor --no-pivot nor --no-new-keyring', async (t) => {
  const exec = { exec: true, execProcessSpec: '/spec' };
  t.equal(line(exec), '/runtime exec --pid-file /pidfile --process /spec --detach cid');
  t.equal(
    line({ ...everything, ...exec }, '/tmp/console'),
    '/runtime --root /run/r --debug exec --pid-file /pidfile --process /spec --detach --preserve-fds 2 ' +
      '--console-socket /tmp/console cid',
  );
});

t.test('a value that looks like an option stays one argument', async (t) => {
  const args = runtimeArgs(options({ bundle: '--bundle', cid: '-x y', runtimeOpts: ['--a b'] }), undefined);
  t.same(args, ['/runtime', 'create', '--bundle', '--bundle', '--pid-file', '/pidfile', '--a b', '-x y']);
});
