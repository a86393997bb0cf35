/** Walks through a session: what happens, in which order, and what the caller is told. */
import { spawn } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import t from 'tap';
import type { Watch } from '../../../src/native/sys.ts';
import { waitFor } from '../../helpers/wait.ts';
import { block } from '../native/report.ts';
import {
  CONTAINER_PID,
  EXIT_COMMAND_PID,
  LEAKED_FDS,
  NO_SUCH_PROCESS,
  RUNTIME_PID,
  SessionRig,
  SYNC_FD,
} from './rig.ts';

const { SIGINT, SIGKILL, SIGTERM } = constants.signals;
const { ENOENT } = constants.errno;
const COMMAND = { exitCommand: '/bin/cleanup', exitCommandArgs: ['--rm', 'cid'] };
const CLOSES = LEAKED_FDS.map((fd) => `close ${fd}`);
/** The sync pipe, once everything is said. */
const SAID = `close ${SYNC_FD}`;
const failed = (status: number) => status << 8;

t.test('create, run, end: the runtime, the pid, the drain, the notices', async (t) => {
  const rig = new SessionRig(t);
  t.same(rig.post({ type: 'start' }), [`spawn /runtime create --bundle /bundle --pid-file ${rig.pidFile} cid`]);
  t.equal(rig.state, 'creating');
  writeFileSync(rig.pidFile, `${CONTAINER_PID}\n`);
  t.same(rig.exits(RUNTIME_PID, 0), [`sync {"pid": ${CONTAINER_PID}}`, SAID, 'output begins']);
  t.equal(rig.state, 'running');
  t.same(rig.exits(CONTAINER_PID, failed(3)), ['output drains']);
  t.equal(rig.state, 'draining');
  t.same(rig.exitFiles, {}, 'no notice before the output is written');
  t.same(rig.outputEnds(), [...CLOSES, 'done 3']);
  t.same(rig.exitFiles, { 'persist/exit': '3', 'exits/cid': '3' });
  t.equal(rig.state, 'ended');
});

t.test(
  'the runtime gets its streams, the leaked fds, the environment, a death signal and the old limits',
  async (t) => {
    const rig = new SessionRig(t, { environment: ['A=1', 'LISTEN_PID=77'] });
    rig.post({ type: 'start' });
    t.match(rig.spawned[0], {
      path: '/runtime',
      fdMap: Int32Array.of(0, 930, 1, 931, 2, 932),
      keepFds: Int32Array.from(LEAKED_FDS),
      deathSignal: SIGKILL,
      oomScoreAdj: '12',
      nofileSoft: 64,
      nofileHard: 128,
      listenPidOffset: 'A=1\0LISTEN_PID='.length,
    });
  },
);

t.test('with passthrough the runtime gets our own streams', async (t) => {
  const rig = new SessionRig(t, { passthrough: true });
  rig.post({ type: 'start' });
  t.same(rig.spawned[0]?.fdMap, Int32Array.of(0, 0, 1, 1, 2, 2));
});

t.test('a container killed by a signal ends with 128 and its number', async (t) => {
  const rig = new SessionRig(t).run();
  rig.exits(CONTAINER_PID, SIGKILL);
  t.same(rig.outputEnds().at(-1), 'done 137');
  t.same(rig.exitFiles, { 'persist/exit': '137', 'exits/cid': '137' });
});

t.test('a container that ended before its pid was known is told all the same', async (t) => {
  const rig = new SessionRig(t);
  rig.post({ type: 'start' });
  writeFileSync(rig.pidFile, String(CONTAINER_PID));
  rig.exits(CONTAINER_PID, failed(9));
  t.equal(rig.state, 'creating');
  t.same(rig.exits(RUNTIME_PID, 0), [`sync {"pid": ${CONTAINER_PID}}`, SAID, 'output begins', 'output drains']);
  t.equal(rig.outputEnds().at(-1), 'done 9');
});

t.test('a runtime that fails is told with its own words, and there are no exit files', async (t) => {
  const rig = new SessionRig(t, { options: { apiVersion: true } });
  rig.post({ type: 'start' });
  rig.runtimeWords = 'container_linux.go: "no"\n';
  t.same(rig.exits(RUNTIME_PID, failed(1)), [
    'sync {"data": -1, "message": "container_linux.go: \\"no\\"\\n"}',
    'output stops',
    SAID,
    'done 1',
  ]);
  t.ok(rig.complaints.lines.includes('[conmon:e]: Failed to create container: exit status 1'));
  t.same(rig.exitFiles, {});
});

