/** conmon is replaced while a container runs: the container does not notice, and nothing of two builds is mixed. */
import { readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { attach } from '../helpers/attach-case.ts';
import { promise } from '../helpers/case.ts';
import { make } from '../helpers/make.ts';
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

promise(
  'a container that runs is not disturbed, and who attaches is not served by the new build',
  { excludes: NOT_OURS },
  async (c) => {
    const prefix = c.workspace.directory('prefix');
    make(['install'], { PREFIX: prefix, DESTDIR: '' });
    const script = 'echo before; while [ ! -e go ]; do sleep 0.02; done; echo after; exit 9';
    const container = c.container({
      fake: (container) => [`container cd ${container.dir}; ${script}`, 'exit 0'],
      conmonPath: join(prefix, 'bin/conmon'),
    });
    await container.created();
    await waitFor('the log', () => container.log().stdout.toString() === 'before\n');
    c.t.ok(installAnotherBuild(prefix) >= 3, 'main, log and attach know their build');
    const client = await attach(c, container);
    writeFileSync(container.path('go'), '');
    c.t.equal(await container.finished(), 9);
    await client.waitForEnd();
    c.t.equal(client.text, '', 'the new code was not let near the ring');
    c.t.equal(container.log().stdout.toString(), 'before\nafter\n', 'and the log is whole');
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
