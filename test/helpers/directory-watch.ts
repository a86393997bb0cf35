/**
 * Watches a directory as fsnotify does for CRI-O: what appears in it (created or renamed into place) and what is written
 * to, in the order in which it happened.
 */
import { sys, type Watch } from '../../src/native/sys.ts';
import { waitFor } from './wait.ts';

const IN_WRITE = 0x2;
const IN_MOVED_TO = 0x80;
const IN_CREATE = 0x100;
const IN_CLOEXEC_NONBLOCK = 0o2004000;
const HEADER_BYTES = 16;
const EVENTS_BYTES = 65_536;

export interface DirectoryEvent {
  /** fsnotify's Create or Write. */
  readonly kind: 'create' | 'write';
  readonly name: string;
}

export class DirectoryWatch {
  readonly events: DirectoryEvent[] = [];
  readonly #fd: number;
  readonly #watch: Watch;
  readonly #buffer = Buffer.alloc(EVENTS_BYTES);
  readonly #onEvent: (event: DirectoryEvent) => void;

  /** From now on. `onEvent` is called for each, at once. The caller closes it. */
  constructor(directory: string, onEvent: (event: DirectoryEvent) => void = () => {}) {
    this.#onEvent = onEvent;
    this.#fd = sys.inotifyInit(IN_CLOEXEC_NONBLOCK);
    const added = sys.inotifyAddWatch(this.#fd, directory, IN_CREATE | IN_MOVED_TO | IN_WRITE);
    const watch = sys.watch(this.#fd, () => this.#read());
    if (added < 0 || typeof watch === 'number') {
      throw new Error(`watch ${directory}: ${sys.strerror(added)}`);
    }
    this.#watch = watch;
  }

  close(): void {
    sys.unwatch(this.#watch);
    sys.close(this.#fd);
  }

  /** Waits for an event of a file that comes, or has come. */
  async wait(name: string, kinds: readonly DirectoryEvent['kind'][], timeoutMs = 20_000): Promise<void> {
    const found = () => this.events.some((event) => event.name === name && kinds.includes(event.kind));
    await waitFor(`${kinds.join(' or ')} of ${name}`, found, { timeoutMs, intervalMs: 1 });
  }

  #read(): void {
    const length = sys.read(this.#fd, this.#buffer, 0, EVENTS_BYTES);
    for (let at = 0; at < length; ) {
      const mask = this.#buffer.readUInt32LE(at + 4);
      const nameLength = this.#buffer.readUInt32LE(at + 12);
      const name = this.#buffer.toString('utf8', at + HEADER_BYTES, at + HEADER_BYTES + nameLength).replace(/\0+$/, '');
      const event: DirectoryEvent = { kind: mask & (IN_CREATE | IN_MOVED_TO) ? 'create' : 'write', name };
      this.events.push(event);
      this.#onEvent(event);
      at += HEADER_BYTES + nameLength;
    }
  }
}
