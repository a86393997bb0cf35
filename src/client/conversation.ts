/**
 * What goes on between our streams and a container: its output to our stdout and stderr, our stdin to it, until one side
 * ends or the detach keys are typed. In the event loop; only a write to our own streams may block. A container that does
 * not take its input still has its output read, or the two would wait for each other.
 */

import { read } from 'node:fs';
import { constants } from 'node:os';
import { POLLOUT } from '../native/constants.ts';
import type { Sys, Watch } from '../native/sys.ts';
import type { AttachClient, AttachSys } from './attach-client.ts';
import { ClientError } from './client-error.ts';
import { DetachKeys } from './detach-keys.ts';

export type ConversationSys = AttachSys & Pick<Sys, 'poll' | 'watch' | 'unwatch'>;

export interface ConversationPlan {
  /** Bytes of the detach keys; none = they are not looked for. */
  readonly detachKeys: Uint8Array;
  /** Whether our stdin is passed on. */
  readonly input: boolean;
  /** It is a terminal in raw mode: its end is a hang-up, not the end of the input. */
  readonly rawTerminal: boolean;
  /** Stops the conversation; its reason is thrown. */
  readonly signal: AbortSignal;
}

/** `ended`: the container is gone, or conmon has disconnected us. `hungUp`: our terminal is gone. */
export type Outcome = 'ended' | 'detached' | 'hungUp';

const STDIN = 0;
const STDOUT = 1;
const STDERR = 2;
const READ_BYTES = 32_768;
/** Packets taken before the event loop has its turn. */
const PACKETS_A_TURN = 64;
/** How soon a container that took no input is asked again: a watch only tells when something can be read. */
const RETRY_MS = 2;
const { EAGAIN } = constants.errno;
const EPERM = -1;

/** Talks until one side ends. Neither the client nor our streams are closed. @throws ClientError, or the signal's reason. */
export async function converse(client: AttachClient, sys: ConversationSys, plan: ConversationPlan): Promise<Outcome> {
  const conversation = new Conversation(client, sys, plan);
  try {
    return await conversation.run();
  } finally {
    conversation.stop();
  }
}

class Conversation {
  readonly #client: AttachClient;
  readonly #sys: ConversationSys;
  readonly #plan: ConversationPlan;
  readonly #keys: DetachKeys;
  readonly #bytes = Buffer.alloc(READ_BYTES);
  readonly #watches = new Map<number, Watch>();
  readonly #done = Promise.withResolvers<Outcome>();
  readonly #abort = (): void => this.#done.reject(this.#plan.signal.reason);
  /** Input that the container has not taken yet. */
  #pending: Buffer = Buffer.alloc(0);
  /** What the conversation ends with once that is gone; `eof` = the input has ended, the output goes on. */
  #afterPending: 'detached' | 'eof' | undefined;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #isOver = false;

  constructor(client: AttachClient, sys: ConversationSys, plan: ConversationPlan) {
    this.#client = client;
    this.#sys = sys;
    this.#plan = plan;
    this.#keys = new DetachKeys(plan.detachKeys);
  }

  async run(): Promise<Outcome> {
    const { signal, input } = this.#plan;
    signal.throwIfAborted();
    signal.addEventListener('abort', this.#abort, { once: true });
    this.#watch(this.#client.fd, () => this.#takeOutput());
    if (input) this.#startInput();
    return await this.#done.promise;
  }

  stop(): void {
    this.#isOver = true;
    this.#plan.signal.removeEventListener('abort', this.#abort);
    clearTimeout(this.#retry);
    for (const fd of [...this.#watches.keys()]) this.#unwatch(fd);
  }

  #takeOutput(): void {
    for (let i = 0; i < PACKETS_A_TURN; i++) {
      const output = this.#client.receive();
      if (output.kind === 'end') this.#done.resolve('ended');
      if (output.kind !== 'data') return;
      if (!this.#write(output.isStderr ? STDERR : STDOUT, output.bytes)) return;
    }
  }

  /** @returns false when nobody reads our output any longer. */
  #write(fd: number, bytes: Buffer): boolean {
    for (let offset = 0; offset < bytes.length; ) {
      const written = this.#sys.write(fd, bytes, offset, bytes.length - offset);
      if (written === -EAGAIN) this.#sys.poll(Int32Array.of(fd, POLLOUT), 1, -1);
      else if (written < 0) {
        this.#done.reject(new ClientError(`${fd === STDERR ? 'stderr' : 'stdout'}: ${this.#sys.strerror(written)}`));
        return false;
      } else offset += written;
    }
    return true;
  }

  #startInput(): void {
    if (this.#isOver) return;
    const watch = this.#sys.watch(STDIN, () => this.#guard(() => this.#takeInput()));
    if (watch === EPERM) this.#readFile();
    else if (typeof watch === 'number') throw new ClientError(`stdin: ${this.#sys.strerror(watch)}`);
    else this.#watches.set(STDIN, watch);
  }

  /** A file cannot be watched, but is always ready. */
  #readFile(): void {
    read(STDIN, this.#bytes, 0, READ_BYTES, null, (error, length) =>
      this.#guard(() => {
        if (this.#isOver) return;
        if (error) throw new ClientError(`stdin: ${error.message}`);
        this.#pass(length);
        if (length > 0 && this.#retry === undefined) this.#readFile();
      }),
    );
  }

  #takeInput(): void {
    const length = this.#sys.read(STDIN, this.#bytes, 0, READ_BYTES);
    if (length === -EAGAIN) return;
    // Our terminal is gone. Only the leader of its session is told so with a signal, and that may be another.
    if (length < 0 || (length === 0 && this.#plan.rawTerminal)) this.#done.resolve('hungUp');
    else this.#pass(length);
  }

  /** Passes the first `length` bytes that were read on; 0 = the input has ended. */
  #pass(length: number): void {
    if (length === 0) {
      this.#afterPending = 'eof';
      this.#pending = this.#keys.end();
      this.#unwatch(STDIN);
    } else {
      const { input, isDetach } = this.#keys.push(this.#bytes.subarray(0, length));
      this.#pending = input;
      if (isDetach) this.#afterPending = 'detached';
    }
    this.#flush();
  }

  #flush(): void {
    clearTimeout(this.#retry);
    this.#retry = undefined;
    const sent = this.#client.send(this.#pending);
    // What conmon has sent before it closed is still read; that end comes by itself.
    this.#pending = sent === -1 ? Buffer.alloc(0) : this.#pending.subarray(sent);
    if (this.#pending.length > 0) {
      this.#unwatch(STDIN);
      this.#retry = setTimeout(() => this.#guard(() => this.#goOn()), RETRY_MS);
      return;
    }
    if (this.#afterPending === 'detached') this.#done.resolve('detached');
    else if (this.#afterPending === 'eof') this.#client.endInput();
  }

  #goOn(): void {
    this.#flush();
    if (this.#retry === undefined && this.#afterPending === undefined) this.#startInput();
  }

  #watch(fd: number, act: () => void): void {
    const watch = this.#sys.watch(fd, () => this.#guard(act));
    if (typeof watch === 'number') throw new ClientError(`watch fd ${fd}: ${this.#sys.strerror(watch)}`);
    this.#watches.set(fd, watch);
  }

  #unwatch(fd: number): void {
    const watch = this.#watches.get(fd);
    if (watch !== undefined) this.#sys.unwatch(watch);
    this.#watches.delete(fd);
  }

  /** What is thrown in the event loop belongs to whoever waits for the conversation. */
  #guard(act: () => void): void {
    try {
      act();
    } catch (error) {
      this.#done.reject(error);
    }
  }
}
