/** A driver that says it is calm is asked nothing else between two lines: it must hold nothing and want nothing then. */
import { mkdirSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import t, { type Test } from 'tap';
import { sys } from '../../../src/native/sys.ts';
import { STDERR, STDOUT, type Stream } from '../../../src/proto/stream.ts';
import { seededRandom } from '../../helpers/random.ts';
import { realSysBut, SEED } from '../native/fake-sys.ts';
import { DriverRig } from './driver-rig.ts';
import { PumpRig } from './pump-rig.ts';

const STREAMS: readonly Stream[] = [STDOUT, STDERR];

/** The promise of LogDriver.calm. @returns what the driver said. */
function checked(t: Test, { driver }: DriverRig, after: string): boolean {
  const { calm } = driver;
  const wants = driver.wakeAtMs !== Number.POSITIVE_INFINITY || driver.waitFd !== -1;
  const holds = driver.stalled || STREAMS.some((stream) => driver.holdsPartial(stream, false));
  if (calm && (wants || holds)) t.fail(`calm after ${after}, but wants: ${wants}, holds: ${holds}`);
  return calm;
}

t.test(
  'whole lines leave it calm; a part of a line, a full disk and a file that cannot be replaced do not',
  async (t) => {
    let full = false;
    const rig = new DriverRig(t);
    rig.driver.close();
    rig.calls = { sys: realSysBut({ write: (...args) => (full ? -28 : sys.write(...args)) }) };
    rig.driver = rig.takeOver();
    t.ok(checked(t, rig, 'nothing'));
    rig.consume(STDOUT, Buffer.from('whole\n'));
    t.ok(checked(t, rig, 'a line'));
    rig.consume(STDERR, Buffer.from('par'));
    t.notOk(checked(t, rig, 'a part'));
    rig.driver.settle(STDERR, false);
    t.ok(checked(t, rig, 'its end'));
    full = true;
    rig.consume(STDOUT, Buffer.from('held\n'));
    t.notOk(checked(t, rig, 'ENOSPC'));
    full = false;
    rig.driver.retry();
    t.ok(checked(t, rig, 'a retry'));
    rmSync(dirname(rig.path), { recursive: true });
    rig.driver.reopen();
    t.notOk(checked(t, rig, 'a reopen without a directory'));
    mkdirSync(dirname(rig.path));
    rig.driver.retry();
    t.ok(checked(t, rig, 'a new file'));
  },
);

t.test(`never calm while it holds or wants something, whatever happens (seed ${SEED})`, async (t) => {
  const random = seededRandom(SEED);
  let full = false;
  const rig = new DriverRig(t);
  rig.driver.close();
  rig.calls = { sys: realSysBut({ write: (...args) => (full ? -28 : sys.write(...args)) }) };
  rig.driver = rig.takeOver();
  let calm = 0;
  for (let i = 0; i < 2000; i++) {
    const stream = random.pick(STREAMS);
    const chance = random.below(100) / 100;
    let what = 'settle';
    if (chance < 0.5) {
      what = 'consume';
      rig.consume(stream, Buffer.from(random.below(10) < 7 ? 'line\n' : 'line\npart'));
      rig.driver.shed(); // what could not be taken is given up, so that the next batch is a new one
    } else if (chance < 0.75) rig.driver.settle(stream, false);
    else if (chance < 0.85) rig.driver.retry();
    else if (chance < 0.95) full = random.below(10) < 3;
    else rig.driver.reopen();
    if (checked(t, rig, what)) calm++;
  }
  t.ok(calm > 100 && calm < 1900, `calm ${calm} times of 2000`);
});

t.test('a part of a line that follows whole ones is written as soon as nothing follows it', async (t) => {
  const rig = new PumpRig(t);
  rig.begin();
  rig.steps.push(
    () => rig.print('a\n'),
    () => rig.print('b\n', rig.err),
    () => rig.print('c'),
    () => rig.print('d\n', rig.err),
    () => rig.print('e\n'),
  );
  rig.run();
  t.same(rig.journal.entries, ['out:a\n', 'err:b\n', 'out:c', 'out:settle', 'err:d\n', 'out:e\n']);
});
