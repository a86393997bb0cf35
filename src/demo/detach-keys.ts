/**
 * Finds Ctrl-P Ctrl-Q in what is typed, also when the two arrive apart. Ctrl-P is held back until the next key says
 * what it was, as docker and podman do. No I/O.
 */

const CTRL_P = 0x10;
const CTRL_Q = 0x11;

export interface Typed {
  /** For the container. */
  readonly input: Buffer;
  /** True when the two keys were typed; what came after them is dropped. */
  readonly isDetach: boolean;
}

export class DetachKeys {
  #isHeld = false;

  push(bytes: Buffer): Typed {
    const input: number[] = [];
    for (const byte of bytes) {
      if (this.#isHeld && byte === CTRL_Q) return { input: Buffer.from(input), isDetach: true };
      if (this.#isHeld) input.push(CTRL_P);
      this.#isHeld = byte === CTRL_P;
      if (!this.#isHeld) input.push(byte);
    }
    return { input: Buffer.from(input), isDetach: false };
  }
}
