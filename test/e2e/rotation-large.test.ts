/**
 * Large log files that give way to new ones in a flood: their space is there again as soon as it is wanted, nothing of them
 * stays open, and nothing is lost, whether conmon can have a thread for that or not.
 */
import { existsSync, readdirSync, readFileSync, readlinkSync, statSync, writeFileSync } from 'node:fs';
import { type Case, promise } from '../helpers/case.ts';
import type { Container } from '../helpers/container.ts';
import { DevLog } from '../helpers/dev-log.ts';
import { smallDisk } from '../helpers/disk.ts';
import { RECORD_FRAME_BYTES } from '../helpers/numbered.ts';
import { FullCgroup } from '../helpers/pids.ts';
import { waitFor } from '../helpers/wait.ts';

const MIB = 1 << 20;
const LINE_BYTES = 128;
/** As many lines as are a MiB; their numbers go on from block to block. */
const FLOOD_MIB = 48;
const FILE_MAX = 4 * MIB;
const RECORD_BYTES = LINE_BYTES - 1 + RECORD_FRAME_BYTES;
const LINES = (FLOOD_MIB * MIB) / LINE_BYTES;
/** How often a file is full. */
const ROTATIONS = Math.floor((LINES * RECORD_BYTES) / FILE_MAX);

const ways = [
  { title: 'a log that is replaced', keepFiles: 0, args: ['--log-size-max', String(FILE_MAX)], why: 'C loses lines' },
  {
    title: 'a log of which one older file is kept',
    keepFiles: 1,
    args: ['--log-rotate', '--log-max-files', '1', '--log-size-max', String(FILE_MAX)],
    why: 'C 2.1.6 has no --log-rotate',
  },
];

/** The container's lines, which can be told from each other. */
function lines(): Buffer {
  const all = Buffer.alloc(FLOOD_MIB * MIB, 'x');
  for (let i = 0; i < LINES; i++) {
    all.write(String(i).padStart(9, '0'), i * LINE_BYTES, 'latin1');
    all.write('\n', (i + 1) * LINE_BYTES - 1, 'latin1');
  }
  return all;
}

interface Flood {
  readonly container: Container;
  readonly devLog: DevLog;
  readonly go: () => Promise<void>;
  readonly end: () => Promise<void>;
}

/** A container that floods when it is told to, and ends when it is told to. */
async function flood(c: Case, logPath: string, args: readonly string[]): Promise<Flood> {
  const [data, started, done, over] = ['data', 'go', 'done', 'over'].map((name) => c.workspace.path(name)) as [
    string,
    string,
    string,
    string,
  ];
  writeFileSync(data, lines());
  const wait = (path: string): string => `while [ ! -e ${path} ]; do sleep 0.01; done`;
  const devLog = new DevLog(c).read();
  const container = c.container({
    script: `${wait(started)}; cat ${data}; echo >${done}; ${wait(over)}; exit 7`,
    args: ['--log-level', 'debug', ...args],
    logPaths: [logPath],
    launch: devLog.launch,
  });
  await container.run();
  return {
    container,
    devLog,
    go: async () => {
      writeFileSync(started, '');
      await waitFor('the flood to be over', () => existsSync(done));
    },
    end: async () => {
      writeFileSync(over, '');
      c.t.equal(await container.finished(60_000), 7);
    },
  };
}

/** The files that are there hold the flood's last lines, in order, as many as fit. */
function endsWell(c: Case, logPath: string, keepFiles: number): void {
  const paths = keepFiles > 0 ? [`${logPath}.1`, logPath] : [logPath];
  const numbers = paths.flatMap((path) => {
    const text = readFileSync(path, 'latin1');
    c.t.ok(text.length <= FILE_MAX, `${path} is not too large`);
    return text
      .split('\n')
      .slice(0, -1)
      .map((record) => Number(record.slice(RECORD_FRAME_BYTES - 1, RECORD_FRAME_BYTES + 8)));
  });
  c.t.equal(numbers.at(-1), LINES - 1, 'the last line');
  const first = numbers[0] ?? Number.NaN;
  const wrong = numbers.findIndex((n, i) => n !== first + i);
  c.t.equal(wrong, -1, `${numbers.length} lines in order`);
  c.t.ok(numbers.length >= keepFiles * Math.floor(FILE_MAX / RECORD_BYTES) - 1, 'the older file is full');
}

/** Everything was read, and is in a file or was. */
function nothingIsLost(c: Case, devLog: DevLog): void {
  const [totals] = devLog.matching(/log totals: /).map((text) => JSON.parse(text.slice(text.indexOf('{'))));
  c.t.match(totals, {
    readBytes: FLOOD_MIB * MIB,
    records: LINES,
    writtenBytes: LINES * RECORD_BYTES,
    droppedBytes: 0,
  });
  c.t.same(devLog.matching(/failed to write to log|Failed to reopen|No space left/), []);
}

/** Log files without a name that conmon still has open. */
function unnamed({ daemonPid }: Container, directory: string): readonly string[] {
  return readdirSync(`/proc/${daemonPid}/fd`).flatMap((fd) => {
    try {
      const path = readlinkSync(`/proc/${daemonPid}/fd/${fd}`);
      return path.startsWith(directory) && path.endsWith(' (deleted)') ? [path] : [];
    } catch {
      return []; // closed just now
    }
  });
}

for (const { title, keepFiles, args, why } of ways) {
  promise(
    `${title} needs no more room than its files: a disk that has little more is never full`,
    { runtimes: ['runc'], excludes: { c: why }, timeoutMs: 120_000 },
    async (c) => {
      const disk = smallDisk(c.workspace, 'disk', (1 + keepFiles) * FILE_MAX + MIB / 4);
      const path = `${disk}/ctr.log`;
      const { container, devLog, go, end } = await flood(c, path, args);
      await go();
      await waitFor('old files to be closed', () => unnamed(container, disk).length === 0);
      await end();
      nothingIsLost(c, devLog);
      endsWell(c, path, keepFiles);
    },
  );

  promise(
    `${title} is closed by conmon's own thread where it can start no other`,
    { runtimes: ['runc'], excludes: { c: why }, timeoutMs: 120_000 },
    async (c) => {
      const full = new FullCgroup(c);
      const directory = c.workspace.directory('logs');
      const path = `${directory}/ctr.log`;
      const { container, devLog, go, end } = await flood(c, path, args);
      full.add(container);
      await go();
      // The container is done before conmon is. The first file to be full has nothing to give way to it when it is kept.
      await waitFor('a refused thread for each full file', () => full.refusals >= ROTATIONS - keepFiles);
      await waitFor('old files to be closed', () => unnamed(container, directory).length === 0);
      await end();
      nothingIsLost(c, devLog);
      endsWell(c, path, keepFiles);
      c.t.ok(statSync(path).size > 0);
    },
  );
}
