/** The installed wrapper: it finds its own Node from anywhere and keeps the caller's Node settings away from it. */

import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { REPOSITORY, Scratch } from './support.ts';

const scratch = new Scratch(t);

/** As `make build` makes it. */
function installScript(path: string): void {
  const template = readFileSync(join(REPOSITORY, 'src/program.sh.in'), 'utf8');
  writeFileSync(path, template.replaceAll('@NAME@', 'conmon-demo-runtime').replaceAll('@BUNDLE@', 'demo-runtime.cjs'));
}

/** An installation whose "Node" prints its arguments and environment. @returns the wrapper's path. */
function install(prefix: string): string {
  mkdirSync(join(prefix, 'bin'), { recursive: true });
  mkdirSync(join(prefix, 'libexec/conmon'), { recursive: true });
  const wrapper = join(prefix, 'bin/conmon-demo-runtime');
  installScript(wrapper);
  chmodSync(wrapper, 0o755);
  const node = '#!/bin/sh\nfor a; do printf "arg:%s\\0" "$a"; done\ncat /proc/$$/environ\n';
  writeFileSync(join(prefix, 'libexec/conmon/node'), node, { mode: 0o755 });
  return wrapper;
}

function run(path: string, args: readonly string[], env: NodeJS.ProcessEnv = {}, cwd = '/') {
  const { status, stdout, stderr } = spawnSync(path, args, { env, cwd, encoding: 'utf8', timeout: 10_000 });
  const words = stdout.split('\0').slice(0, -1);
  const [script = '', ...passed] = words.filter((word) => word.startsWith('arg:')).map((word) => word.slice(4));
  return { status, stderr, script, passed, environment: words.filter((word) => !word.startsWith('arg:')) };
}

t.test('arguments are passed on as they are', async (t) => {
  const args = ['--root', 'a b', '', '*', "it's", '$HOME', 'two\nlines', '--'];
  t.same(run(install(scratch.fresh('prefix')), args, { PATH: '/usr/bin:/bin' }).passed, args);
});

t.test('Node settings of the caller do not reach Node, the rest does', async (t) => {
  const hostile = Object.fromEntries(
    ['NODE_OPTIONS', 'NODE_EXTRA_CA_CERTS', 'NODE_PATH', 'NODE_DEBUG', 'NODE_V8_COVERAGE', 'OPENSSL_CONF'].map(
      (name) => [name, '/x'],
    ),
  );
  const env = { ...hostile, PATH: '/usr/bin:/bin', XDG_RUNTIME_DIR: '/run/user/1', TMPDIR: '/var/tmp' };
  const { environment } = run(install(scratch.fresh('prefix')), [], env);
  t.same(
    environment.filter((entry) => /^(NODE_|OPENSSL_)/.test(entry)),
    ['OPENSSL_CONF=/dev/null'],
    'nor the machine’s settings for OpenSSL',
  );
  for (const name of ['PATH', 'XDG_RUNTIME_DIR', 'TMPDIR'] as const) t.ok(environment.includes(`${name}=${env[name]}`));
});

t.test('it works without any environment, through links, and from any directory', async (t) => {
  const wrapper = install(scratch.path('a prefix with spaces'));
  const expected = 'a prefix with spaces/bin/../libexec/conmon/demo-runtime.cjs';
  const links = scratch.path('links');
  mkdirSync(links);
  symlinkSync(wrapper, join(links, 'absolute'));
  symlinkSync('absolute', join(links, 'relative'));
  symlinkSync('../links/relative', join(links, 'further'));
  symlinkSync(links, scratch.path('links-directory'));
  const tries: [string, string][] = [
    [wrapper, '/'],
    [join(links, 'absolute'), '/'],
    [join(links, 'further'), '/'],
    [scratch.path('links-directory/further'), '/'],
    ['./relative', links],
    ['../links/further', links],
  ];
  for (const [path, cwd] of tries) {
    const { status, script, stderr } = run(path, ['x'], {}, cwd);
    t.same([status, stderr], [0, ''], path);
    t.ok(script.endsWith(expected), script);
  }
});

t.test('a missing build is told', async (t) => {
  const wrapper = join(scratch.path('unbuilt'), 'bin/conmon-demo-runtime');
  mkdirSync(join(scratch.path('unbuilt'), 'bin'), { recursive: true });
  installScript(wrapper);
  chmodSync(wrapper, 0o755);
  t.match(run(wrapper, []), { status: 1, stderr: /libexec\/conmon\/node is missing: run "make build"/ });
});
