/**
 * Finds a sequence of keys in what is typed, Ctrl-P Ctrl-Q if nobody says otherwise, also when the keys arrive apart. What
 * may be its beginning is held back until the next key says what it was, as docker and podman do. No I/O.
 */

import { ClientError } from './client-error.ts';

export const DEFAULT_DETACH_KEYS = 'ctrl-p,ctrl-q';

const CONTROL_BITS = 0x1f;

export interface Typed {
  /** For the container. */
  readonly input: Buffer;
  /** True when the keys were typed; what came after them is dropped. */
  readonly isDetach: boolean;
}

/**
 * Reads `ctrl-p,ctrl-q`, as docker and podman write it: a character, or `ctrl-` and one of `a` to `z`, `@`, `[`, `\`, `]`,
 * `^`, `_`, between commas; '' = no keys. @throws ClientError naming what is none.
 */
export function parseDetachKeys(text: string): Uint8Array {
  if (text === '') return new Uint8Array(0);
  return Uint8Array.from(text.split(','), (key) => {
    const control = /^ctrl-([a-z@[\\\]^_])$/i.exec(key)?.[1];
    if (control !== undefined) return control.toUpperCase().charCodeAt(0) & CONTROL_BITS;
    if (/^[\x21-\x7e]$/.test(key)) return key.charCodeAt(0);
    throw new ClientError(
      `--detach-keys: ${JSON.stringify(key)} is no key: one character, or ctrl- and a letter or @[\\]^_`,
    );
  });
}

export class DetachKeys {
  readonly #keys: Uint8Array;
  /** How many of the keys were typed last. */
  #matched = 0;

  constructor(keys: Uint8Array) {
    this.#keys = keys;
  }

  push(bytes: Uint8Array): Typed {
    const input: number[] = [];
    for (const byte of bytes) {
      // What was held back and does not go on is given, from its start, as far as it cannot be another beginning.
      while (this.#matched > 0 && byte !== this.#keys[this.#matched]) {
        const held = this.#keys.subarray(0, this.#matched);
        const kept = this.#longestBeginning(held);
        input.push(...held.subarray(0, held.length - kept));
        this.#matched = kept;
      }
      if (byte !== this.#keys[this.#matched]) input.push(byte);
      else if (++this.#matched === this.#keys.length) return { input: Buffer.from(input), isDetach: true };
    }
    return { input: Buffer.from(input), isDetach: false };
  }

  /** Nothing more will be typed. @returns what was held back and is no detaching any longer. */
  end(): Buffer {
    const held = Buffer.from(this.#keys.subarray(0, this.#matched));
    this.#matched = 0;
    return held;
  }

  /** Of what was held, the longest end, but not all of it, with which the keys begin. */
  #longestBeginning(held: Uint8Array): number {
    for (let length = held.length - 1; length > 0; length--)
      if (held.subarray(held.length - length).every((byte, i) => byte === this.#keys[i])) return length;
    return 0;
  }
}
