/** What a launcher hands over: only what it really sends is taken, whatever else comes. */
import { mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { ConmonError } from '../../../src/diag/error.ts';
import { sys } from '../../../src/native/sys.ts';
import { ENTRY_FDS_MAX, parseHandOver, readBlock } from '../../../src/session/hand-over.ts';
import { seededRandom } from '../../helpers/random.ts';
import { pipe, SEED } from '../native/fake-sys.ts';

const GOOD = 'v1 build=0123abcd nofile=1024:18446744073709551615 oom=-17 fds=3-5,9';

t.test('a hand-over is read', async (t) => {
  t.same(parseHandOver(Buffer.from(GOOD)), {
    build: '0123abcd',
    nofileSoft: 1024,
    nofileHard: -1,
    oomScoreAdj: '-17',
    entryFds: [3, 4, 5, 9],
  });
  t.same(parseHandOver(Buffer.from('v1 build=x nofile=1:2 oom= fds=')).entryFds, []);
});

t.test('anything else is refused with a reason', async (t) => {
  const bad = [
    '',
    'v1',
    GOOD.replace('v1', 'v2'),
    GOOD.replace('0123abcd', ''),
    GOOD.replace('0123abcd', 'a'.repeat(65)),
    GOOD.replace('0123abcd', '../x'),
    GOOD.replace('1024', '-1'),
    GOOD.replace('-17', '-17000'),
    GOOD.replace('-17', '1e9'),
    GOOD.replace('3-5,9', '5-3'),
    GOOD.replace('3-5,9', '3,3'),
    GOOD.replace('3-5,9', '0-5'),
    GOOD.replace('3-5,9', '3-9999999999'),
    GOOD.replace('3-5,9', `3-${3 + ENTRY_FDS_MAX}`),
    GOOD.replace('3-5,9', ','),
    `${GOOD} `,
    `${GOOD}\n`,
    `${GOOD}\0`,
  ];
  for (const text of bad) t.throws(() => parseHandOver(Buffer.from(text)), ConmonError, JSON.stringify(text));
  t.equal(parseHandOver(Buffer.from(GOOD.replace('3-5,9', `3-${2 + ENTRY_FDS_MAX}`))).entryFds.length, ENTRY_FDS_MAX);
});

t.test(`random bytes are read or refused, nothing else, seed ${SEED}`, async (t) => {
  const random = seededRandom(SEED);
  let taken = 0;
  for (let i = 0; i < 20_000; i++) {
    const bytes = Buffer.from(GOOD);
    const changes = 1 + random.below(4);
    for (let n = 0; n < changes; n++) bytes[random.below(bytes.length)] = random.below(256);
    try {
      const { entryFds } = parseHandOver(bytes);
      taken++;
      if (entryFds.length > ENTRY_FDS_MAX || entryFds.some((fd, k) => fd < 3 || fd <= (entryFds[k - 1] ?? 2)))
        t.fail(`${JSON.stringify(bytes.toString('latin1'))} gave ${entryFds}`);
    } catch (error) {
      if (!(error instanceof ConmonError)) t.fail(`${JSON.stringify(bytes.toString('latin1'))}: ${error}`);
    }
  }
  t.ok(taken > 0, `${taken} were good all the same`);
});

t.test('arguments and environment come in memory, whole, or not at all', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'conmon-hand-over-'));
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  const memory = (content: string | Buffer): number => {
    const fd = openSync(`/dev/shm/conmon-hand-over-${process.pid}`, 'w+');
    rmSync(`/dev/shm/conmon-hand-over-${process.pid}`);
    const bytes = Buffer.from(content);
    if (bytes.length > 0) writeSync(fd, bytes, 0, bytes.length, 0); // as the launcher does: it is read from its beginning
    return fd;
  };
  const fds: number[] = [];
  const opened = (fd: number): number => {
    fds.push(fd);
    return fd;
  };
  t.equal(readBlock(sys, opened(memory('A=1\0B\0'))).toString('latin1'), 'A=1\0B\0');
  t.equal(readBlock(sys, opened(memory(''))).length, 0);
  t.throws(() => readBlock(sys, opened(memory('A=1'))), /does not end/);
  t.throws(() => readBlock(sys, opened(memory(Buffer.alloc((16 << 20) + 1)))), /too large/);
  const { readFd, writeFd } = pipe();
  fds.push(readFd, writeFd);
  t.throws(() => readBlock(sys, readFd), /no memfd/, 'a pipe could make us wait');
  t.throws(() => readBlock(sys, opened(openSync('/proc/self/status', 'r'))), /no memfd/);
  t.throws(() => readBlock(sys, 9999), /no memfd/);
  for (const fd of fds) sys.close(fd);
});