t.test('a runtime that fails in silence is told with the reason', async (t) => {
  const rig = new SessionRig(t);
  rig.post({ type: 'start' });
  const message = 'Failed to create container: exit status 137';
  t.same(rig.exits(RUNTIME_PID, SIGKILL)[0], `sync {"pid": -1, "message": "${message}"}`);
  t.equal(rig.status, 1);
});

t.test('a runtime that cannot be executed is told', async (t) => {
  const rig = new SessionRig(t);
  rig.pids[0] = -ENOENT;
  const journal = rig.post({ type: 'start' });
  t.match(
    journal[1],
    /^sync \{"pid": -1, "message": "Failed to execute runtime \/runtime: No such file or directory"\}$/,
  );
  t.equal(rig.status, 1);
});

t.test('an environment with a LISTEN_PID that is no pid is told, and nothing is executed', async (t) => {
  const rig = new SessionRig(t, { environment: ['LISTEN_PID=x'] });
  t.same(rig.post({ type: 'start' }), ['sync {"pid": -1, "message": "Invalid LISTEN_PID x"}', SAID, 'done 1']);
});

t.test('an output that cannot be started is told', async (t) => {
  const rig = new SessionRig(t, { outputFails: true });
  const journal = rig.post({ type: 'start' });
  t.ok(journal.includes('sync {"pid": -1, "message": "no eventfd left"}'));
  t.equal(rig.status, 1);
});

t.test('an output that cannot be started behind the runtime is told, and the runtime is ended', async (t) => {
  const rig = new SessionRig(t);
  rig.post({ type: 'start' });
  const made = spawn('sleep', ['60'], { stdio: 'ignore' }); // what the runtime has left to us so far
  t.teardown(() => made.kill('SIGKILL'));
  const journal = rig.post({ type: 'outputFailed', reason: 'no eventfd left' });
  t.ok(journal.includes('sync {"pid": -1, "message": "no eventfd left"}'));
  t.ok(journal.includes(`kill ${RUNTIME_PID} 9`), String(journal));
  t.ok(journal.includes(`kill ${made.pid} 9`), String(journal));
  t.equal(rig.status, 1);
});

