/** A quiet log: the pump says so once, a file's driver gives its areas back, and nothing of what is unfinished is lost. */

import { constants } from 'node:os';
import t from 'tap';
import { QUIET_MS, Rest } from '../../../src/native/rest.ts';
import { sys } from '../../../src/native/sys.ts';
import { STDERR, STDOUT } from '../../../src/proto/stream.ts';
import { outputOffset } from '../../../src/ring/layout.ts';
import { realSysBut } from '../native/fake-sys.ts';
import { DriverRig } from './driver-rig.ts';
import { PumpRig } from './pump-rig.ts';

t.test('the areas are given back when all is written, and used again', async (t) => {
  const rig = new DriverRig(t);
  rig.consume(STDOUT, Buffer.from('one\n'));
  rig.driver.rest();
  t.same(rig.forgotten, [outputOffset(rig.geometry, 0), outputOffset(rig.geometry, 1)]);
  rig.consume(STDOUT, Buffer.from('two\n'));
  rig.consume(STDERR, Buffer.from('bad\n'));
  t.equal(rig.content.toString(), `${rig.lead(STDOUT)}F one\n${rig.lead(STDOUT)}F two\n${rig.lead(STDERR)}F bad\n`);
});

t.test('an open line keeps its area', async (t) => {
  const rig = new DriverRig(t);
  rig.consume(STDOUT, Buffer.from('one\nha'));
  rig.driver.rest();
  t.same(rig.forgotten, [outputOffset(rig.geometry, 1)], 'that of the other stream alone');
  rig.consume(STDOUT, Buffer.from('lf\n'));
  t.equal(rig.content.toString(), `${rig.lead(STDOUT)}F one\n${rig.lead(STDOUT)}F half\n`);
});

t.test('records that the file does not take keep theirs', async (t) => {
  const rig = new DriverRig(t);
  let full = true;
  rig.driver.close();
  rig.calls = { sys: realSysBut({ write: (...call) => (full ? -constants.errno.ENOSPC : sys.write(...call)) }) };
  rig.driver = rig.takeOver();
  rig.consume(STDOUT, Buffer.from('one\n'));
  rig.driver.rest();
  t.same(rig.forgotten, [outputOffset(rig.geometry, 1)]);
  full = false;
  rig.driver.retry();
  t.match(rig.content.toString(), /F one\n$/);
});

t.test('the pump rests once, when nothing has come for a while, and then sleeps for ever', async (t) => {
  let nowMs = 0;
  let rests = 0;
  const rig = new PumpRig(t, {
    rest: new Rest(() => nowMs),
    onRest: () => {
      rests++;
    },
  });
  rig.afterPolls = () => {
    nowMs += QUIET_MS;
  };
  rig.steps.push(
    () => {
      t.equal(rests, 1, 'before it sleeps');
      rig.begin();
    },
    () => rig.print('one\n'),
    () => {
      t.equal(rests, 1, 'not for a line');
      rig.end();
    },
  );
  rig.run();
  t.equal(rests, 1);
  t.equal(rig.journal.rests, 1, 'the drivers were told, too');
});
