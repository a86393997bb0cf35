/** When execs may join: while there is a container, and not afterwards. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { Execs } from '../../../src/daemon/execs.ts';
import { SessionRig } from '../session/rig.ts';

t.test('a container that has ended already gets no session socket, which nobody would remove', async (t) => {
  const runtimeDir = mkdtempSync(join(tmpdir(), 'conmon-execs-'));
  process.env['XDG_RUNTIME_DIR'] = runtimeDir;
  const cid = `conmon-test-${process.pid}`;
  const root = process.getuid?.() === 0;
  const path = join(root ? '/run' : runtimeDir, 'conmon', cid);
  t.teardown(() => {
    rmSync(path, { force: true });
    rmSync(runtimeDir, { recursive: true, force: true });
  });
  const rig = new SessionRig(t, { options: { cid } });
  const welcome = (): Execs => {
    const execs = new Execs(rig.reaper, rig.session.parts.launch);
    execs.welcome(rig.session, rig.complaints.diag);
    return execs;
  };
  for (const state of ['creating', 'running'] as const) {
    rig.session.state = state;
    const execs = welcome();
    t.ok(existsSync(path), `${state}: ${rig.complaints.lines.join()}`);
    execs.refuse();
    t.notOk(existsSync(path));
  }
  for (const state of ['draining', 'ending', 'ended'] as const) {
    rig.session.state = state;
    welcome();
    t.notOk(existsSync(path), state);
  }
});