t.test('a pid file that is missing, empty or garbage is a failure', async (t) => {
  for (const content of [undefined, '', 'x']) {
    const rig = new SessionRig(t);
    rig.post({ type: 'start' });
    if (content !== undefined) writeFileSync(rig.pidFile, content);
    t.match(rig.exits(RUNTIME_PID, 0)[0], /^sync \{"pid": -1, "message": "Failed to read pidfile: /);
    t.equal(rig.status, 1);
  }
});

t.test('for exec a runtime that fails but left a pid has started the process', async (t) => {
  const rig = new SessionRig(t, { options: { exec: true, apiVersion: true, execProcessSpec: '/spec' } });
  rig.post({ type: 'start' });
  writeFileSync(rig.pidFile, String(CONTAINER_PID));
  t.same(rig.exits(RUNTIME_PID, failed(1)), [`sync {"data": ${CONTAINER_PID}}`, 'output begins']);
  rig.exits(CONTAINER_PID, failed(4));
  t.same(rig.outputEnds(), [...CLOSES, 'sync {"data": 4}', SAID, 'done 4']);
});

t.test('a legacy exec tells nothing but its end', async (t) => {
  const rig = new SessionRig(t, { options: { exec: true, execProcessSpec: '/spec' } });
  rig.post({ type: 'start' });
  writeFileSync(rig.pidFile, String(CONTAINER_PID));
  t.same(rig.exits(RUNTIME_PID, 0), ['output begins']);
  rig.exits(CONTAINER_PID, 0);
  t.same(rig.outputEnds(), [...CLOSES, 'sync {"exit_code": 0}', SAID, 'done 0']);
});

t.test('an exec whose runtime left no pid is a failure with its words', async (t) => {
  const rig = new SessionRig(t, { options: { exec: true, execProcessSpec: '/spec' } });
  rig.post({ type: 'start' });
  writeFileSync(rig.pidFile, '');
  rig.runtimeWords = 'no such file';
  t.same(rig.exits(RUNTIME_PID, failed(255)), [
    'sync {"exit_code": -1, "message": "no such file"}',
    'output stops',
    SAID,
    'done 1',
  ]);
});

t.test('an exit dir that is gone makes conmon fail, but an exec still hears its status', async (t) => {
  const rig = new SessionRig(t, { options: { exec: true, execProcessSpec: '/spec' } }).run();
  rmSync(rig.exitDir, { recursive: true });
  rig.exits(CONTAINER_PID, failed(2));
  t.same(rig.outputEnds().slice(-3), ['sync {"exit_code": 2}', SAID, 'done 1']);
  t.equal(readFileSync(`${rig.persistDir}/exit`, 'latin1'), '2');
  t.match(rig.complaints.lines.join('\n'), /\[conmon:e\]: Failed to write 2 to exit file: .*No such file/);
});

t.test('signals go to the runtime while it creates, then to the container', async (t) => {
  const rig = new SessionRig(t);
  rig.post({ type: 'start' });
  t.same(rig.post({ type: 'signal', signal: SIGTERM }), [`kill ${RUNTIME_PID} ${SIGTERM}`]);
  writeFileSync(rig.pidFile, String(CONTAINER_PID));
  rig.exits(RUNTIME_PID, 0);
  t.same(rig.post({ type: 'signal', signal: SIGINT }), [`kill ${CONTAINER_PID} ${SIGINT}`]);
  t.equal(rig.state, 'running');
});

t.test('a signal before anything was started ends conmon with 1', async (t) => {
  const rig = new SessionRig(t);
  t.same(rig.post({ type: 'signal', signal: SIGTERM }), ['done 1']);
  t.equal(rig.state, 'ended');
});

t.test('a signal for a container that has just ended finds its end', async (t) => {
  const rig = new SessionRig(t).run();
  rig.killAnswer = NO_SUCH_PROCESS;
  rig.left(CONTAINER_PID, failed(6));
  t.same(rig.post({ type: 'signal', signal: SIGTERM }), [`kill ${CONTAINER_PID} ${SIGTERM}`, 'output drains']);
  t.equal(rig.outputEnds().at(-1), 'done 6');
});

t.test('at --timeout the process group is killed, nothing is drained, the status is -1', async (t) => {
  const rig = new SessionRig(t, { options: { timeoutSeconds: 0.02 } }).run();
  rig.journal.length = 0;
  await waitFor('the timeout', () => rig.state === 'draining');
  t.same(rig.journal, [`kill -4999 ${SIGKILL}`, 'output stops']);
  t.same(rig.exits(CONTAINER_PID, SIGKILL), [], 'its end changes nothing any more');
  t.equal(rig.outputEnds().at(-1), 'done 255');
  t.same(rig.exitFiles, { 'persist/exit': '-1', 'exits/cid': '-1' });
});

t.test('at --timeout an exec is told why', async (t) => {
  const exec = { exec: true, execProcessSpec: '/spec', timeoutSeconds: 60 };
  const rig = new SessionRig(t, { options: exec }).run();
  rig.post({ type: 'timeout' });
  t.same(rig.outputEnds().slice(-3), ['sync {"exit_code": -1, "message": "command timed out"}', SAID, 'done 255']);
});

t.test('at --timeout a group that is everybody, or unknown, is left alone', async (t) => {
  for (const group of [1, 0, -1, NO_SUCH_PROCESS]) {
    const rig = new SessionRig(t).run();
    rig.group = group;
    t.equal(rig.post({ type: 'timeout' })[0], `kill ${CONTAINER_PID} ${SIGKILL}`);
  }
});

t.test('a container that ends in time is never timed out', async (t) => {
  const rig = new SessionRig(t, { options: { timeoutSeconds: 60 } }).run();
  t.equal(rig.session.timers.size, 1);
  rig.exits(CONTAINER_PID, 0);
  t.equal(rig.session.timers.size, 0);
});

t.test('at --create-timeout the runtime is killed and its end told as a failure', async (t) => {
  const rig = new SessionRig(t, { options: { createTimeoutSeconds: 0.02 } });
  rig.post({ type: 'start' });
  rig.journal.length = 0;
  await waitFor('the runtime to be killed', () => rig.journal.length > 0);
  t.same(rig.journal, [`kill ${RUNTIME_PID} ${SIGKILL}`]);
  t.equal(rig.state, 'creating');
  const message = 'Runtime /runtime did not create the container within 0.02 seconds';
  t.equal(rig.exits(RUNTIME_PID, SIGKILL)[0], `sync {"pid": -1, "message": "${message}"}`);
  t.equal(rig.status, 1);
});

t.test("the exit command runs after the notices, untouched by the runtime's settings", async (t) => {
  const rig = new SessionRig(t, { options: COMMAND, environment: ['A=1', 'LISTEN_PID=77'] }).run();
  rig.exits(CONTAINER_PID, failed(3));
  t.same(rig.outputEnds(), [...CLOSES, 'subreaper 0', 'spawn /bin/cleanup --rm cid']);
  t.same(rig.exitFiles, { 'persist/exit': '3', 'exits/cid': '3' });
  const { argv: _, ...spec } = rig.spawned[1] ?? {};
  t.match(spec, { path: '/bin/cleanup', deathSignal: 0, listenPidOffset: -1, oomScoreAdj: '12', nofileSoft: 64 });
  t.same(rig.spawned[1]?.envp, block('A=1', 'LISTEN_PID=77'));
  t.same(rig.spawned[1]?.keepFds, new Int32Array(0));
  t.equal(rig.state, 'ending');
  t.same(rig.exits(EXIT_COMMAND_PID, 0), ['done 3']);
});

t.test('an exit command that fails becomes the status of conmon', async (t) => {
  const rig = new SessionRig(t, { options: COMMAND }).run();
  rig.exits(CONTAINER_PID, failed(3));
  rig.outputEnds();
  t.same(rig.exits(EXIT_COMMAND_PID, failed(5)), ['done 5']);
});

t.test('an exit command that cannot be executed makes conmon fail', async (t) => {
  const rig = new SessionRig(t, { options: COMMAND });
  rig.pids[1] = -ENOENT;
  rig.run().exits(CONTAINER_PID, 0);
  t.equal(rig.outputEnds().at(-1), 'done 1');
  t.ok(
    rig.complaints.lines.includes('[conmon:e]: Failed to execute exit command /bin/cleanup: No such file or directory'),
  );
});

t.test('the exit command runs after a failed create too', async (t) => {
  const rig = new SessionRig(t, { options: COMMAND });
  rig.post({ type: 'start' });
  t.same(rig.exits(RUNTIME_PID, failed(1)).slice(-2), ['subreaper 0', 'spawn /bin/cleanup --rm cid']);
  t.same(rig.exits(EXIT_COMMAND_PID, 0), ['done 1']);
});

t.test('--exit-delay comes before the exit command, not before the notices', async (t) => {
  const rig = new SessionRig(t, { options: { ...COMMAND, exitDelaySeconds: 0.05 } }).run();
  rig.exits(CONTAINER_PID, 0);
  t.same(rig.outputEnds(), CLOSES);
  t.same(rig.exitFiles, { 'persist/exit': '0', 'exits/cid': '0' });
  t.equal(rig.state, 'ending');
  await waitFor('the command', () => rig.journal.includes('spawn /bin/cleanup --rm cid'));
});

t.test('a signal ends the exit delay; the command runs once', async (t) => {
  const rig = new SessionRig(t, { options: { ...COMMAND, exitDelaySeconds: 3600 } }).run();
  rig.exits(CONTAINER_PID, 0);
  rig.outputEnds();
  t.same(rig.post({ type: 'signal', signal: SIGTERM }).at(-1), 'spawn /bin/cleanup --rm cid');
  t.equal(rig.session.timers.size, 0);
  t.same(rig.post({ type: 'signal', signal: SIGTERM }), []);
  t.same(rig.post({ type: 'exitDelayOver' }), []);
  t.same(rig.exits(EXIT_COMMAND_PID, 0), ['done 0']);
});

t.test('a delay longer than setTimeout takes is waited for in pieces', async (t) => {
  const rig = new SessionRig(t);
  rig.session.postLater(2 ** 31 / 1000 + 1, { type: 'timeout' });
  t.equal(rig.session.timers.size, 1, 'and does not fire at once');
  await new Promise((resolve) => setImmediate(resolve));
  t.equal(rig.session.timers.size, 1);
});

t.test('ctl: reopen reaches the output while there is one', async (t) => {
  const rig = new SessionRig(t).run();
  t.same(rig.post({ type: 'control', command: { kind: 'reopen' } }), ['output reopens']);
  rig.exits(CONTAINER_PID, 0);
  t.equal(rig.state, 'draining');
  t.same(
    rig.post({ type: 'control', command: { kind: 'reopen' } }),
    ['output reopens'],
    'who asks waits without a limit',
  );
  t.same(rig.post({ type: 'control', command: { kind: 'resize', rows: 1, columns: 2 } }), [], 'its terminal is gone');
  t.equal(rig.session.wantedSize, undefined);
  rig.outputEnds();
  t.same(rig.post({ type: 'control', command: { kind: 'reopen' } }), []);
});

t.test('a client in the backlog when the runtime ends is served before the output begins', async (t) => {
  const asked: (readonly [number, number])[] = [];
  const poll = (set: Int32Array, count: number, timeoutMs: number) => {
    asked.push([set[0] ?? -1, timeoutMs]);
    return count;
  };
  const rig = new SessionRig(t, { attachListenFd: 940, calls: { poll, watch: () => ({}) as Watch } });
  rig.post({ type: 'start' });
  writeFileSync(rig.pidFile, String(CONTAINER_PID));
  t.same(rig.exits(RUNTIME_PID, 0).slice(2), ['output serves clients', 'output begins']);
  t.same(asked, [[940, 0]], 'it looked, and did not wait');
});
