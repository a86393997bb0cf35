/** A log thread that dies anywhere in the file driver: the one that takes over writes each record once, whole. */
import { constants } from 'node:os';
import t from 'tap';
import { sys } from '../../../src/native/sys.ts';
import { STDERR, STDOUT, type Stream } from '../../../src/proto/stream.ts';
import { seededRandom } from '../../helpers/random.ts';
import { fakeSys, SEED } from '../native/fake-sys.ts';
import { DriverRig } from './driver-rig.ts';

const { EAGAIN, EIO, ENOSPC } = constants.errno;
/** The least output area that holds any record: a batch takes several writes then. */
const SMALL_OUTPUT = 45 + 8192 + 2;

class Died extends Error {}

t.test(`a thread that dies at any write is followed by one that goes on, seed ${SEED}`, async (t) => {
  const random = seededRandom(SEED);
  for (let round = 0; round < 30; round++) {
    const rig = new DriverRig(t, { outputBytes: random.pick([SMALL_OUTPUT, 1 << 17]) });
    let mayDie = true;
    let deaths = 0;
    const write = (fd: number, bytes: Uint8Array, offset: number, length: number): number => {
      if (mayDie && random.below(4) === 0) {
        deaths++;
        throw new Died();
      }
      if (mayDie && random.below(5) === 0) return -random.pick([ENOSPC, EIO, EAGAIN]);
      return sys.write(fd, bytes, offset, mayDie && random.below(3) === 0 ? 1 + random.below(length) : length);
    };
    let nowMs = 0;
    rig.calls = { sys: fakeSys({ write, dup3: sys.dup3, close: sys.close, fstatat: sys.fstatat }), now: () => nowMs };
    rig.driver = rig.takeOver();
    /** Does something until it is done: each death is followed by a new driver, each stall by a retry. */
    const insist = (act: () => boolean) => {
      for (;;) {
        try {
          if (act()) return;
          nowMs += 10_000;
          rig.driver.retry();
        } catch (error) {
          if (!(error instanceof Died)) throw error;
          rig.driver = rig.takeOver();
        }
      }
    };
    const sent = { [STDOUT]: '', [STDERR]: '' };
    for (let batch = 0; batch < 12; batch++) {
      const stream: Stream = random.pick([STDOUT, STDERR]);
      const lines = Array.from({ length: random.below(random.pick([3, 400])) }, (_, i) => `${batch}.${i}`);
      const text = `${lines.join('\n')}${random.pick(['', '\n'])}`;
      sent[stream] += text;
      insist(() => rig.consume(stream, Buffer.from(text)));
      if (random.below(3) === 0)
        insist(() => {
          rig.driver.settle(stream, false);
          return true;
        });
    }
    mayDie = false;
    insist(() => {
      for (const stream of [STDOUT, STDERR] as const) rig.driver.settle(stream, true);
      rig.driver.retry();
      return !rig.driver.stalled;
    });
    const got = { stdout: '', stderr: '' };
    for (const record of rig.content.toString('latin1').split('\n').slice(0, -1)) {
      const match = /^\S{35} (stdout|stderr) ([FP]) (.*)$/.exec(record);
      if (match === null) {
        t.fail(`not a record: ${JSON.stringify(record.slice(0, 100))}`);
        break;
      }
      got[match[1] as 'stdout' | 'stderr'] += `${match[3]}${match[2] === 'F' ? '\n' : ''}`;
    }
    t.equal(got.stdout === sent[STDOUT], true, `round ${round}, ${deaths} deaths: stdout`);
    t.equal(got.stderr === sent[STDERR], true, 'stderr');
  }
});
