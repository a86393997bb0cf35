/** How much the log thread reads at once: all that a pipe holds when nobody else reads the ring, less when a client does. */
import t from 'tap';
import { READ_ALONE_BYTES, READ_BYTES } from '../../../src/log/pump.ts';
import { F_SETPIPE_SZ } from '../../../src/native/constants.ts';
import { sys } from '../../../src/native/sys.ts';
import { STDERR, STDOUT } from '../../../src/proto/stream.ts';
import { HEADER_BYTES } from '../../../src/ring/layout.ts';
import { PumpRig, type PumpRigOptions } from './pump-rig.ts';

/** As a session's ring is: one read fits, with its header. */
const GEOMETRY = { capacityBytes: 1 << 22, softBytes: (3 << 19) + 4096 };
const LINE = `${'z'.repeat(999)}\n`;

/** Lengths of the reads of a pipe that held 1000 lines of 1000 bytes. */
function readsOf(rig: PumpRig, lengths: number[]): readonly number[] {
  // Where a pipe cannot be made large (an unprivileged user's limit) the test says so instead of passing for nothing.
  const size = sys.fcntl(rig.out.readFd, F_SETPIPE_SZ, READ_ALONE_BYTES);
  if (size < READ_ALONE_BYTES) throw new Error(`F_SETPIPE_SZ: ${size}`);
  rig.begin();
  rig.steps.push(() => rig.print(LINE.repeat(1000)));
  rig.run();
  return lengths.filter((length) => length > 0);
}

function counted(lengths: number[]): Partial<PumpRigOptions> {
  return {
    geometry: GEOMETRY,
    calls: {
      read(fd, bytes, offset, length) {
        const result = sys.read(fd, bytes, offset, length);
        if (length > HEADER_BYTES) lengths.push(result);
        return result;
      },
    },
  };
}

t.test('alone it takes all that the pipe holds with one read', async (t) => {
  const lengths: number[] = [];
  const rig = new PumpRig(t, counted(lengths));
  t.same(readsOf(rig, lengths), [1_000_000]);
  t.equal(rig.text(STDOUT), LINE.repeat(1000));
});

t.test('with a client it takes parts, so that both work at once', async (t) => {
  const lengths: number[] = [];
  const rig = new PumpRig(t, { ...counted(lengths), client: true });
  t.ok(rig.client.active);
  t.same(readsOf(rig, lengths), [READ_BYTES, 1_000_000 - READ_BYTES]);
  t.equal(rig.text(STDOUT), LINE.repeat(1000));
  t.ok(2 * (READ_BYTES + HEADER_BYTES) <= GEOMETRY.softBytes, 'two fit what a client may hold');
});

t.test('a stream that is always full has four reads before the other one has its turn', async (t) => {
  const fds: number[] = [];
  let full = 10;
  const rig = new PumpRig(t, {
    geometry: GEOMETRY,
    calls: {
      read(fd, bytes, offset, length) {
        fds.push(fd);
        const result = sys.read(fd, bytes, offset, length);
        return fd === rig.out.readFd && full-- > 0 ? length : result;
      },
    },
  });
  rig.begin();
  rig.steps.push(() => {
    rig.print('out\n');
    rig.print('err\n', rig.err);
  });
  rig.run();
  t.equal(fds.indexOf(rig.err.readFd), 4);
  t.equal(rig.text(STDERR), 'err\n');
});

t.test(
  'a part of a line that filled a read is settled when nothing follows, wherever the next read was to go',
  async (t) => {
    let full = 3;
    const rig = new PumpRig(t, {
      geometry: GEOMETRY,
      calls: {
        read(fd, bytes, offset, length) {
          const result = sys.read(fd, bytes, offset, length);
          if (fd !== rig.out.readFd || full-- <= 0) return result;
          bytes.fill(0x7a, offset, offset + length);
          return length;
        },
      },
    });
    let told: readonly string[] = [];
    rig.begin();
    rig.steps.push(
      () => rig.print('x'),
      () => {
        told = [...rig.journal.entries];
        rig.print('on\n');
      },
    );
    rig.run();
    t.equal(told.length, 4);
    t.equal(told.at(-1), 'out:settle');
    t.equal(rig.text(STDOUT), `${'z'.repeat(3 * READ_ALONE_BYTES)}on\n`);
  },
);
