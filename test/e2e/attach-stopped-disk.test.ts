/** A client of a container whose log is on a disk that does not answer: what was read reaches it all the same. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { attachEarly, go, shellContainer } from '../helpers/attach-case.ts';
import { promise } from '../helpers/case.ts';
import { StoppableDisk } from '../helpers/disk.ts';
import { readLog } from '../helpers/k8s-log.ts';
import { statusField } from '../helpers/proc.ts';
import { waitFor } from '../helpers/wait.ts';

/** Whether a thread of a process is in a wait that no signal ends: for a disk. */
function waitsForDisk(pid: number): boolean {
  return readdirSync(`/proc/${pid}/task`).some((tid) => {
    const status = readFileSync(`/proc/${pid}/task/${tid}/status`, 'latin1');
    return statusField(status, 'State')?.startsWith('D') === true;
  });
}

promise(
  'a line reaches the client while its write to the log hangs; what follows waits for the disk, and the log lacks nothing',
  { differs: { c: 'C writes the log first' } },
  async (c) => {
    const disk = new StoppableDisk(c.workspace, 'disk');
    const logPath = `${disk.directory}/ctr.log`;
    const wait = (file: string) => `while [ ! -e ${file} ]; do sleep 0.01; done`;
    const script = `echo ready; ${wait('first')}; echo first; ${wait('second')}; echo second; touch written; exit 3`;
    const container = shellContainer(c, script, [], { logPaths: [logPath] });
    await container.created();
    const client = await attachEarly(c, container);
    go(container);
    await client.waitForText('ready\n');
    await waitFor('the log', () => readFileSync(logPath, 'latin1').includes('ready\n'));

    disk.stop();
    writeFileSync(container.path('first'), '');
    await waitFor('conmon to hang', () => waitsForDisk(container.daemonPid));
    if (c.differs === undefined) await client.waitForText('first\n');
    else c.t.equal(client.text, 'ready\n');
    writeFileSync(container.path('second'), '');
    await waitFor('the second line', () => readdirSync(container.dir).includes('written'));
    c.t.notMatch(client.text, /second/);
    c.t.notMatch(readFileSync(logPath, 'latin1'), /first/, 'nothing was written');

    disk.goOn();
    c.t.equal(await container.finished(), 3);
    await client.waitForEnd();
    c.t.equal(client.text, 'ready\nfirst\nsecond\n');
    c.t.equal(readLog(logPath).stdout.toString(), 'ready\nfirst\nsecond\n');
  },
);
