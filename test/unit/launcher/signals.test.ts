/** Signals once the child exists: forwarded, never lost, never the end of the launcher alone. */
import { existsSync, readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { allProcesses, isRunning, statusField } from '../../helpers/proc.ts';
import { waitFor } from '../../helpers/wait.ts';
import { executableOf, promise } from './harness.ts';

const FORWARDED = ['SIGTERM', 'SIGINT', 'SIGQUIT'] as const;

const number = (signal: NodeJS.Signals) => constants.signals[signal];
const bit = (signal: number) => 1n << BigInt(signal - 1);
const content = (path: string) => (existsSync(path) ? readFileSync(path, 'latin1') : '');

promise('Node starts with an empty mask and default dispositions, SIGPIPE ignored', async (t, it) => {
  for (const caller of [[], ['ignore=all', 'block=all']]) {
    const dump = await it.observe({ caller });
    const mask = (name: string) => BigInt(`0x${statusField(dump.one('status'), name)}`);
    t.equal(mask('SigBlk'), 0n);
    t.equal(mask('SigIgn'), bit(number('SIGPIPE')));
    t.equal(mask('SigCgt'), 0n);
  }
});

promise('a signal while Node boots reaches it, and ends the launcher with status 1', async (t, it) => {
  for (const signal of FORWARDED) {
    const path = it.file('dump');
    const started = it.start({ args: [`do:dump=${path}`, 'do:hang'] });
    const dump = await it.dump(path);
    started.child.kill(signal);
    const outcome = await started.ended();
    t.equal(outcome.status, 1, signal);
    t.match(outcome.stderr, `was ended by signal ${number(signal)} before it was ready\n`);
    t.notOk(isRunning(dump.number('pid')), 'Node has ended');
  }
});

promise('what Node makes of a signal before it is ready is the status', async (t, it) => {
  const [path, trap] = [it.file('dump'), it.file('trap')];
  const started = it.start({ args: [`do:trap=${trap}`, `do:dump=${path}`, 'do:hang'] });
  await it.dump(path);
  started.child.kill('SIGINT');
  t.equal((await started.ended()).status, 102);
  t.equal(content(trap), '2\n');
});

promise('in stay mode each signal is forwarded, as often as it comes', async (t, it) => {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    const [path, trap] = [it.file('dump'), it.file('trap')];
    const started = it.start({ args: ['do:stay', `do:trap=${trap}`, `do:dump=${path}`, 'do:hang'] });
    await it.dump(path);
    for (let times = 1; times <= 3; times++) {
      started.child.kill('SIGQUIT');
      await waitFor(`SIGQUIT ${times}`, () => content(trap) === '3\n'.repeat(times));
    }
    started.child.kill(signal);
    t.equal(await started.exit(), 100 + number(signal));
    t.equal(content(trap), `3\n3\n3\n${number(signal)}\n`);
  }
});

promise('forwarding does not depend on what the caller ignored and blocked', async (t, it) => {
  const [path, trap] = [it.file('dump'), it.file('trap')];
  const caller = ['ignore=all', 'block=all'];
  const started = it.start({ caller, args: ['do:stay', `do:trap=${trap}`, `do:dump=${path}`, 'do:hang'] });
  await it.dump(path);
  started.child.kill('SIGTERM');
  t.equal(await started.exit(), 115);
});

promise('a caller that ignores SIGCHLD still gets the status', async (t, it) => {
  const caller = ['ignore=17'];
  t.equal((await it.run({ caller, args: ['do:exit=42'] })).status, 42);
  t.equal((await it.run({ caller, args: ['do:stay', 'do:exit=43'] })).status, 43);
  t.equal((await it.run({ caller, args: ['do:stay', 'do:kill=9'] })).status, 137);
});

promise('SIGPIPE ends neither of them', async (t, it) => {
  const [path, trap] = [it.file('dump'), it.file('trap')];
  const started = it.start({ args: ['do:stay', `do:trap=${trap}`, 'do:kill=13', `do:dump=${path}`, 'do:hang'] });
  await it.dump(path);
  started.child.kill('SIGPIPE');
  started.child.kill('SIGTERM');
  t.equal(await started.exit(), 115);
});

promise('SIGTERM at any moment: status 1, and no process is left', async (t, it) => {
  const seed = Date.now() % 0x7fffffff;
  t.comment(`seed ${seed}`);
  let state = seed;
  for (let run = 0; run < 60; run++) {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
    const delayUs = (state >> 8) % 3000;
    // blocked until the launcher takes it over: the caller itself would end by it
    const { status, signal } = await it.run({ caller: ['block=15', `later=15:${delayUs}`], args: ['do:hang'] });
    t.same([status, signal], [1, null], `after ${delayUs} us`);
  }
  await waitFor('every Node to be gone', () => !allProcesses().some((pid) => executableOf(pid) === it.node));
});
