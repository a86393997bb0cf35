/** conmon is replaced while a container runs: the container does not notice, and nothing of two builds is mixed. */
import { existsSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { acceptedClients, attach } from '../helpers/attach-case.ts';
import { type Case, promise } from '../helpers/case.ts';
import type { Container } from '../helpers/container.ts';
import { make } from '../helpers/make.ts';
import { readRecording } from '../helpers/runtimes.ts';
import { waitFor } from '../helpers/wait.ts';

const NOT_OURS = { c: 'C is one file, which stays in memory' };

/** Replaces each bundle by one that says it is of another build. @returns how many did say of which they are. */
function installAnotherBuild(prefix: string): number {
  const libexec = join(prefix, 'libexec/conmon');
  const main = readFileSync(join(libexec, 'main.js'), 'latin1');
  const build = /buildId="([0-9a-f]{32})"/.exec(main)?.[1];
  if (build === undefined) throw new Error('main.js does not say of which build it is');
  let changed = 0;
  for (const name of readdirSync(libexec).filter((name) => name.endsWith('.js'))) {
    const path = join(libexec, name);
    const code = readFileSync(path, 'latin1');
    if (!code.includes(build)) continue;
    changed++;
    writeFileSync(`${path}.new`, code.replaceAll(build, 'f'.repeat(build.length)), 'latin1');
    renameSync(`${path}.new`, path);
    rmSync(path.replace(/\.js$/, '.cache'), { force: true });
  }
  return changed;
}

const TURNED_AWAY = /nobody can attach any longer/;

/** A container under an installed tree, which has begun and waits for `go`. */
async function installed(c: Case, args: readonly string[] = []): Promise<{ container: Container; prefix: string }> {
  const prefix = c.workspace.directory('prefix');
  make(['install'], { PREFIX: prefix, DESTDIR: '' });
  const script = 'echo before; : >begun; while [ ! -e go ]; do sleep 0.02; done; echo after; exit 9';
  const container = c.container({
    fake: (container) => [`container cd ${container.dir}; ${script}`, 'exit 0'],
    conmonPath: join(prefix, 'bin/conmon'),
    env: { CONMON_SESSIONS: 'on' },
    ...(args.length > 0 ? { logPaths: args } : {}),
  });
  await container.created();
  if (args.length > 0) await waitFor('the container', () => existsSync(container.path('begun')));
  else await waitFor('the log', () => container.log().stdout.toString() === 'before\n');
  return { container, prefix };
}

/** An exec by a conmon that is whole. @returns whether it has joined the container's. */
async function exec(c: Case, container: Container, name: string): Promise<boolean> {
  const dir = c.workspace.path(name);
  writeFileSync(`${container.runtimePath}.conf`, `record ${dir}\ncontainer echo out; exit 7\n`);
  const one = c.exec(container, { env: { CONMON_SESSIONS: 'on' } });
  c.t.equal(await one.everything(), '{"exit_code": 7}\n', `${name} tells its status`);
  await one.ended();
  c.t.equal(one.log().stdout.toString(), 'out\n');
  return (await waitFor('the recording', () => readRecording(dir))).ppid === container.daemonPid;
}

/** The container goes on to its end as if nothing had happened. */
async function endsWell(c: Case, container: Container): Promise<void> {
  writeFileSync(container.path('go'), '');
  c.t.equal(await container.finished(), 9, 'the exit is recorded');
  await container.ended();
  c.t.equal(container.log().stdout.toString(), 'before\nafter\n', 'and the log is whole');
}

/** Clients that attach now get what the container writes from now on. */
async function servesClients(c: Case, container: Container): Promise<void> {
  const clients = [await attach(c, container), await attach(c, container)];
  await waitFor('the clients to be accepted', () => acceptedClients(container) === 2);
  await endsWell(c, container);
  for (const client of clients) {
    await client.waitForEnd();
    c.t.equal(client.text, 'after\n', 'and clients are served');
  }
}

promise(
  'conmon is replaced: the container is not disturbed, clients are served by its own build, execs have a conmon of their own',
  { excludes: NOT_OURS },
  async (c) => {
    const { container, prefix } = await installed(c);
    c.t.ok(installAnotherBuild(prefix) >= 3, 'main, log and attach know their build');
    c.t.notOk(await exec(c, container, 'exec'));
    await servesClients(c, container);
  },
);

promise(
  'conmon is taken away: the container is not disturbed, clients are served, execs have a conmon of their own',
  { excludes: NOT_OURS },
  async (c) => {
    const { container, prefix } = await installed(c);
    rmSync(prefix, { recursive: true });
    c.t.notOk(await exec(c, container, 'exec'));
    await servesClients(c, container);
  },
);

promise(
  'a container without a log, when conmon is replaced or taken away: clients are told and disconnected, its end is told',
  { excludes: NOT_OURS },
  async (c) => {
    for (const spoil of [installAnotherBuild, (prefix: string) => rmSync(prefix, { recursive: true })]) {
      const { container, prefix } = await installed(c, ['none']);
      spoil(prefix);
      for (const when of ['now', 'later']) {
        const client = await attach(c, container);
        await client.waitForEnd();
        c.t.match(client.text, TURNED_AWAY, when);
      }
      writeFileSync(container.path('go'), '');
      c.t.equal(await container.finished(), 9);
      await container.ended();
      rmSync(prefix, { recursive: true, force: true });
    }
  },
);

promise(
  'a container whose conmon was taken away behind the runtime is refused, and the caller hears why',
  { excludes: NOT_OURS },
  async (c) => {
    const prefix = c.workspace.directory('prefix');
    make(['install'], { PREFIX: prefix, DESTDIR: '' });
    rmSync(join(prefix, 'libexec/conmon/threads.cjs'));
    const container = c.container({
      fake: ['sleep-ms 600000', 'exit 0'],
      conmonPath: join(prefix, 'bin/conmon'),
      sync: true,
    });
    const { json } = await container.failureMessage();
    c.t.match(json, { pid: -1, message: /threads\.cjs/ });
    c.t.strictSame(await container.conmon.started, { code: 1, signal: null });
  },
);
