/** A host with a session socket, launchers that hand execs over to it, from this very process, and sessions of fake parts. */
import { mkdtempSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import type { Options } from '../../../src/cli/options.ts';
import { Host, type Joiner, type MadeSession, type ParsedCall } from '../../../src/host/host.ts';
import {
  MFD_ALLOW_SEALING,
  MFD_CLOEXEC,
  MSG_DONTWAIT,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_SEQPACKET,
} from '../../../src/native/constants.ts';
import { type Sys, sys } from '../../../src/native/sys.ts';
import type { SessionEvent } from '../../../src/session/state.ts';
import { waitFor } from '../../helpers/wait.ts';
import { realSysBut } from '../native/fake-sys.ts';
import { block } from '../native/report.ts';
import { Complaints } from '../session/complaints.ts';
import { options } from '../session/options.ts';
import { LEAKED_FDS, SessionRig } from '../session/rig.ts';

export const BUILD = 'build-1';
const BACKLOG = 300;

/** A session that was made of a hand-over, and what became of it. */
export class Made {
  readonly joiner: Joiner;
  readonly posted: SessionEvent['type'][] = [];
  /** `begin`, `cancel`, `close`, in order. */
  readonly journal: string[] = [];
  /** Calls back when its clients are gone; undefined = it has no output. */
  closed: (() => void) | undefined;
  readonly made: MadeSession;
  readonly #rig: SessionRig;

  constructor(test: Test, joiner: Joiner, given: Options, withOutput: boolean) {
    this.joiner = joiner;
    this.#rig = new SessionRig(test, { options: given });
    const { session } = this.#rig;
    sys.close(session.parts.cwdFd); // its own calls only write down what happened
    session.post = (event) => this.posted.push(event.type);
    if (withOutput) {
      const output = { begin: () => {}, startAttach: () => true, reopen: () => {}, end: () => {} };
      session.output = { ...output, whenClosed: (onClosed) => (this.closed = onClosed) };
    }
    const cancel = (): void => {
      this.journal.push('cancel');
      this.#closeAll();
    };
    const close = (): void => {
      this.journal.push('close');
      this.#closeAll();
    };
    this.made = { session, begin: () => this.journal.push('begin'), cancel, close };
  }

  /** Whether the caller's fds were closed, as of all that a session still holds. */
  get released(): boolean {
    return this.#rig.journal.includes(`close ${LEAKED_FDS[0]}`);
  }

  end(status: number): void {
    this.joiner.onDone(status);
  }

  #closeAll(): void {
    for (const fd of [this.joiner.cwdFd, ...this.joiner.fds]) sys.close(fd);
  }
}

export interface Plan {
  readonly build?: string;
  readonly environment?: readonly string[];
  readonly arguments?: readonly string[];
  /** The caller's fds, and the numbers that they are said to have had. */
  readonly fds?: readonly number[];
  readonly numbers?: string;
  readonly oom?: string;
  readonly nofile?: string;
  /** In place of the whole message. */
  readonly text?: string;
  /** In place of the first of the launcher's own fds, a memfd. */
  readonly environFd?: number;
}

const OOM = readFileSync('/proc/self/oom_score_adj', 'latin1').trim();

/** The launcher's end of a connection. */
export class Launcher {
  readonly fd = sys.socket(SOCK_SEQPACKET | SOCK_CLOEXEC);
  #open = true;

  constructor(test: Test, path: string) {
    test.teardown(() => this.leave());
    const result = sys.connect(this.fd, path);
    if (result < 0) throw new Error(`connect: ${sys.strerror(result)}`);
  }

