/**
 * A session with fake parts: system calls that only write down what happened, an output that ends when the test says so,
 * real directories. Time is real: delays are short.
 */
import { mkdtempSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import type { Options } from '../../../src/cli/options.ts';
import { PR_SET_CHILD_SUBREAPER } from '../../../src/native/constants.ts';
import { type SpawnSpec, type Sys, sys } from '../../../src/native/sys.ts';
import { syncKey } from '../../../src/proto/sync-message.ts';
import type { AttachFiles } from '../../../src/session/attach-files.ts';
import { Environment } from '../../../src/session/environment.ts';
import { Reaper } from '../../../src/session/reaper.ts';
import { Session, type SessionParts } from '../../../src/session/session.ts';
import type { SessionEvent, State } from '../../../src/session/state.ts';
import { SyncPipe } from '../../../src/session/sync-pipe.ts';
import { fakeSys, textOf } from '../native/fake-sys.ts';
import { block } from '../native/report.ts';
import { Complaints } from './complaints.ts';
import { options } from './options.ts';

const { ECHILD, ESRCH } = constants.errno;

export const SYNC_FD = 900;
export const LEAKED_FDS = [910, 911];
export const RUNTIME_PID = 5001;
export const CONTAINER_PID = 5002;
export const EXIT_COMMAND_PID = 5003;
const STDERR_FD = 920;

export interface RigPlan {
  readonly options?: Partial<Options>;
  readonly environment?: readonly string[];
  /** Makes the output throw when it is started. */
  readonly outputFails?: boolean;
  /** Without an output, as with the passthrough driver. */
  readonly passthrough?: boolean;
  readonly calls?: Partial<Sys>;
  /** There are attach files; this is the attach socket. */
  readonly attachListenFd?: number;
  /** The output has nobody left to serve attach clients. */
  readonly nobodyServes?: boolean;
}

export class SessionRig {
  readonly dir: string;
  readonly pidFile: string;
  readonly persistDir: string;
  readonly exitDir: string;
  /** Everything that happened, in order. */
  readonly journal: string[] = [];
  readonly complaints = new Complaints('trace');
  readonly session: Session;
  readonly reaper: Reaper;
  /** Processes to start next: pid or -errno. */
  readonly pids = [RUNTIME_PID, EXIT_COMMAND_PID];
  readonly spawned: SpawnSpec[] = [];
  /** What waits in the runtime's stderr. */
  runtimeWords = '';
  /** Process group of the container. */
  group = 4999;
  killAnswer = 0;
  /** conmon's exit status; undefined until it is done. */
  status: number | undefined;
  #endOutput: (() => void) | undefined;
  readonly #ended: [number, number][] = [];
  /** Of real files, which are really read. */
  readonly #pidFileFds = new Set<number>();

  constructor(test: Test, plan: RigPlan = {}) {
    this.dir = mkdtempSync(join(tmpdir(), 'conmon-session-'));
    this.pidFile = join(this.dir, 'pidfile');
    this.persistDir = mkdtempSync(join(this.dir, 'persist-'));
    this.exitDir = mkdtempSync(join(this.dir, 'exits-'));
    const all = options({
      containerPidfile: this.pidFile,
      persistDir: this.persistDir,
      exitDir: this.exitDir,
      ...plan.options,
    });
    const sys = this.#sys(plan.calls ?? {});
    this.reaper = new Reaper(sys, this.complaints.diag);
    const cwdFd = openSync(this.dir, 'r');
    this.session = new Session({
      sys,
      diag: this.complaints.diag,
      options: all,
      launch: { statusFd: 5, environFd: 6, nofileSoft: 64, nofileHard: 128, entryFds: LEAKED_FDS, launcherPid: 77 },
      environment: new Environment(block(...(plan.environment ?? ['A=1']))),
      reaper: this.reaper,
      syncPipe: new SyncPipe(sys, this.complaints.diag, syncKey(all.apiVersion, all.exec), SYNC_FD),
      stdio: plan.passthrough ? undefined : this.#stdio(),
      attachFiles: plan.attachListenFd === undefined ? undefined : attachFiles(plan.attachListenFd),
      notifyRelay: undefined,
      temporaryDir: this.dir,
      leakedFds: LEAKED_FDS,
      cwdFd,
      oomScoreAdj: '12',
      startOutput: (onEnded) => {
        if (plan.outputFails) throw new Error('no eventfd left');
        if (plan.passthrough) return undefined;
        this.#endOutput = () => onEnded(undefined);
        return {
          begin: () => this.journal.push('output begins'),
          startAttach: () => {
            this.journal.push('output serves clients');
            return plan.nobodyServes !== true;
          },
          reopen: () => this.journal.push('output reopens'),
          end: (drain) => this.journal.push(drain ? 'output drains' : 'output stops'),
          whenClosed: (onClosed) => onClosed(),
        };
      },
      onDone: (status) => {
        this.journal.push(`done ${status}`);
        this.status = status;
      },
    } satisfies SessionParts);
    test.teardown(() => {
      this.session.cancelTimers();
      this.reaper.close();
      rmSync(this.dir, { recursive: true, force: true });
    });
  }

  get state(): State {
    return this.session.state;
  }

  /** Posts an event and forgets what happened before it. @returns what it led to. */
  post(event: SessionEvent): readonly string[] {
    this.journal.length = 0;
    this.session.post(event);
    return [...this.journal];
  }

  /** A child ends: as when SIGCHLD comes. */
  exits(pid: number, waitStatus: number): readonly string[] {
    this.journal.length = 0;
    this.#ended.push([pid, waitStatus]);
    this.reaper.reap();
    return [...this.journal];
  }

  /** A child has ended, and nobody has looked yet. */
  left(pid: number, waitStatus: number): void {
    this.#ended.push([pid, waitStatus]);
  }

  /** All output is written. */
  outputEnds(): readonly string[] {
    this.journal.length = 0;
    this.#endOutput?.();
    return [...this.journal];
  }

  /** Brings the session to `running`. */
  run(): this {
    this.session.post({ type: 'start' });
    writeFileSync(this.pidFile, String(CONTAINER_PID));
    this.exits(RUNTIME_PID, 0);
    if (this.state !== 'running') throw new Error(`${this.state}: ${this.complaints.lines.join('\n')}`);
    return this;
  }

  /** The exit files that are there, with their content. */
  get exitFiles(): Readonly<Record<string, string>> {
    const files: Record<string, string> = {};
    for (const [name, dir] of [
      ['persist', this.persistDir],
      ['exits', this.exitDir],
    ] as const)
      for (const file of readdirSync(dir)) files[`${name}/${file}`] = readFileSync(join(dir, file), 'latin1');
    return files;
  }

  #stdio() {
    const [childStdinFd, childStdoutFd, childStderrFd] = [930, 931, 932];
    return { stdinFd: -1, stdoutFd: 919, stderrFd: STDERR_FD, childStdinFd, childStdoutFd, childStderrFd };
  }

  #sys(calls: Partial<Sys>): Sys {
    return fakeSys({
      spawn: (spec) => {
        this.spawned.push({ ...spec, argv: Buffer.from(spec.argv), envp: Buffer.from(spec.envp) });
        this.journal.push(`spawn ${Buffer.from(spec.argv).toString('latin1').split('\0').slice(0, -1).join(' ')}`);
        return this.pids.shift() ?? -1;
      },
      waitpid: (pid, _options, status) => {
        const index = this.#ended.findIndex(([each]) => pid === -1 || each === pid);
        const found = this.#ended[index];
        if (found === undefined) return pid === CONTAINER_PID ? 0 : -ECHILD;
        this.#ended.splice(index, 1);
        status[0] = found[1];
        return found[0];
      },
      kill: (pid, signal) => {
        if (signal !== 0) this.journal.push(`kill ${pid} ${signal}`);
        return this.killAnswer;
      },
      getpgid: () => this.group,
      openat: (dirFd, path, flags, mode) => {
        const fd = sys.openat(dirFd, path, flags, mode); // the pid file's
        if (fd >= 0) this.#pidFileFds.add(fd);
        return fd;
      },
      close: (fd) => {
        if (this.#pidFileFds.delete(fd)) return sys.close(fd);
        if (fd === SYNC_FD || LEAKED_FDS.includes(fd)) this.journal.push(`close ${fd}`);
        return 0;
      },
      read: (fd, bytes, offset, length) => {
        if (this.#pidFileFds.has(fd)) return sys.read(fd, bytes, offset, length);
        if (fd !== STDERR_FD || this.runtimeWords === '') return -11;
        const words = Buffer.from(this.runtimeWords.slice(0, length), 'latin1');
        this.runtimeWords = this.runtimeWords.slice(words.length);
        bytes.set(words, offset);
        return words.length;
      },
      write: (fd, bytes, offset, length) => {
        if (fd === SYNC_FD) this.journal.push(`sync ${textOf(bytes, offset, length).trimEnd()}`);
        return length;
      },
      prctl: (operation, argument) => {
        if (operation === PR_SET_CHILD_SUBREAPER) this.journal.push(`subreaper ${argument}`);
        return 0;
      },
      ...calls,
    });
  }
}

export const NO_SUCH_PROCESS = -ESRCH;

/** Fds that nothing is behind. */
function attachFiles(listenFd: number): AttachFiles {
  const gone = { closeSocket: () => {}, removeSocket: () => {}, remove: () => {} };
  return { listenFd, ctlFd: 941, winszFd: 942, ...gone } as unknown as AttachFiles;
}
