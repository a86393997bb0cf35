/**
 * A real journald of a case's own (Debian's systemd), in a /run of its own, and what it has stored, read by journalctl. Who
 * is to log to it is started through {@link TestJournal.wrap}. The machine's journal is not touched.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { decodeEntries, field, type JournalEntry } from './journal-entry.ts';
import { nativeHelper } from './native.ts';
import { waitFor } from './wait.ts';
import type { Workspace } from './workspace.ts';

const run = promisify(execFile);

const JOURNALD = '/lib/systemd/systemd-journald';
const JOURNALCTL = '/usr/bin/journalctl';
const OUTPUT_MOST_BYTES = 1 << 28;
/** No limits on what one sender may log, and nobody's messages but those of its socket. */
const CONFIGURATION = [
  '[Journal]',
  'Storage=volatile',
  'RateLimitIntervalSec=0',
  'RateLimitBurst=0',
  'RuntimeMaxUse=512M',
  'RuntimeMaxFileSize=256M',
  'ForwardToSyslog=no',
  'ForwardToWall=no',
  'ReadKMsg=no',
  'Audit=',
  '',
].join('\n');

/** Where it has its files, and who ends it. */
export type Place = Pick<Workspace, 'path' | 'directory' | 'defer'>;

export class TestJournal {
  readonly #workspace: Place;
  readonly #run: string;
  #child: ChildProcess | undefined;

  /** Nothing is started yet. Throws when Debian's systemd is not installed. */
  constructor(workspace: Place) {
    for (const path of [JOURNALD, JOURNALCTL])
      if (!existsSync(path)) throw new Error(`${path} is missing (apt-get install systemd)`);
    if (!existsSync('/etc/machine-id') || readFileSync('/etc/machine-id').length < 32)
      throw new Error('/etc/machine-id is empty (systemd-machine-id-setup)');
    this.#workspace = workspace;
    this.#run = workspace.directory('run-of-journal');
    mkdirSync(`${this.#run}/systemd/journal`, { recursive: true });
    mkdirSync(`${this.#run}/systemd/journald.conf.d`);
    writeFileSync(`${this.#run}/systemd/journald.conf.d/test.conf`, CONFIGURATION);
    workspace.defer(() => this.stop('SIGKILL'));
  }

  /** A program that runs `path` where this journal is the journal. */
  wrap(path: string): string {
    const wrapper = this.#workspace.path(`with-journal-${path.replaceAll('/', '-')}`);
    if (!existsSync(wrapper)) {
      writeFileSync(`${wrapper}.exec`, `${this.#run}\n${path}\n`);
      symlinkSync(nativeHelper('with-run'), wrapper);
    }
    return wrapper;
  }

  async start(): Promise<void> {
    const socket = `${this.#run}/systemd/journal/socket`;
    rmSync(socket, { force: true });
    const child = spawn(this.wrap(JOURNALD), [], { stdio: ['ignore', 'ignore', 'pipe'] });
    let said = '';
    child.stderr?.on('data', (chunk) => {
      said += chunk;
    });
    this.#child = child;
    await waitFor('journald to listen', () => {
      if (child.exitCode !== null || child.signalCode !== null) throw new Error(`journald has ended: ${said}`);
      return existsSync(socket);
    });
  }

  /** Of the running journald. */
  get pid(): number {
    const pid = this.#child?.pid;
    if (pid === undefined) throw new Error('journald does not run');
    return pid;
  }

  signal(signal: NodeJS.Signals): void {
    this.#child?.kill(signal);
  }

  /** Ends it and waits for that; twice is fine. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    const child = this.#child;
    if (child === undefined) return;
    this.#child = undefined;
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGCONT');
    child.kill(signal);
    await ended;
  }

  /** What is stored of a container, in order. */
  async entries(cid: string): Promise<JournalEntry[]> {
    const directory = `${this.#run}/log/journal`;
    if (!existsSync(directory) || readdirSync(directory).length === 0) return [];
    const args = ['-D', directory, '--no-pager', '-q', '-o', 'export', `CONTAINER_ID_FULL=${cid}`];
    const { stdout } = await run(JOURNALCTL, args, {
      encoding: 'buffer',
      maxBuffer: OUTPUT_MOST_BYTES,
      timeout: 60_000,
    });
    return decodeEntries(stdout);
  }

  /** Waits until as much is stored of a container as `enough` wants: journald stores what it was sent by and by. */
  async waitForEntries(cid: string, enough: (entries: readonly JournalEntry[]) => boolean): Promise<JournalEntry[]> {
    let last: JournalEntry[] = [];
    return await waitFor(
      'journald to store the entries',
      async () => {
        last = await this.entries(cid);
        return enough(last) ? last : undefined;
      },
      { timeoutMs: 40_000, intervalMs: 50 },
    ).catch((error: Error) => {
      throw new Error(`${error.message}; there are ${last.length}`, { cause: error });
    });
  }
}

/** `PRIORITY|MESSAGE`, with a `+` behind for a part of a line. */
export function summary(entry: JournalEntry): string {
  const part = field(entry, 'CONTAINER_PARTIAL_MESSAGE');
  return `${field(entry, 'PRIORITY')}|${field(entry, 'MESSAGE')}${part === undefined ? '' : '+'}`;
}

/** All messages of a priority, joined. */
export function messages(entries: readonly JournalEntry[], priority: string): Buffer {
  const texts = entries.filter((entry) => field(entry, 'PRIORITY') === priority);
  return Buffer.from(texts.map((entry) => field(entry, 'MESSAGE') ?? '').join(''), 'latin1');
}
