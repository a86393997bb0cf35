/** How an old log file goes: which ones are closed by a thread of their own, and that every one goes, whatever fails. */
import {
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { openLog } from '../../../src/log/open-log.ts';
import { LARGE_FILE_BYTES, Removal } from '../../../src/log/removal.ts';
import {
  AT_FDCWD,
  EAGAIN,
  EDQUOT,
  EIO,
  ENOENT,
  ENOSPC,
  F_GETFD,
  FD_CLOEXEC,
  O_CLOEXEC,
  O_PATH,
} from '../../../src/native/constants.ts';
import { type Sys, sys } from '../../../src/native/sys.ts';
import { realSysBut } from '../native/fake-sys.ts';

const { EACCES, EISDIR, EMFILE } = constants.errno;
const NFS_MAGIC = 0x6969;
const LONG_MS = 60_000;

/** A directory with an fd; nothing that a test leaves open in it is overlooked. */
class Place {
  readonly dir = mkdtempSync(join(tmpdir(), 'conmon-removal-'));
  readonly fd = sys.openat(AT_FDCWD, this.dir, O_PATH | O_CLOEXEC, 0);
  /** What was handed over: where it led to, and whether it is close-on-exec. */
  readonly handed: string[] = [];

  constructor(test: Test) {
    test.teardown(() => {
      sys.close(this.fd);
      rmSync(this.dir, { recursive: true, force: true });
    });
  }

  /** Names, below the directory, of what is open in this process. */
  get open(): readonly string[] {
    return readdirSync('/proc/self/fd').flatMap((fd) => {
      try {
        const path = readlinkSync(`/proc/self/fd/${fd}`);
        return path.startsWith(`${this.dir}/`) ? [path.slice(this.dir.length + 1)] : [];
      } catch {
        return []; // the listing's own
      }
    });
  }

  put(name: string, bytes = LARGE_FILE_BYTES): string {
    const path = join(this.dir, name);
    writeFileSync(path, '');
    truncateSync(path, bytes);
    return path;
  }

  /** The real calls, which note what is handed over, but for those in `calls`. */
  removal(calls: Partial<Sys> = {}): Removal {
    const closeLater: Sys['closeLater'] = (fd) => {
      const cloexec = sys.fcntl(fd, F_GETFD, 0) === FD_CLOEXEC ? '' : ', inherited';
      this.handed.push(`${readlinkSync(`/proc/self/fd/${fd}`).slice(this.dir.length + 1)}${cloexec}`);
      const result = (calls.closeLater ?? sys.closeLater)(fd);
      sys.awaitClose(LONG_MS); // the next one is not refused
      return result;
    };
    return new Removal(realSysBut({ ...calls, closeLater }));
  }
}

t.test('a large file that loses its name is closed by a thread, after that', async (t) => {
  const place = new Place(t);
  place.put('old');
  t.equal(place.removal().unlink(place.fd, 'old'), 0);
  t.same(place.handed, ['old (deleted)']);
  t.same([readdirSync(place.dir), place.open], [[], []]);
});

t.test('a small file, one with another name, and what is no file are just removed', async (t) => {
  const place = new Place(t);
  place.put('small', LARGE_FILE_BYTES - 1);
  linkSync(place.put('linked'), join(place.dir, 'name'));
  symlinkSync(place.put('victim'), join(place.dir, 'link'));
  sys.mkfifo(join(place.dir, 'fifo'), 0o600);
  const removal = place.removal({
    openat: () => {
      throw new Error('opened');
    },
  });
  for (const name of ['small', 'linked', 'link', 'fifo']) t.equal(removal.unlink(place.fd, name), 0, name);
  t.same(readdirSync(place.dir).toSorted(), ['name', 'victim']);
  t.same(place.handed, []);
});

t.test('on a file server nothing is held open: it would only get another name', async (t) => {
  const place = new Place(t);
  place.put('old');
  t.equal(place.removal({ fstatfs: () => NFS_MAGIC }).unlink(place.fd, 'old'), 0);
  t.same(place.handed, []);
  t.same(readdirSync(place.dir), []);
});

t.test('what cannot be removed is told, and stays', async (t) => {
  const place = new Place(t);
  place.put('old');
  mkdirSync(join(place.dir, 'directory'));
  t.equal(place.removal().unlink(place.fd, 'none'), ENOENT);
  t.equal(place.removal().unlink(place.fd, 'directory'), -EISDIR);
  t.equal(place.removal({ fstatat: () => -EACCES }).unlink(place.fd, 'old'), -EACCES);
  t.equal(place.removal({ unlinkat: () => EIO }).unlink(place.fd, 'old'), EIO);
  t.same(readdirSync(place.dir).toSorted(), ['directory', 'old']);
  t.same(place.open, []);
});

t.test('without an fd or a thread to be had the file goes all the same', async (t) => {
  for (const calls of [{ openat: () => -EMFILE }, { closeLater: () => EAGAIN }, { fstatfs: () => -EACCES }]) {
    const place = new Place(t);
    place.put('old');
    t.equal(place.removal(calls).unlink(place.fd, 'old'), 0);
    t.same([readdirSync(place.dir), place.open], [[], []], Object.keys(calls).join());
  }
});

/** A log that is open, and another in its place. */
function replaced(place: Place, bytes = LARGE_FILE_BYTES): { log: number; next: number } {
  const path = place.put('log', bytes);
  const log = openLog(path);
  unlinkSync(path);
  return { log, next: openLog(path) };
}

/** Both fds lead to the new file. */
function isInPlace(t: Test, place: Place, { log, next }: { log: number; next: number }): void {
  sys.write(log, Buffer.from('new'), 0, 3);
  t.equal(readFileSync(join(place.dir, 'log'), 'latin1'), 'new');
  t.equal(sys.fcntl(log, F_GETFD, 0), FD_CLOEXEC);
  t.same(place.open, ['log', 'log'], 'nothing else is open');
  for (const fd of [log, next]) sys.close(fd);
}

t.test('a log without a name is closed by a thread when a new one takes its number', async (t) => {
  const place = new Place(t);
  const fds = replaced(place);
  t.equal(place.removal().putInPlace(fds.next, fds.log, LARGE_FILE_BYTES), fds.log);
  t.same(place.handed, ['log (deleted)']);
  isInPlace(t, place, fds);
});

t.test('one that is small, or is there under another name, is just closed', async (t) => {
  const small = new Place(t);
  const fds = replaced(small, 100);
  const removal = new Removal(realSysBut({ fstatat: () => 1 / 0, fcntl: () => 1 / 0, closeLater: () => 1 / 0 }));
  t.equal(removal.putInPlace(fds.next, fds.log, 100), fds.log);
  isInPlace(t, small, fds);

  const kept = new Place(t);
  const path = kept.put('log.1');
  const open = { log: openLog(path), next: openLog(join(kept.dir, 'log')) };
  t.equal(kept.removal().putInPlace(open.next, open.log, LARGE_FILE_BYTES), open.log);
  t.same(kept.handed, []);
  isInPlace(t, kept, open);
});

t.test('without an fd or a thread to be had a new log takes the number all the same', async (t) => {
  for (const calls of [{ fcntl: () => -EMFILE }, { closeLater: () => EAGAIN }, { fstatat: () => EIO }]) {
    const place = new Place(t);
    const fds = replaced(place);
    t.equal(place.removal(calls).putInPlace(fds.next, fds.log, LARGE_FILE_BYTES), fds.log);
    isInPlace(t, place, fds);
  }
});

t.test('a number that cannot be taken is told, and leads to the old log', async (t) => {
  const place = new Place(t);
  const { log, next } = replaced(place);
  t.equal(place.removal({ dup3: () => EIO }).putInPlace(next, log, LARGE_FILE_BYTES), EIO);
  t.same(place.open.toSorted(), ['log', 'log (deleted)']);
  for (const fd of [log, next]) sys.close(fd);
});

t.test(
  'a full disk is worth another attempt once for each file that is on its way, and when that is gone',
  async (t) => {
    const place = new Place(t);
    const waits: number[] = [];
    const removal = place.removal({
      awaitClose: (timeoutMs) => {
        waits.push(timeoutMs);
        return 0;
      },
    });
    t.notOk(removal.makesRoom(ENOSPC), 'nothing is on its way');
    for (const errno of [ENOSPC, EDQUOT]) {
      for (let i = 0; i < 2; i++) {
        place.put('old');
        removal.unlink(place.fd, 'old');
      }
      t.notOk(removal.makesRoom(EIO));
      t.notOk(removal.makesRoom(1));
      t.ok(removal.makesRoom(errno));
      t.notOk(removal.makesRoom(errno));
    }
    t.same(waits, [100, 100]);
  },
);

t.test('what was closed here makes no room later', async (t) => {
  const place = new Place(t);
  place.put('old');
  const removal = place.removal({ closeLater: () => EAGAIN, awaitClose: () => 1 / 0 });
  removal.unlink(place.fd, 'old');
  t.notOk(removal.makesRoom(ENOSPC));
});
