/**
 * A `Sys` for tests: what a test does not name is an error, or the real call when it asks for that. It never hides a
 * call that the test did not expect.
 */
import { randomInt } from 'node:crypto';
import type { Test } from 'tap';
import { O_CLOEXEC, O_NONBLOCK } from '../../../src/native/constants.ts';
import { sys as realSys, type Sys } from '../../../src/native/sys.ts';

/** Every call but those in `calls` throws, with its name. `strerror` is always the real one: it asks nobody. */
export function fakeSys(calls: Partial<Sys>): Sys {
  const known: Partial<Sys> = { strerror: realSys.strerror, ...calls };
  return new Proxy(known, {
    get(target, name: string) {
      const call = target[name as keyof Sys];
      if (call !== undefined) return call;
      return () => {
        throw new Error(`unexpected system call: ${name}`);
      };
    },
  }) as Sys; // the proxy answers for every name
}

/** The real calls, but for those in `calls`. */
export function realSysBut(calls: Partial<Sys>): Sys {
  return { ...realSys, ...calls };
}

/** What a random test prints and takes back: `TEST_SEED=N` repeats a run. */
export const SEED = Number(process.env['TEST_SEED'] ?? randomInt(2 ** 31));

/** Text that a fake system call was given. */
export function textOf(bytes: Uint8Array, offset: number, length: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + offset, length).toString('latin1');
}

/** A pipe; `close` is safe to call more than once. */
export interface Pipe {
  readFd: number;
  writeFd: number;
}

/** Both ends, with `flags` for both. Throws when there is none. */
export function pipe(flags = 0): Pipe {
  const fds = new Int32Array(2);
  const result = realSys.pipe2(fds, flags);
  if (result < 0) throw new Error(`pipe2: ${realSys.strerror(result)}`);
  return { readFd: fds[0] ?? -1, writeFd: fds[1] ?? -1 };
}

/** Both ends non-blocking, closed when the test ends. */
export function aPipe(test: Test): Pipe {
  const ends = pipe(O_CLOEXEC | O_NONBLOCK);
  test.teardown(() => {
    realSys.close(ends.readFd);
    realSys.close(ends.writeFd);
  });
  return ends;
}
