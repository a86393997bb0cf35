/** A sink's account of what it has lost. */
import { constants } from 'node:os';
import t, { type Test } from 'tap';
import { ownDriverState } from '../../../src/log/driver-state.ts';
import { INTERNAL_ERROR, Loss } from '../../../src/log/loss.ts';
import { sys } from '../../../src/native/sys.ts';
import { Complaints } from '../session/complaints.ts';

const { EIO, ENOSPC } = constants.errno;

function account(_test: Test) {
  const complaints = new Complaints();
  const state = ownDriverState();
  const clock = { ms: Date.UTC(2026, 10, 25, 12, 30) };
  const make = () => new Loss(sys, complaints.diag, '/log', state, () => clock.ms);
  return { complaints, clock, make, loss: make() };
}

t.test('a sink that loses nothing says nothing', async (t) => {
  const { loss, complaints } = account(t);
  loss.recovered();
  loss.report();
  t.equal(loss.owed, false);
  t.same(complaints.lines, []);
});

t.test('a failure is a warning once, and a loss is owed until it is told', async (t) => {
  const { loss, complaints, clock } = account(t);
  for (let i = 0; i < 5; i++) loss.fail(-ENOSPC);
  t.equal(loss.owed, false, 'nothing is dropped yet');
  loss.drop(100, 2);
  clock.ms += 61_001;
  loss.drop(11, 1);
  t.equal(loss.owed, true);
  t.equal(
    loss.text(),
    '[conmon] dropped 111 bytes in 3 records from 2026-11-25T12:30:00.000Z to 2026-11-25T12:31:01.001Z: No space left on device',
  );
  loss.recovered();
  t.equal(loss.owed, false);
  t.equal(loss.failing, false);
  t.same(complaints.lines, [
    '[conmon:w]: failed to write to log /log: No space left on device',
    '[conmon:i]: log /log can be written again, dropped 111 bytes',
  ]);
});

t.test('a second reason is named too, a third one or the same again is not', async (t) => {
  const { loss } = account(t);
  for (const errno of [-ENOSPC, -ENOSPC, -EIO, -ENOSPC, -constants.errno.EACCES]) loss.fail(errno);
  loss.drop(1, 1);
  t.match(loss.text(), /: No space left on device, Input\/output error$/);
});

t.test('a bug of ours is named as one', async (t) => {
  const { loss } = account(t);
  loss.fail(INTERNAL_ERROR);
  loss.drop(1, 1);
  t.match(loss.text(), /: internal error$/);
});

t.test('each episode has its own text; the totals of all are told at the end', async (t) => {
  const { loss, complaints, clock } = account(t);
  loss.fail(-ENOSPC);
  loss.drop(10, 1);
  loss.recovered();
  clock.ms += 1000;
  loss.fail(-EIO);
  loss.drop(7, 2);
  t.match(
    loss.text(),
    /^\[conmon\] dropped 7 bytes in 2 records from 2026-11-25T12:30:01.000Z .*: Input\/output error$/,
  );
  complaints.lines.length = 0;
  loss.report();
  t.same(complaints.lines, [
    '[conmon:w]: log /log: dropped 17 bytes in 3 records at 2 times, of which the log does not tell 7 bytes',
  ]);
});

t.test('an account outlives the thread that kept it', async (t) => {
  const { loss, make, complaints } = account(t);
  loss.fail(-ENOSPC);
  loss.drop(10, 1);
  const heir = make();
  t.equal(heir.owed, true);
  heir.fail(-ENOSPC);
  heir.drop(5, 1);
  t.match(heir.text(), /dropped 15 bytes in 2 records/);
  t.equal(complaints.lines.length, 1, 'the heir does not warn again');
});
