/**
 * Docker's json-file records: what the kernel's json formatter needs around it, which is what each record ends with. That
 * envelope is made once a stream, by a serializer that fast-json-stringify generated when conmon was built; a batch changes
 * only its time. Log thread. Source: moby's jsonlog marshaller.
 */

import { createRequire } from 'node:module';
import { join } from 'node:path';
import type { Kernel } from '../kernel/kernel.ts';
import { JSON_HEAD_BYTES, JsonField } from '../kernel/layout.ts';
import { libexecDir } from '../native/libexec.ts';
import { STDERR, STDOUT, type Stream } from '../proto/stream.ts';
import type { Lane, RecordFormat } from './record-file.ts';
import { UTC_TIME_MAX_BYTES, type UtcTime } from './utc-time.ts';

/** build.mjs has the schema; `attrs` is left out when there is none. */
interface Envelope {
  readonly log: string;
  readonly stream: string;
  readonly attrs?: Readonly<Record<string, string>>;
  readonly time: string;
}
type Serialize = (envelope: Envelope) => string;

/** An escaped newline: what a whole line's content ends with. */
const NEWLINE = '\\n';
const END = Buffer.from('"}\n');
/** The kernel reads whole vectors. */
const SLACK_BYTES = 16;
const TEXT: Readonly<Record<Stream, string>> = { [STDOUT]: 'stdout', [STDERR]: 'stderr' };

export class JsonFormat implements RecordFormat {
  readonly areaBytes: number;
  readonly #bytes: Uint8Array;
  readonly #words: Uint32Array;
  readonly #kernel: Kernel;
  readonly #time: UtcTime;
  readonly #serialize: Serialize;
  /** From the content's end to the time, for each stream. */
  readonly #tails: Readonly<Record<Stream, Buffer>>;

  /** Throws what require throws when the generated serializer is not there. */
  constructor(memory: WebAssembly.Memory, kernel: Kernel, time: UtcTime, attributes: Readonly<Record<string, string>>) {
    this.#bytes = new Uint8Array(memory.buffer);
    this.#words = new Uint32Array(memory.buffer);
    this.#kernel = kernel;
    this.#time = time;
    const path = join(libexecDir, 'json-envelope.cjs');
    this.#serialize = createRequire(path)(path) as Serialize;
    const names = Object.keys(attributes).toSorted();
    const attrs = Object.fromEntries(names.map((name) => [name, attributes[name] ?? '']));
    const tail = (stream: Stream): Buffer => {
      const envelope = { log: '', stream: TEXT[stream], ...(names.length > 0 ? { attrs } : {}), time: '' };
      return Buffer.from(NEWLINE + escapeHtml(this.#serialize(envelope)).slice(JSON_HEAD_BYTES, -2));
    };
    this.#tails = { [STDOUT]: tail(STDOUT), [STDERR]: tail(STDERR) };
    const longest = this.#tails[STDERR].length + UTC_TIME_MAX_BYTES + END.length + SLACK_BYTES;
    this.areaBytes = (longest + 15) & ~15;
  }

  /** A record carries the time at which its line ended, as Docker's do. */
  begin(lane: Lane): void {
    const tail = this.#tails[lane.stream];
    this.#bytes.set(tail, lane.area);
    const time = lane.area + tail.length;
    const end = time + this.#time.write(this.#bytes, time);
    this.#bytes.set(END, end);
    this.#words[(lane.state + JsonField.tail) / 4] = lane.area;
    this.#words[(lane.state + JsonField.tailBytes) / 4] = end + END.length - lane.area;
  }

  format(lane: Lane, offset: number, length: number): number {
    return this.#kernel.json(lane.state, offset, length, lane.outEnd);
  }

  flush(lane: Lane, last: boolean): void {
    this.begin(lane);
    this.#kernel.jsonFlush(lane.state, last ? 1 : 0);
  }

  keepsBack(lane: Lane): boolean {
    return this.#words[(lane.state + JsonField.pending) / 4] !== 0;
  }

  notice(text: string): Uint8Array {
    const time = Buffer.alloc(UTC_TIME_MAX_BYTES);
    const size = this.#time.write(time, 0);
    const envelope = { log: `${text}\n`, stream: TEXT[STDERR], time: time.toString('latin1', 0, size) };
    return Buffer.from(`${escapeHtml(this.#serialize(envelope))}\n`);
  }
}

/** As Go's encoder does: the text can then stand in HTML and JavaScript. These characters occur in strings alone. */
function escapeHtml(json: string): string {
  return json.replace(/[<>&\u2028\u2029]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
