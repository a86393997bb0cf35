/**
 * Docker's json-file records the slow way, character by character: what the kernel must produce. What is UTF-8 is asked
 * of the platform's own decoder. Source: moby's jsonlog marshaller and log copier.
 */

const CONTENT_MAX_BYTES = 16384;
const DECODER = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const SHORT: Readonly<Record<string, string>> = { '"': '\\"', '\\': '\\\\', '\n': '\\n', '\r': '\\r' };

const characters = new Map<string, string | undefined>();

/** The character that the bytes are; undefined when they are none, or not one. */
function character(bytes: readonly number[]): string | undefined {
  const key = String.fromCharCode(...bytes);
  if (!characters.has(key)) characters.set(key, decode(bytes));
  return characters.get(key);
}

function decode(bytes: readonly number[]): string | undefined {
  try {
    const text = DECODER.decode(Uint8Array.from(bytes));
    return [...text].length === 1 ? text : undefined;
  } catch {
    return undefined;
  }
}

const prefixes = new Map<string, boolean>();

/** Whether more bytes could make a character of them. */
function isPrefix(bytes: readonly number[]): boolean {
  if (bytes.length > 3 || (bytes[0] ?? 0) < 0x80) return false;
  const key = bytes.join();
  let known = prefixes.get(key);
  if (known === undefined) {
    known = [0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf].some(
      (next) => character([...bytes, next]) !== undefined || isPrefix([...bytes, next]),
    );
    prefixes.set(key, known);
  }
  return known;
}

function escaped(char: string): string {
  const short = SHORT[char];
  if (short !== undefined) return short;
  const code = char.codePointAt(0) ?? 0;
  return code < 0x20 || '<>&\u2028\u2029'.includes(char) ? `\\u${code.toString(16).padStart(4, '0')}` : char;
}

export class JsonReference {
  readonly #output: string[] = [];
  /** Bytes that may be the beginning of a character. */
  #held: number[] = [];
  /** Escaped content of the record that is open; undefined when none is. */
  #log: string | undefined;
  #contentBytes = 0;
  #tail = '';
  records = 0;

  /** Takes more bytes of the stream; records that end from now on end with `tail`. */
  feed(bytes: Uint8Array, tail: string): void {
    this.#tail = tail;
    for (const byte of bytes) {
      this.#held.push(byte);
      this.#resolve();
    }
  }

  /** Nothing more for now: what is there goes out, but not half of a character. */
  settle(): void {
    if (this.#log !== undefined) this.#close('');
  }

  /** Nothing more at all. */
  finish(): void {
    for (const _ of this.#held.splice(0)) this.#add('\\ufffd', 1);
    this.settle();
  }

  get holdsPartial(): boolean {
    return this.#log !== undefined;
  }

  get output(): Buffer {
    return Buffer.from(this.#output.join(''));
  }

  /** The records that were closed since it was last asked. */
  take(): Buffer {
    return Buffer.from(this.#output.splice(0).join(''));
  }

  #resolve(): void {
    while (this.#held.length > 0) {
      const size = this.#held.findIndex((_, i) => character(this.#held.slice(0, i + 1)) !== undefined) + 1;
      if (size > 0) {
        const char = character(this.#held.splice(0, size)) ?? '';
        if (char === '\n') this.#close('\\n');
        else this.#add(escaped(char), size);
      } else if (isPrefix(this.#held)) return;
      else {
        this.#held.shift();
        this.#add('\\ufffd', 1);
      }
    }
  }

  #add(text: string, rawBytes: number): void {
    if (this.#log !== undefined && this.#contentBytes + rawBytes > CONTENT_MAX_BYTES) this.#close('');
    this.#log = (this.#log ?? '') + text;
    this.#contentBytes += rawBytes;
  }

  #close(newline: string): void {
    this.#output.push(`{"log":"${this.#log ?? ''}${newline}${this.#tail}`);
    this.#log = undefined;
    this.#contentBytes = 0;
    this.records++;
  }
}
