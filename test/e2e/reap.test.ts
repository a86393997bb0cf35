/**
 * Children of others: orphans that conmon inherits are reaped and hold nothing up.
 */
import { existsSync, writeFileSync } from 'node:fs';
import { promise } from '../helpers/case.ts';
import { childrenOf, isRunning } from '../helpers/proc.ts';
import { waitFor } from '../helpers/wait.ts';

/** A container that makes `count` orphans which end at once, then waits for the file `end`. */
function orphanMaker(count: number, end: string, made: string): string {
  const loop = `i=0; while [ $i -lt ${count} ]; do (sh -c "exit $((i % 3))" &); i=$((i+1)); done`;
  return `${loop}; : > ${made}; while [ ! -e ${end} ]; do sleep 0.01; done; exit 5`;
}

promise('orphans of the container are reaped while it runs', {}, async (c) => {
  const [end, made] = [c.workspace.path('end'), c.workspace.path('made')];
  const container = c.container({ fake: [`container ${orphanMaker(40, end, made)}`] });
  await container.created();
  await waitFor('the orphans', () => existsSync(made));
  await waitFor('conmon to have the container as its only child', () => {
    const children = childrenOf(container.daemonPid);
    return children.length === 1 && children[0]?.pid === container.containerPid;
  });
  writeFileSync(end, '');
  c.t.equal(await container.exited(), 5, 'none of their statuses is taken for the container’s');
});

promise('orphans of a real container without a pid namespace are reaped', { runtimes: ['runc', 'crun'] }, async (c) => {
  const [end, made] = [c.workspace.path('end'), c.workspace.path('made')];
  const args = ['/bin/sh', '-c', orphanMaker(20, end, made)];
  const container = c.container({ process: { args, namespaces: ['ipc', 'uts', 'mount'] } });
  await container.run();
  await waitFor('the orphans', () => existsSync(made));
  await waitFor('no zombie', () => childrenOf(container.daemonPid).every(({ state }) => state !== 'Z'));
  writeFileSync(end, '');
  c.t.equal(await container.finished(), 5);
});

promise('an orphan of the runtime itself is reaped', {}, async (c) => {
  const [go, end] = [c.workspace.path('go'), c.workspace.path('end')];
  const container = c.container({
    fake: [
      `orphan while [ ! -e ${go} ]; do sleep 0.01; done; exit 77`,
      `container while [ ! -e ${end} ]; do sleep 0.01; done; exit 4`,
    ],
  });
  await container.created();
  await waitFor('both children', () => childrenOf(container.daemonPid).length === 2);
  writeFileSync(go, '');
  await waitFor('the orphan to be reaped', () => childrenOf(container.daemonPid).length === 1);
  writeFileSync(end, '');
  c.t.equal(await container.exited(), 4);
});

promise('a grandchild that keeps the pipes open delays the exit file by less than a second', {}, async (c) => {
  const [end, ended] = [c.workspace.path('end'), c.workspace.path('ended')];
  const grandchild = `(while [ ! -e ${end} ]; do sleep 0.02; done &)`;
  const container = c.container({ fake: [`container ${grandchild}; echo done; : > ${ended}; exit 3`] });
  await container.created();
  await waitFor('the container to end', () => existsSync(ended) && !isRunning(container.containerPid));
  const from = performance.now();
  c.t.equal(await container.exited(), 3);
  const ms = performance.now() - from;
  c.t.ok(ms < 1000, `after ${ms.toFixed(1)} ms`);
  c.t.equal(container.log().stdout.toString(), 'done\n', 'what was written before is in the log');
  await container.ended();
  writeFileSync(end, '');
});

promise('a grandchild that goes on writing does not keep conmon', {}, async (c) => {
  const [end, ended] = [c.workspace.path('end'), c.workspace.path('ended')];
  const grandchild = `(while [ ! -e ${end} ] && echo noise; do :; done &)`;
  const container = c.container({ fake: [`container echo first; ${grandchild}; : > ${ended}; exit 3`] });
  await container.created();
  await waitFor('the container to end', () => existsSync(ended) && !isRunning(container.containerPid));
  const from = performance.now();
  c.t.equal(await container.exited(), 3);
  const ms = performance.now() - from;
  c.t.ok(ms < 1000, `after ${ms.toFixed(1)} ms`);
  c.t.ok(container.log().stdout.toString().startsWith('first\n'));
  await container.ended();
  writeFileSync(end, '');
});
