/**
 * What a conmon says in the system's log: it is started where /dev/log leads to a socket of the case's own. After the
 * hand-over that is all one can hear of its diagnostics. Needs root.
 */
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { O_CLOEXEC, O_NONBLOCK, SOCK_DGRAM } from '../../src/native/constants.ts';
import { sys } from '../../src/native/sys.ts';
import type { Case } from './case.ts';
import { nativeHelper } from './native.ts';

const MESSAGE_MAX = 65536;
/** A socket holds as few as 10 messages: it must be emptied faster than a conmon talks. */
const INTERVAL_MS = 2;

export class DevLog {
  /** What to start in place of the case's conmon. */
  readonly conmonPath: string;
  /** The messages' texts, `conmon CID <nwarn>: ...`. */
  readonly messages: string[] = [];
  readonly #fd: number;

  constructor(c: Case) {
    const upper = c.workspace.directory('devlog', 'upper');
    const work = c.workspace.directory('devlog', 'work');
    const socket = c.workspace.path('devlog', 's');
    this.#fd = sys.socket(SOCK_DGRAM | O_NONBLOCK | O_CLOEXEC);
    const bound = sys.bind(this.#fd, socket);
    if (bound < 0) throw new Error(`bind ${socket}: ${sys.strerror(bound)}`);
    symlinkSync(socket, `${upper}/log`);
    this.conmonPath = c.workspace.path('devlog', 'conmon');
    writeFileSync(`${this.conmonPath}.exec`, `${upper}\n${work}\n${c.monitor.path}\n`);
    symlinkSync(nativeHelper('with-dev-log'), this.conmonPath);
    mkdirSync(work, { recursive: true });
    const timer = setInterval(() => this.#drain(), INTERVAL_MS);
    c.workspace.defer(() => {
      clearInterval(timer);
      sys.close(this.#fd);
    });
  }

  /** The messages so far that a pattern fits. */
  matching(pattern: RegExp): readonly string[] {
    this.#drain();
    return this.messages.filter((message) => pattern.test(message));
  }

  #drain(): void {
    const bytes = new Uint8Array(MESSAGE_MAX);
    for (;;) {
      const length = sys.read(this.#fd, bytes, 0, MESSAGE_MAX);
      if (length <= 0) return;
      this.messages.push(Buffer.from(bytes.subarray(0, length)).toString());
    }
  }
}
