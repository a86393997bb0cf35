/**
 * What a conmon says in the system's log: it is started where /dev/log leads to a socket of the case's own. After the
 * hand-over that is all one can hear of its diagnostics. Needs root.
 */
import { SOCK_CLOEXEC, SOCK_DGRAM, SOCK_NONBLOCK } from '../../src/native/constants.ts';
import { sys, type Watch } from '../../src/native/sys.ts';
import type { Case } from './case.ts';

const MESSAGE_MAX = 65_536;

/** The system's log, as a syslog daemon has it. */
export class DevLog {
  readonly path: string;
  readonly #fd: number;
  readonly #messages: string[] = [];
  #watch: Watch | undefined;

  constructor(c: Case, name = 'dev-log') {
    this.path = c.workspace.path(name);
    this.#fd = sys.socket(SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC);
    const bound = sys.bind(this.#fd, this.path);
    if (bound < 0) {
      throw new Error(`bind ${this.path}: ${sys.strerror(bound)}`);
    }
    c.workspace.defer(() => {
      if (this.#watch) sys.unwatch(this.#watch);
      sys.close(this.#fd);
    });
  }

  /** Options of native/launch.c: conmon finds this /dev/log, in a mount namespace of its own. */
  get launch(): readonly string[] {
    return ['--dev-log', this.path];
  }

  /** Takes what comes, from now on: the socket's queue is short. */
  read(): this {
    const watch = sys.watch(this.#fd, () => this.messages());
    if (typeof watch === 'number') {
      throw new Error(`watch: ${sys.strerror(watch)}`);
    }
    this.#watch = watch;
    return this;
  }

  /** Everything that has come. */
  messages(): readonly string[] {
    const buffer = Buffer.alloc(MESSAGE_MAX);
    for (;;) {
      const length = sys.read(this.#fd, buffer, 0, MESSAGE_MAX);
      if (length < 0) {
        return this.#messages;
      }
      this.#messages.push(buffer.toString('utf8', 0, length));
    }
  }

  /** The messages so far that a pattern fits. */
  matching(pattern: RegExp): readonly string[] {
    return this.messages().filter((message) => pattern.test(message));
  }

  /** Fills the socket's queue, so that a sender would have to wait. */
  fill(): void {
    const fd = sys.socket(SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC);
    sys.connect(fd, this.path);
    const bytes = Buffer.alloc(1000, 'x');
    while (sys.write(fd, bytes, 0, bytes.length) > 0);
    sys.close(fd);
  }
}
