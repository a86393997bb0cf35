/** What a daemon loads late, for a first exec or a first client, comes from its code cache although V8 optimises late until then. */
import { appendFileSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { acceptedClients, attach } from '../helpers/attach-case.ts';
import { type Case, promise } from '../helpers/case.ts';
import type { Container } from '../helpers/container.ts';
import { make } from '../helpers/make.ts';
import { waitFor } from '../helpers/wait.ts';

const NOT_OURS = { c: 'C is compiled code' };
/** Stubs that run a bundle from its cache (build.mjs), of what is loaded late. */
const LATE = ['host.cjs', 'piscina.cjs', 'worker.js'];

/** A running container under an installed tree whose stubs tell of their caches. */
async function telling(c: Case): Promise<{ container: Container; libexec: string }> {
  const prefix = c.workspace.directory('prefix');
  make(['install'], { PREFIX: prefix, DESTDIR: '' });
  const libexec = join(prefix, 'libexec/conmon');
  const tell = ';require("node:fs").writeFileSync(__filename+".refused",String(script.cachedDataRejected));';
  for (const name of LATE) appendFileSync(join(libexec, name), tell);
  // Main says on request whether it would take its own cache now, for a file of another name: V8 remembers those it has compiled.
  appendFileSync(
    join(libexec, 'main.cjs'),
    `;setInterval(()=>{const fs=require("node:fs"),ask=__dirname+"/ask";if(!fs.existsSync(ask))return;fs.unlinkSync(ask);
    const again=new(require("node:vm").Script)(readFileSync(file,"latin1"),{filename:file+performance.now(),cachedData});
    fs.writeFileSync(ask+".new",String(again.cachedDataRejected));fs.renameSync(ask+".new",__dirname+"/answer")},20);`,
  );
  const container = c.container({
    fake: (container) => [`container cd ${container.dir}; echo up; while [ ! -e go ]; do sleep 0.02; done`, 'exit 0'],
    conmonPath: join(prefix, 'bin/conmon'),
    env: { CONMON_SESSIONS: 'on' },
  });
  await container.created();
  await waitFor('the log', () => container.log().stdout.toString() === 'up\n');
  return { container, libexec };
}

async function refusesCaches(libexec: string): Promise<string> {
  const answer = join(libexec, 'answer');
  rmSync(answer, { force: true });
  writeFileSync(join(libexec, 'ask'), '');
  await waitFor('an answer', () => existsSync(answer));
  return readFileSync(answer, 'utf8');
}

const refused = (libexec: string, name: string): string => readFileSync(join(libexec, `${name}.refused`), 'utf8');

async function endsWell(c: Case, container: Container): Promise<void> {
  writeFileSync(container.path('go'), '');
  c.t.equal(await container.finished(), 0);
  await container.ended();
}

promise('the first exec is served from code that was compiled before', { excludes: NOT_OURS }, async (c) => {
  const { container, libexec } = await telling(c);
  c.t.equal(await refusesCaches(libexec), 'true', 'until then V8 optimises late');
  writeFileSync(`${container.runtimePath}.conf`, 'container exit 7\n');
  const exec = c.exec(container, { env: { CONMON_SESSIONS: 'on' } });
  c.t.equal(await exec.everything(), '{"exit_code": 7}\n');
  await exec.ended();
  c.t.equal(refused(libexec, 'host.cjs'), 'false');
  c.t.equal(await refusesCaches(libexec), 'false', 'and from then on as it does by itself');
  await endsWell(c, container);
});

promise('the first client is served from code that was compiled before', { excludes: NOT_OURS }, async (c) => {
  const { container, libexec } = await telling(c);
  c.t.equal(await refusesCaches(libexec), 'true', 'until then V8 optimises late');
  const client = await attach(c, container);
  await waitFor('the client to be accepted', () => acceptedClients(container) === 1);
  c.t.equal(refused(libexec, 'piscina.cjs'), 'false');
  c.t.equal(refused(libexec, 'worker.js'), 'false');
  c.t.equal(await refusesCaches(libexec), 'false', 'and from then on as it does by itself');
  await endsWell(c, container);
  await client.waitForEnd();
});
