/** Which runtime `make run` takes. */

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { chooseRuntime } from '../../../src/demo/oci-runtime.ts';
import { Scratch } from './support.ts';

const scratch = new Scratch(t);

function workDir(): string {
  const path = scratch.fresh('work');
  mkdirSync(path);
  return path;
}

t.test('RUNTIME is taken as it is: a path, or a name in PATH', async (t) => {
  const path = process.env['PATH'];
  t.teardown(() => {
    process.env['PATH'] = path;
  });
  process.env['PATH'] = `/nonexistent:${scratch.directory}:${path}`;
  t.equal(chooseRuntime(scratch.runtime, '/nonexistent', workDir()).runtime.path, scratch.runtime);
  t.equal(chooseRuntime('runtime', '/nonexistent', workDir()).runtime.path, scratch.runtime);
  t.throws(
    () => chooseRuntime('no-such-runtime', scratch.runtime, workDir()),
    /RUNTIME=no-such-runtime: no such program/,
  );
  t.throws(
    () => chooseRuntime(scratch.directory, scratch.runtime, workDir()),
    /no such program/,
    'a directory is none',
  );
});

t.test('without RUNTIME some runtime is found, and those that cannot work are told with a reason', async (t) => {
  const { runtime, notes } = chooseRuntime(undefined, scratch.runtime, workDir());
  t.match(runtime.path, /\/(runc|crun|runtime)$/);
  for (const note of notes) t.match(note, /^\/\S+ cannot run containers here: \S/);
});

t.test('a runtime that cannot create a container is passed over with its own reason', async (t) => {
  const directory = workDir();
  const complaint = 'time="2026-11-23T18:00:00Z" level=error msg="no \\"cgroups\\" today"';
  writeFileSync(join(directory, 'runc'), `#!/bin/sh\necho '${complaint}' >&2; exit 1\n`, { mode: 0o755 });
  const { runtime, notes } = chooseRuntime(undefined, scratch.runtime, workDir(), [directory]);
  t.equal(runtime.path, scratch.runtime);
  t.match(runtime.description, /no isolation/);
  const reason = process.geteuid?.() === 0 ? 'no "cgroups" today' : 'that takes root';
  t.same(notes, [`${join(directory, 'runc')} cannot run containers here: ${reason}`]);
});

t.test('a runtime that can is taken before the demo runtime', async (t) => {
  if (process.geteuid?.() !== 0) return;
  const directory = workDir();
  writeFileSync(join(directory, 'crun'), '#!/bin/sh\nexit 0\n', { mode: 0o755 });
  t.equal(chooseRuntime(undefined, scratch.runtime, workDir(), [directory]).runtime.path, join(directory, 'crun'));
});

t.test('without any runtime the demo runtime must have been built', async (t) => {
  t.throws(
    () => chooseRuntime(undefined, '/nonexistent/demo', workDir(), []),
    /\/nonexistent\/demo is missing: run "make build"/,
  );
});

t.test('a runtime describes itself by its version', async (t) => {
  const path = scratch.fresh('talker');
  writeFileSync(path, '#!/bin/sh\necho talker 1.2; echo more\n', { mode: 0o755 });
  t.equal(chooseRuntime(path, '/nonexistent', workDir()).runtime.description, `talker 1.2 (${path})`);
});
