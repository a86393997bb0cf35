/**
 * Containers with lives that nobody thought of: options, output, clients, control lines and ends at random. Whatever they are,
 * logs, clients, exit files and the sync pipe tell what the container did, to the byte; under C as under ours.
 */
import { randomInt } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { acceptedClients, attach, waitingBytes } from '../helpers/attach-case.ts';
import type { AttachClient } from '../helpers/attach-client.ts';
import { type Case, promise } from '../helpers/case.ts';
import type { Container } from '../helpers/container.ts';
import { readLog } from '../helpers/k8s-log.ts';
import { isRunning } from '../helpers/proc.ts';
import { type Deed, type Moment, makeLife, type Streams } from '../helpers/random-life.ts';
import { waitFor } from '../helpers/wait.ts';

const SEED = Number(process.env['E2E_SEED'] ?? randomInt(2 ** 31));
/** One is about half a second. */
const LIVES = Number(process.env['E2E_LIVES'] ?? 8);

/** All of the container's log files, those that were moved away first, in their order. */
function wholeLog(container: Container): Streams {
  const moved = readdirSync(`${container.dir}/logs`).filter((name) => name.startsWith('ctr.log.'));
  const numbers = moved.map((name) => Number(name.slice('ctr.log.'.length))).sort((a, b) => a - b);
  const logs = [...numbers.map((number) => `${container.logPath}.${number}`), container.logPath].map(readLog);
  return {
    stdout: Buffer.concat(logs.map(({ stdout }) => stdout)),
    stderr: Buffer.concat(logs.map(({ stderr }) => stderr)),
  };
}

/** From the accept on a client gets all output; what came shortly before, ours may give it too (docs/compat.md). */
async function connect(c: Case, container: Container, clients: Map<number, AttachClient>, number: number) {
  clients.set(number, await attach(c, container));
  // C keeps Podman's sync pipe, a socket of the same type.
  const others = c.monitor.name === 'c' && container.args.includes('--api-version') ? 1 : 0;
  await waitFor('the client to be accepted', () => acceptedClients(container) === clients.size + others);
}

async function perform(c: Case, container: Container, clients: Map<number, AttachClient>, deed: Deed, at: number) {
  switch (deed.do) {
    case 'connect':
      await connect(c, container, clients, deed.client);
      break;
    case 'send':
      c.t.equal(await clients.get(deed.client)?.send(deed.text), true, 'input is taken');
      break;
    case 'end-input':
      clients.get(deed.client)?.endInput();
      break;
    case 'close':
      clients.get(deed.client)?.close();
      clients.delete(deed.client);
      break;
    case 'tell':
      writeFileSync(`${container.bundle}/${deed.fifo}`, deed.text);
      await waitFor('the line to be taken', () => waitingBytes(`${container.bundle}/${deed.fifo}`) === 0);
      break;
    case 'move-log':
      renameSync(container.logPath, `${container.logPath}.${at}`);
      writeFileSync(`${container.bundle}/ctl`, '2 0 0\n');
      await waitFor('a new log', () => existsSync(container.logPath));
      break;
    case 'signal':
      process.kill(container.daemonPid, deed.signal);
      break;
  }
}

/** Waits until the log has what was written by then. */
async function logged(container: Container, moment: Moment): Promise<void> {
  await waitFor('the log to have it all', () => {
    try {
      const { stdout, stderr } = wholeLog(container);
      return stdout.length >= moment.stdoutBytes && stderr.length >= moment.stderrBytes;
    } catch (error) {
      if (/without a newline/.test(String(error))) return false; // read amid a write
      throw error;
    }
  });
}

for (let seed = SEED; seed < SEED + LIVES; seed++) {
  promise(`a life at random is seen as it was, seed ${seed}`, {}, async (c) => {
    const life = makeLife(seed);
    const container = c.container({
      style: life.style,
      args: life.args,
      fake: ({ dir }) => [...(life.terminal ? ['console pty'] : []), `container ${life.write(dir)}`],
      ...(life.log ? {} : { logPaths: ['none'] }),
    });
    const clients = new Map<number, AttachClient>();
    await container.created();
    for (const [at, moment] of life.moments.entries()) {
      await waitFor(`moment ${at}`, () => {
        const reached = existsSync(container.path(`reached-${at}`));
        if (!reached && !isRunning(container.containerPid)) throw new Error(`the script ended before moment ${at}`);
        return reached;
      });
      if (life.log) await logged(container, moment);
      await perform(c, container, clients, moment.deed, at);
      writeFileSync(container.path(`go-on-${at}`), '');
    }
    c.t.equal(await container.exited(), life.exitStatus, 'exit file');
    c.t.equal(
      readFileSync(container.persistFile, 'latin1'),
      String(life.exitStatus),
      "the persist directory's exit file",
    );
    await container.ended();
    await container.conmon.syncClosed();
    c.t.equal(container.conmon.unread, '', 'nothing more on the sync pipe');
    endThoseLeftBehind(container);
    if (life.log) same(c, 'the log', wholeLog(container), life.expected);
    for (const [client, expected] of life.clients) {
      const attached = clients.get(client);
      await attached?.waitForEnd();
      const empty = Buffer.alloc(0);
      same(
        c,
        `client ${client}`,
        { stdout: attached?.output(2) ?? empty, stderr: attached?.output(3) ?? empty },
        expected,
      );
    }
  });
}

function endThoseLeftBehind(container: Container): void {
  const file = container.path('behind');
  for (const pid of existsSync(file) ? readFileSync(file, 'latin1').trim().split('\n') : []) {
    // A terminal's hang-up has ended them already.
    if (isRunning(Number(pid))) process.kill(Number(pid), 'SIGKILL');
  }
}

/** Compares without a diff of 40 KB. */
function same(c: Case, who: string, seen: Streams, expected: Streams): void {
  for (const stream of ['stdout', 'stderr'] as const) {
    const [a, b] = [seen[stream], expected[stream]];
    let at = 0;
    while (at < a.length && at < b.length && a[at] === b[at]) at++;
    const about = (bytes: Buffer) => `${bytes.length} bytes: ${JSON.stringify(bytes.toString('latin1', at, at + 60))}`;
    c.t.ok(a.equals(b), `${who} has ${stream} as it was`, { differsAt: at, seen: about(a), expected: about(b) });
  }
}
