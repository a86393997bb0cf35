// What a bench container wrote (bench/native/pattern.h), for logs that are verified in here: JSON records, journal
// entries. Main thread only; a figure of a run that fails here never counts.

import { execFile } from 'node:child_process';
import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { programPath } from './native.ts';

const run = promisify(execFile);

/** After about so many bytes the lines repeat (PATTERN_BYTES). */
const patternBytes = 1 << 20;
const mostBytes = 1 << 24;

/** The lines of one period, newlines included; `line` as the container was told. */
export async function payloadLines(line: string): Promise<readonly string[]> {
  const lineBytes = Number.parseInt(line, 10);
  const periodBytes = Math.floor(patternBytes / lineBytes) * lineBytes;
  const { stdout } = await run(programPath('verify-log'), ['payload', line, String(periodBytes)], {
    encoding: 'latin1',
    maxBuffer: mostBytes,
    timeout: 20_000,
  });
  return stdout.match(/[^\n]*\n/g) ?? [];
}

/** Takes text in pieces and compares it with `totalBytes` of payload. Throws at the first difference. */
export class PayloadCheck {
  readonly #lines: readonly string[];
  readonly #totalBytes: number;
  #line = 0;
  #bytes = 0;
  #held = '';

  constructor(lines: readonly string[], totalBytes: number) {
    this.#lines = lines;
    this.#totalBytes = totalBytes;
  }

  /** A line, or a part of one. */
  add(piece: string): void {
    this.#held += piece;
    if (!piece.endsWith('\n')) return;
    if (this.#held !== this.#lines[this.#line % this.#lines.length])
      throw new Error(`the log is not what was written: line ${this.#line} is ${JSON.stringify(this.#held)}`);
    this.#line++;
    this.#bytes += this.#held.length;
    this.#held = '';
  }

  end(): void {
    if (this.#bytes !== this.#totalBytes || this.#held !== '')
      throw new Error(`the log is not what was written: ${this.#bytes} bytes of ${this.#totalBytes}`);
  }
}

/** Parses each record of a json-file and compares what they hold. @returns the file's size. */
export async function verifyJsonLog(path: string, lines: readonly string[], totalBytes: number): Promise<number> {
  const check = new PayloadCheck(lines, totalBytes);
  let size = 0;
  for await (const text of createInterface({ input: createReadStream(path, 'latin1') })) {
    const record: unknown = JSON.parse(text);
    const log: unknown = Reflect.get(Object(record), 'log');
    if (typeof log !== 'string' || Reflect.get(Object(record), 'stream') !== 'stdout')
      throw new Error(`no record of stdout: ${text.slice(0, 200)}`);
    check.add(log);
    size += text.length + 1;
  }
  check.end();
  return size;
}