  leave(): void {
    if (this.#open) sys.close(this.fd);
    this.#open = false;
  }

  say(text: string | Uint8Array, fds: readonly number[] = []): void {
    const bytes = Buffer.from(text);
    sys.sendmsg(this.fd, bytes, 0, bytes.length, Int32Array.from(fds), MSG_DONTWAIT);
  }

  handOver(plan: Plan = {}): void {
    const { build = BUILD, fds = [], numbers = '', oom = OOM, nofile = '64:64', environment = ['A=1'] } = plan;
    const own = [memfd(environment), memfd(['conmon', ...(plan.arguments ?? [])]), openSync('/', 'r')];
    const sent = plan.environFd === undefined ? own : [plan.environFd, ...own.slice(1)];
    this.say(plan.text ?? `v1 build=${build} nofile=${nofile} oom=${oom} fds=${numbers}`, [...sent, ...fds]);
    for (const fd of own) sys.close(fd);
  }

  /** The next message; 'gone' when the daemon has hung up. */
  async hears(): Promise<string> {
    const bytes = Buffer.alloc(65536);
    let length = 0;
    await waitFor('an answer', () => {
      length = sys.recvmsg(this.fd, bytes, 0, bytes.length, new Int32Array(1), MSG_DONTWAIT);
      return length >= 0;
    });
    return length === 0 ? 'gone' : bytes.toString('latin1', 0, length);
  }

  /** Whether nothing is there to be heard. */
  get silent(): boolean {
    return sys.recvmsg(this.fd, Buffer.alloc(1), 0, 1, new Int32Array(1), MSG_DONTWAIT) < 0;
  }
}

function memfd(strings: readonly string[]): number {
  const fd = sys.memfdCreate('hand-over', MFD_CLOEXEC | MFD_ALLOW_SEALING);
  const bytes = block(...strings);
  if (bytes.length > 0) writeSync(fd, bytes, 0, bytes.length, 0); // as the launcher does: it is read from its beginning
  return fd;
}

export interface HostPlan {
  readonly calls?: Partial<Sys>;
  readonly nofileHard?: number;
  /** Of each exec that joins. */
  readonly options?: Partial<Options>;
  readonly warnings?: readonly string[];
  /** Sessions have an output, whose clients stay until the test says so. */
  readonly withOutput?: boolean;
  /** Called when a session is made: it may throw, or complain. */
  readonly onMake?: (joiner: Joiner) => void;
}

export class HostRig {
  readonly host: Host;
  readonly container: SessionRig;
  readonly complaints = new Complaints('debug');
  readonly made: Made[] = [];
  /** What the process was left with. */
  readonly left: number[] = [];
  /** Command lines that were parsed. */
  readonly parsed: (readonly string[])[] = [];
  readonly listenFd = sys.socket(SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC);
  trims = 0;
  rests = 0;
  readonly #test: Test;
  readonly #path: string;

  constructor(test: Test, plan: HostPlan = {}) {
    this.#test = test;
    const dir = mkdtempSync(join(tmpdir(), 'conmon-host-'));
    this.#path = join(dir, 'socket');
    sys.bind(this.listenFd, this.#path);
    sys.listen(this.listenFd, BACKLOG);
    test.teardown(() => {
      sys.close(this.listenFd);
      rmSync(dir, { recursive: true, force: true });
    });
    this.container = new SessionRig(test).run();
    const its = options({ exec: true, ...plan.options });
    const parse = (argv: readonly string[]): ParsedCall => {
      this.parsed.push(argv);
      if (argv.includes('--unknown')) throw new Error('Unknown option --unknown');
      return { options: its, warnings: plan.warnings ?? [] };
    };
    this.host = new Host({
      sys: realSysBut({ ...plan.calls, mallocTrim: () => this.trims++ }),
      diag: this.complaints.diag,
      container: this.container.session,
      build: BUILD,
      nofileHard: plan.nofileHard ?? -1,
      laterPath: '/later',
      onRest: () => this.rests++,
      maker: {
        parse,
        diagPlan: () => ({ level: 'warn', syslogName: undefined }),
        make: (joiner, given) => {
          plan.onMake?.(joiner);
          const made = new Made(test, joiner, given, plan.withOutput === true);
          this.made.push(made);
          return made.made;
        },
      },
      leave: (status) => this.left.push(status),
    });
  }

  /** A launcher that was told that we are there. */
  async launcher(): Promise<Launcher> {
    const launcher = new Launcher(this.#test, this.#path);
    this.host.accept(this.listenFd);
    const word = await launcher.hears();
    if (word !== 'G') throw new Error(`in place of our word: ${word}`);
    return launcher;
  }

  /** One that does not know of us yet. */
  knock(): Launcher {
    return new Launcher(this.#test, this.#path);
  }

  /** An exec that has joined, with its launcher, and what that was told. */
  async join(plan: Plan = {}): Promise<{ readonly made: Made; readonly launcher: Launcher; readonly answer: string }> {
    const launcher = await this.launcher();
    launcher.handOver(plan);
    const answer = await launcher.hears();
    const made = this.made.at(-1);
    if (made === undefined) throw new Error(`refused: ${this.complaints.lines.join('\n')}`);
    return { made, launcher, answer };
  }
}
